import assert from "node:assert/strict";
import { test } from "node:test";
import { idOf } from "../src/forms/question";
import { merged, swept } from "../src/lists/asked";
import { countsOf, filterOf, keyOf, matches, NO_FILTER, queryOf, wordsOf, type Filter } from "../src/lists/filter";
import { Rows, type Query } from "../src/lists/rows";
import { spanOf } from "../src/lists/window";
import { labelsOf, shortId, what } from "../src/lists/words";
import type { ExecutionInfo, QuestionInfo } from "../src/wire/types";

const NOW = 2_000_000;

function run(number: number, more: Partial<ExecutionInfo> = {}): ExecutionInfo {
  return {
    id: `r${number}`, flow: "f", status: "completed", created: 1000 + number, updated: 1001 + number, due: null, frames: 3, items: 0,
    owned: false, labels: {}, error: null, questions: 0, parent: null, forked_from: null, definition: "", ...more,
  };
}

/** A server with these executions. */
class Server {
  runs = new Map<string, ExecutionInfo>();
  pages: Query[] = [];
  asked: string[] = [];
  constructor(many: number) {
    for (let at = 0; at < many; at++) this.put(run(at));
  }
  put(info: ExecutionInfo): void {
    this.runs.set(info.id, info);
  }
  now = (): number => NOW;
  one = async (id: string): Promise<ExecutionInfo | null> => {
    this.asked.push(id);
    return this.runs.get(id) ?? null;
  };
  page = async (query: Query) => {
    this.pages.push(query);
    const status = query.status as string[];
    let found = [...this.runs.values()].sort((a, b) => b.created - a.created);
    if (query.after !== undefined) {
      const last = this.runs.get(query.after as string);
      if (last === undefined) throw Object.assign(new Error("gone"), { problem: { code: "unknown_execution" } });
      found = found.filter((it) => it.created < last.created);
    }
    found = found.filter((it) => (!status.length || status.includes(it.status))
      && it.created >= Number(query.since ?? 0) && it.created < Number(query.until ?? Infinity));
    const page = found.slice(0, query.limit as number);
    return { executions: page, next: found.length > page.length ? page.at(-1)!.id : null };
  };
}

const ids = (rows: readonly ExecutionInfo[]): string[] => rows.map((row) => row.id);

async function listOf(server: Server, filter: Filter = NO_FILTER): Promise<Rows> {
  const list = new Rows(filter, server);
  await list.reload();
  return list;
}

test("pages come one after the other, larger ones on the way to a far away place", async () => {
  const server = new Server(5000);
  const list = await listOf(server);
  assert.equal(list.rows.length, 200);
  await list.need(250);
  assert.equal(list.rows.length, 400);
  await list.need(4999);
  assert.equal(list.rows.length, 5000);
  assert.equal(list.more, false);
  assert.ok(server.pages.length < 9, `${server.pages.length} pages`);
  assert.deepEqual(ids(list.rows.slice(0, 2)), ["r4999", "r4998"]);
});

test("a page goes on where the execution before it was deleted", async () => {
  const server = new Server(300);
  const list = await listOf(server);
  server.runs.delete(list.next!);
  await list.need(250);
  assert.equal(list.rows.length, 300);
  assert.equal(new Set(ids(list.rows)).size, 300);
});

test("new ones wait while somebody reads, and are shown at once otherwise", async () => {
  const server = new Server(50);
  const list = await listOf(server);
  server.put(run(50, { status: "running" }));
  list.changed(["r50"]);
  assert.ok(list.dirty(0, 30));
  assert.equal(await list.refresh(0, 30, false), 0);
  assert.deepEqual(ids(list.waiting), ["r50"]);
  assert.equal(list.rows[0]!.id, "r49");
  server.put(run(50, { status: "failed" }));
  list.changed(["r50"]);
  await list.refresh(0, 30, false);
  assert.equal(list.waiting[0]!.status, "failed");
  assert.equal(await list.refresh(0, 30, true), 1);
  assert.equal(list.rows[0]!.id, "r50");
  assert.deepEqual(list.waiting, []);
  assert.equal(list.dirty(0, 30), false);
});

