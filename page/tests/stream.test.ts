import assert from "node:assert/strict";
import { test } from "node:test";
import { Entries, has, labelOf } from "../src/execution/entries";
import type { StreamItem } from "../src/model/track";
import { Heights } from "../src/values/rows";

const stream = (...items: unknown[]): StreamItem[] => items.map((item, at) => ({ number: at + 1, frame: 2 * at + 1, item, path: "", run: 1 }));
const shown = (items: readonly StreamItem[]): unknown[] => new Entries().of(items).map((it) => it.text ?? it.item);

test("items are merged where compact merges them", () => {
  assert.deepEqual(shown(stream("Hel", "lo", 1, "x", { delta: "a" }, { delta: "b" }, { delta: "c", field: 1 }, { delta: "d", field: 1 }, { delta: 5 })),
    ["Hello", 1, "x", "ab", "cd", { delta: 5 }]);
  assert.deepEqual(shown(stream({ delta: "a", $type: "Point" }, { delta: "b", $type: "Point" })).length, 2);
  const items = stream("a", "b");
  items[1]!.path = "child";
  assert.deepEqual(shown(items), ["a", "b"]);
});

test("what different runs have written is not one text", () => {
  const items = stream("booking 3 days", "done", " and paid", { delta: "x" }, { delta: "y" });
  for (const [at, run] of [1, 2, 2, 2, 3].entries()) items[at]!.run = run;
  assert.deepEqual(shown(items), ["booking 3 days", "done and paid", "x", "y"]);
});

test("messages that follow each other have lines of their own", () => {
  assert.deepEqual(shown(stream("Looking at it", "Found two things", " and more")), ["Looking at it\nFound two things and more"]);
});

test("entries of a prefix and of more are those of a fresh look", () => {
  const items = stream("a", "b", { delta: "c" }, { delta: "d" }, 5, { delta: "e" }, "f", "g");
  const kept = new Entries();
  for (const length of [8, 3, 4, 0, 8, 7, 1, 2, 6, 5, 8]) {
    const prefix = items.slice(0, length);
    assert.deepEqual(kept.of(prefix), new Entries().of(prefix), String(length));
  }
  assert.deepEqual(kept.of(stream("other")).length, 1);
});

test("an entry is not changed after it was made", () => {
  const kept = new Entries();
  const [before] = kept.of(stream("a"));
  const [after] = kept.of(stream("a", "b"));
  assert.equal(before!.text, "a");
  assert.equal(after!.text, "ab");
});

test("labels and filters", () => {
  const [one] = new Entries().of(stream({ delta: "Sails", path: "answer.title" }));
  assert.equal(labelOf(one!), "answer.title");
  assert.ok(has(one!, ["sails", "answer"]));
  assert.ok(!has(one!, ["sails", "moon"]));
});

test("50,000 pieces are merged at once", () => {
  const items = stream(...Array.from({ length: 50_000 }, (_, at) => ({ delta: `word${at} `, path: at % 1000 < 500 ? "a" : "b" })));
  const start = performance.now();
  assert.equal(new Entries().of(items).length, 100);
  assert.equal(new Entries().of(stream(...new Array(50_000).fill(" twenty characters..")))[0]!.text!.length, 1_000_000);
  assert.ok(performance.now() - start < 3000);
});

test("rows of unequal height are found by their place", () => {
  const heights = new Heights<string>();
  heights.set(["a", "b", "c"], () => 10);
  assert.equal(heights.total, 30);
  assert.ok(heights.measure("b", 50));
  assert.ok(!heights.measure("b", 50.2));
  heights.set(["a", "b", "c", "d"], () => 10);
  assert.deepEqual([heights.total, heights.top(2), heights.at(-5), heights.at(9), heights.at(10), heights.at(59), heights.at(60), heights.at(1000)], [80, 60, 0, 0, 1, 1, 2, 3]);
  assert.equal(heights.find("d", 0), 3);
  assert.equal(heights.find("x", 0), -1);
  heights.set([], () => 10);
  assert.equal(heights.at(10), 0);
});
