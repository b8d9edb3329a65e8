/** The fold: that it is fast, and what the truth test cannot show. The truth test is fold.truth.test.ts. */
import assert from "node:assert/strict";
import test from "node:test";
import { Fold } from "../src/model/fold";
import { causesOf } from "../src/model/causes";
import { counted, Steps } from "../src/model/steps";
import { density, lengthOf, rowsOf, waitOf } from "../src/model/rows";
import { Frames, LARGE, large } from "./frames";

const FRAMES = large(10_000);

/** The time that a call has a processor, in milliseconds: others may be at work, too. */
function took(call: () => void): number {
  const start = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

test("50,000 frames are folded in less than a second, and any moment of them comes at once", () => {
  assert.ok(FRAMES.length > 50_000);
  const track = new Fold("large");
  const adding = took(() => track.add(FRAMES));
  assert.ok(adding < 1000, `adding took ${adding} ms`);
  const use = (moment: number): void => {
    const it = track.at(moment);
    assert.ok(it.runs.size >= 0 && it.operators.size >= 0 && it.questions.size === 0 && it.state.size >= 0);
    track.items(moment);
  };
  let slowest = 0;
  for (const moment of [track.last, 1, 30_000, 12, track.last - 1, 25_000]) slowest = Math.max(slowest, took(() => use(moment)));
  assert.ok(slowest < 50, `a jump took ${slowest} ms`);
  const moving = took(() => {
    for (let moment = 40_000; moment < 40_200; moment++) use(moment);
  });
  assert.ok(moving / 200 < 5, `a move took ${moving / 200} ms`);
  const rows = took(() => assert.equal(rowsOf({ track }, () => true, () => null).length, 2 * 10_000 + 3));
  assert.ok(rows < 200, `rows took ${rows} ms`);
});

test("frames in small parts come to the same as all at once, and frames that come again change nothing", () => {
  const part = FRAMES.slice(0, 1000), one = new Fold("a"), other = new Fold("a");
  one.add(part);
  for (let from = 0; from < part.length; from += 7) other.add(part.slice(Math.max(from - 3, 0), from + 7));
  assert.equal(other.frames.length, 1000);
  for (const moment of [0, 1, 500, 1000]) {
    assert.deepEqual([...one.at(moment).runs.values()].map(flat), [...other.at(moment).runs.values()].map(flat));
    assert.deepEqual(one.at(moment).state, other.at(moment).state);
  }
});

const flat = ({ id, state, attempt, segments, began, ended, output, by }: import("../src/model/track").Run): unknown =>
  ({ id, state, attempt, segments: [...segments], began, ended, output, by });

test("a moment does not change when more comes", () => {
  const frames = new Frames(1), track = new Fold("a");
  frames.put("started", { value: 1 }, { runs: [frames.begin(1, "a", 1)] });
  frames.put("state", { run: 1, op: "append", key: "k", value: 1 });
  track.add(frames.all);
  const before = track.at(2), run = before.runs.get(1)!;
  frames.put("state", { run: 1, op: "append", key: "k", value: 2 });
  frames.put("completed", { run: 1, value: 3 }, { runs: [frames.end(1, "a")], status: "completed" });
  track.add(frames.all);
  assert.equal(run.segments.at(-1)!.end, null);
  assert.equal(before.runs.get(1)!.state, "running");
  assert.deepEqual(before.state.get("k"), [1]);
  assert.deepEqual(track.at(4).state.get("k"), [1, 2]);
  assert.equal(track.at(4).runs.get(1)!.output, 3);
  assert.deepEqual([...track.at(3).changed], ["k"]);
  assert.equal(track.momentAt(track.frames[2]!.at), 3);
  assert.equal(track.momentAt(0), 0);
});

test("attempts, crashes and waits are the parts of a run", () => {
  const frames = new Frames(1), track = new Fold("a");
  frames.put("started", {}, { runs: [frames.begin(1, "a", 1, { phase: "ready" })] });
  frames.put("x", {}, { runs: [frames.begin(1, "a", 1)] });
  frames.put("failed", { run: 1, error: { type: "E", message: "m" }, retry_in: 1 }, { runs: [frames.begin(1, "a", 1, { phase: "backoff" })] });
  frames.put("timer_fired", { timer: 1 }, { runs: [frames.begin(1, "a", 1, { attempt: 2 })] });
  frames.put("recovered", { lost: true }, { runs: [frames.begin(1, "a", 1, { attempt: 3, losses: 1 })] });
  frames.put("paused", { run: 1, interrupt: "q" }, { runs: [frames.end(1, "a")], questions: [{ id: "q", open: true }] });
  frames.put("resumed", { interrupt: "q", value: 1 }, { questions: [{ id: "q", open: false }], runs: [frames.begin(2, "b", 7)] });
  track.add(frames.all);
  const shown = (moment: number): string[] => track.at(moment).runs.get(1)!.segments.map((it) => `${it.state} ${it.attempt} ${it.mark}`.trim());
  assert.deepEqual(shown(7), ["queued 1", "running 1 retry", "backoff 1", "running 2 lost", "running 3 done", "asking 3 done"]);
  assert.deepEqual(shown(6), ["queued 1", "running 1 retry", "backoff 1", "running 2 lost", "running 3 done", "asking 3"]);
  assert.equal(track.at(6).runs.get(1)!.state, "asking");
  assert.deepEqual(track.at(6).runs.get(1)!.questions, ["q"]);
  assert.equal(track.at(6).questions.get("q")!.run, 1);
  assert.equal(track.at(7).runs.get(1)!.state, "done");
  assert.deepEqual(causesOf(track, track.at(7), 2).chain.map((it) => [it.frame, it.run, it.words]), [
    [7, null, "the question was answered"], [6, 1, "asked"], [1, null, "the execution was started"],
  ]);
});

test("24 hours between two attempts do not squash the axis", () => {
  const frames = new Frames(1), track = new Fold("a");
  frames.put("started", {}, { runs: [frames.begin(1, "a", 1)] });
  frames.at += 60;
  frames.put("failed", { run: 1, error: { type: "E", message: "m" } }, { runs: [frames.begin(1, "a", 1, { phase: "backoff" })] });
  frames.at += 86_400;
  frames.put("timer_fired", { timer: 1 }, { runs: [frames.begin(1, "a", 1, { attempt: 2 })] });
  frames.at += 60;
  frames.put("completed", { run: 1 }, { runs: [frames.end(1, "a")], status: "completed" });
  track.add(frames.all);
  assert.ok(track.axis.place(track.until) < 140, String(track.axis.place(track.until)));
  assert.equal(track.axis.gaps.length, 1);
  assert.ok(Math.abs(track.axis.gaps[0]!.seconds - 86_401) < 0.01);
});

test("a for_each of 10,000 items is counted at every moment, and that is fast", () => {
  const track = new Fold("large"), steps = new Steps(track, LARGE);
  track.add(FRAMES);
  const first = took(() => assert.equal(counted(steps.at(track.at(track.last)).get("each")!), "10,000/10,000"));
  assert.ok(first < 500, `it took ${first} ms`);
  const middle = track.at(26_000), states = steps.at(middle), each = states.get("each")!;
  assert.equal(each.state, "running");
  assert.equal(each.total, 10_000);
  assert.equal(each.ended, [...middle.runs.values()].filter((it) => it.operator === "parse" && it.ended !== null).length);
  assert.equal(counted(states.get("list")!), "");
  assert.equal(steps.itemOf(2)!.number, 1);
  assert.equal(steps.itemOf(20_001)!.value, 9_999);
  const moves = took(() => {
    for (let moment = 26_000; moment < 26_200; moment++) steps.at(track.at(moment));
  });
  assert.ok(moves / 200 < 5, `a move took ${moves / 200} ms`);
  const rows = rowsOf({ track, steps }, () => false, () => null);
  assert.deepEqual(rows.map((it) => [it.runs[0]!.chunk, it.runs.length, it.group]), [["list", 1, false], ["fetch", 10_000, true], ["parse", 10_000, true]]);
  const strip = took(() => {
    const { loads, peak } = density(rows[1]!.runs, track.axis, track.axis.place(track.until), 200, track.until);
    assert.ok(peak >= 0.1 && loads.every((it) => it >= 0 && it <= peak));
  });
  assert.ok(strip < 100, `the strip took ${strip} ms`);
});

test("rows: a box with several runs is one row that unfolds; conditions are shown only when they fail; sub-flows below", () => {
  const frames = new Frames(1), track = new Fold("a"), child = new Fold("a/sub.3");
  frames.put("started", {}, { runs: [frames.begin(1, "list", 1)] });
  frames.put("completed", { run: 1 }, { runs: [frames.end(1, "list"), frames.begin(2, "is it?", 2, { by: 1 }), frames.begin(3, "fetch", 2, { by: 1, sub_flow: "a/sub.3" })] });
  frames.put("completed", { run: 2, value: true }, { runs: [frames.end(2, "is it?"), frames.begin(4, "list", 3, { by: 2 })] });
  track.add(frames.all);
  const inner = new Frames(1);
  inner.put("started", {}, { runs: [inner.begin(1, "x", 1)] });
  child.add(inner.all);
  const steps = new Steps(track, LARGE);
  const shown = (open: string[]): string[] =>
    rowsOf({ track, steps }, (key) => open.includes(key), (id) => (id === "a/sub.3" ? { track: child } : null))
      .map((it) => `${"  ".repeat(it.level - 1)}${it.runs[0]!.chunk}${it.group ? ` x${it.runs.length}` : ""}`);
  assert.deepEqual(shown([]), ["list x2", "fetch"]);
  assert.deepEqual(shown(["olist"]), ["list x2", "  list", "  list", "fetch"]);
  assert.deepEqual(shown(["r3"]), ["list x2", "fetch", "  x"]);
  frames.put("failed", { run: 4, error: { type: "E", message: "" } }, { runs: [frames.end(4, "list"), frames.begin(5, "is it?", 3)] });
  frames.put("failed", { run: 5, error: { type: "E", message: "" } }, { runs: [frames.end(5, "is it?")], status: "failed" });
  track.add(frames.all);
  assert.deepEqual(shown([]), ["list x2", "fetch", "is it?"]);
});

test("a step whose question nobody has answered is cancelled, and asks again after a retry", () => {
  const frames = new Frames();
  frames.put("started", {}, { definition: "d", runs: [frames.begin(1, "a", 1)] });
  frames.put("paused", { run: 1, interrupt: "q" }, { status: "waiting", runs: [frames.end(1, "a")], questions: [{ id: "q", open: true }] });
  frames.put("cancel_requested", { reason: "enough" }, { status: "cancelled", questions: [{ id: "q", open: false }] });
  frames.put("retried", { failed: 3 }, { status: "waiting", questions: [{ id: "q", open: true }] });
  frames.put("resumed", { interrupt: "q", value: 1 }, { questions: [{ id: "q", open: false }] });
  const track = new Fold("one");
  track.add(frames.all);
  assert.deepEqual([2, 3, 4, 5].map((it) => track.at(it).runs.get(1)!.state), ["asking", "cancelled", "asking", "done"]);
  assert.deepEqual([2, 3, 4, 5].map((it) => track.at(it).operators.get("a")!.cancelled), [0, 1, 0, 0]);
  assert.equal(track.at(3).runs.get(1)!.segments.at(-1)!.mark, "cancelled");
});

test("the length of a run leaves out the waits between its attempts", () => {
  const frames = new Frames(1);
  frames.put("started", {}, { runs: [frames.begin(1, "a", 1)] });
  frames.put("failed", { run: 1, error: {} }, { runs: [{ ...frames.begin(1, "a", 1), phase: "backoff" }] });
  frames.at += 30;
  frames.put("timer_fired", {}, { runs: [frames.begin(1, "a", 1, { attempt: 2 })] });
  frames.put("completed", { run: 1, value: 1 }, { runs: [frames.end(1, "a")] });
  const track = new Fold("one");
  track.add(frames.all);
  const run = track.at(4).runs.get(1)!;
  assert.deepEqual([lengthOf(run, 0), waitOf(run, 0)], [2, 31]);
});