test("a changed row in view is read again, one out of view when it comes into view", async () => {
  const server = new Server(100);
  const list = await listOf(server);
  server.put(run(90, { status: "failed" }));
  server.put(run(10, { status: "failed" }));
  list.changed(["r90", "r10"]);
  await list.refresh(0, 30, true);
  assert.deepEqual(server.asked, ["r90"]);
  assert.equal(list.rows[9]!.status, "failed");
  assert.equal(list.rows[89]!.status, "completed");
  assert.equal(list.dirty(0, 30), false);
  assert.equal(list.dirty(80, 99), true);
  await list.refresh(80, 99, false);
  assert.equal(list.rows[89]!.status, "failed");
});

test("many changes at once are read as one part of the list", async () => {
  const server = new Server(100);
  const list = await listOf(server);
  for (let at = 60; at < 100; at++) server.put(run(at, { status: "running" }));
  list.changed(Array.from({ length: 40 }, (_, at) => `r${60 + at}`));
  server.pages = [];
  await list.refresh(0, 30, true);
  assert.equal(server.pages.length, 1);
  assert.deepEqual(server.asked, []);
  assert.ok(list.rows.slice(0, 31).every((row) => row.status === "running"));
});

test("a row that does not fit the filter any more stays until the list is at rest", async () => {
  const server = new Server(20);
  const list = await listOf(server, { ...NO_FILTER, status: ["completed"] });
  server.put(run(15, { status: "failed" }));
  list.changed(["r15"]);
  await list.refresh(0, 19, false);
  assert.equal(list.rows.length, 20);
  assert.deepEqual([...list.gone], ["r15"]);
  assert.equal(list.rows[4]!.status, "failed");
  list.show();
  assert.equal(list.rows.length, 19);
  assert.equal(list.gone.size, 0);
  server.put(run(15));
  list.changed(["r15"]);
  await list.refresh(0, 18, true);
  assert.equal(list.rows[4]!.id, "r15");
});

test("an old execution that fits the filter only now comes between the rows, and what was in view moves by one", async () => {
  const server = new Server(0);
  for (let at = 0; at < 400; at++) server.put(run(at, { status: at % 2 ? "failed" : "running" }));
  const list = await listOf(server, { ...NO_FILTER, status: ["failed"] });
  assert.equal(list.rows.length, 200);
  const before = list.rows[100]!.id;
  server.put(run(350, { status: "failed" }));
  list.changed(["r350"]);
  assert.equal(await list.refresh(100, 130, false), list.rows.findIndex((row) => row.id === before) - 100);
  assert.ok(ids(list.rows).includes("r350") || ids(list.waiting).includes("r350"));
});

test("after a gap in the changes, what is in view is read again", async () => {
  const server = new Server(500);
  const list = await listOf(server);
  await list.need(450);
  server.put(run(100, { status: "failed" }));
  server.runs.delete("r99");
  server.put(run(500));
  list.changed(null);
  await list.refresh(390, 410, false);
  assert.equal(list.rows.find((row) => row.id === "r100")!.status, "failed");
  assert.ok(list.gone.has("r99"));
  assert.deepEqual(ids(list.waiting), ["r500"]);
  assert.equal(list.dirty(390, 410), false);
});

test("more new ones than a page has: the list is read anew when they are to be shown", async () => {
  const server = new Server(10);
  const list = await listOf(server);
  for (let at = 10; at < 500; at++) server.put(run(at));
  list.changed(["r499"]);
  await list.refresh(0, 9, false);
  assert.equal(list.overflow, true);
  assert.equal(list.show(), true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(list.rows[0]!.id, "r499");
  assert.equal(list.rows.length, 200);
});

test("what fails is said, and can be tried again", async () => {
  const server = new Server(300);
  const page = server.page;
  server.page = async () => { throw new Error("no"); };
  const list = await listOf(server);
  assert.ok(list.problem);
  server.page = page;
  await list.again();
  assert.equal(list.problem, null);
  server.page = async () => { throw new Error("no"); };
  await list.need(250);
  assert.ok(list.problem);
  assert.equal(list.rows.length, 200);
  server.page = page;
  await list.again();
  assert.equal(list.rows.length, 300);
});

test("a filter goes into the address and comes out of it, whatever is in its labels", () => {
  const filter: Filter = {
    flow: "a b", status: ["running", "failed"], text: "x:y", labels: [["team", "a,b:c\\d"], ["a:b", ""]], range: "day", parent: "p/1",
  };
  assert.deepEqual(filterOf(wordsOf(filter)), filter);
  assert.equal(keyOf(filterOf({})), keyOf(NO_FILTER));
  assert.deepEqual(filterOf({ status: "nonsense,failed", range: "toString", label: "none" }), { ...NO_FILTER, status: ["failed"] });
});

test("a query asks for what the filter says", () => {
  const query = queryOf({ ...NO_FILTER, labels: [["team", "a:b"]], range: "hour", status: ["failed"] }, NOW, { since: 5, limit: 10 });
  assert.deepEqual(query.label, ["team:a:b"]);
  assert.equal(query.since, Math.floor((NOW - 3600) / 60) * 60);
  assert.equal(queryOf(NO_FILTER, NOW).since, undefined);
});

test("a search finds what the server finds", () => {
  const info = run(1, { error: "ValueError: no carrier found", labels: { team: "Space" } });
  for (const text of ["r1", "spa", "carr", "valueerror no", "  carrier "]) assert.ok(matches(info, { ...NO_FILTER, text }, NOW), text);
  for (const text of ["1", "arrier", "team", "no ship"]) assert.ok(!matches(info, { ...NO_FILTER, text }, NOW), text);
  assert.ok(!matches(run(1, { parent: "p" }), NO_FILTER, NOW));
  assert.ok(matches(run(1, { parent: "p" }), { ...NO_FILTER, parent: "p" }, NOW));
});

test("counts are those of a flow, or of all", () => {
  const counts = { a: { failed: 2, running: 1 }, b: { failed: 3 } };
  assert.equal(countsOf(counts, "").failed, 5);
  assert.equal(countsOf(counts, "a").failed, 2);
  assert.equal(countsOf(counts, "none").failed, 0);
});

test("only rows near the view are drawn, and never one that there is not", () => {
  assert.deepEqual(spanOf(0, 800, 40, 0), { first: 0, last: -1 });
  assert.deepEqual(spanOf(0, 800, 40, 5), { first: 0, last: 4 });
  const { first, last } = spanOf(400_000, 800, 40, 20_000);
  assert.ok(first <= 9990 && first > 9970 && last >= 10_030 && last < 10_050);
  assert.equal(spanOf(-5000, 800, 40, 100).first, 0);
  assert.equal(spanOf(1e9, 800, 40, 100).last, 99);
});

test("a row says why it failed, what it waits for, and that nobody runs it", () => {
  assert.equal(what(run(1, { status: "failed", error: "a\nb" }), NOW).text, "a b");
  assert.equal(what(run(1, { status: "waiting", questions: 2 }), NOW).text, "2 questions");
  assert.match(what(run(1, { status: "waiting", due: NOW + 300 }), NOW).text, /due in 5 min/);
  assert.match(what(run(1, { status: "running" }), NOW).text, /no process/);
  assert.equal(what(run(1, { status: "running", owned: true }), NOW).text, "");
  assert.deepEqual(labelsOf(run(1, { labels: { "idempotency-key": "x", a: "b" } })), [["a", "b"]]);
  assert.equal(shortId("484589760f2b4c1e9d8a7b6c5d4e3f2a"), "48458976");
  assert.equal(shortId("order-1"), "order-1");
});

function question(number: number, more: Partial<QuestionInfo> = {}): QuestionInfo {
  return {
    execution: "e", flow: "f", id: `q${number}`, asked_by: "e", own_id: `q${number}`, chunk: "c", type: "t", payload: null, cut: false,
    schema: {}, since: number, expires: null, ...more,
  };
}

test("a question that was answered keeps its place, and new ones come at the end", () => {
  const mine = new Set<string>();
  let shown = merged([], { questions: [question(1), question(2), question(3)], next: null }, mine);
  mine.add(idOf(question(1)));
  shown = merged(shown, { questions: [question(3), question(4)], next: null }, mine);
  assert.deepEqual(shown.map((it) => [it.question.id, it.closed]), [["q1", "mine"], ["q2", "elsewhere"], ["q3", ""], ["q4", ""]]);
  assert.deepEqual(swept(shown, new Set([idOf(question(2))])).map((it) => it.question.id), ["q2", "q3", "q4"]);
  shown = merged(shown, { questions: [question(3)], next: "more" }, mine);
  assert.equal(shown.at(-1)!.closed, "", "it may be on a later page");
});
