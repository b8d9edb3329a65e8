import assert from "node:assert/strict";
import { test } from "node:test";
import { difference, NOTHING, textDifference, type Change } from "../src/values/difference";

const flat = (change: Change, name = ""): string[] =>
  change.kind === "inside" ? change.parts.flatMap((it) => flat(it.change, `${name}/${it.name}`)) : [`${change.kind} ${name}`];

test("what differs is found where it is", () => {
  assert.deepEqual(flat(difference({ a: 1, b: [1, 2, { c: 3 }], d: 5 }, { a: 1, b: [1, 2, { c: 4 }], e: 6 })), ["changed /b/2/c", "removed /d", "added /e"]);
  assert.deepEqual(flat(difference([1, 2, 3], [1, 9, 2, 3])), ["added /1"]);
  assert.deepEqual(flat(difference([1, 2, 3], [3])), ["removed /0", "removed /1"]);
  assert.deepEqual(flat(difference(1, NOTHING)), ["removed "]);
  assert.deepEqual(flat(difference({ a: null }, {})), ["removed /a"]);
  assert.equal(difference({ a: [1] }, { a: [1] }).kind, "same");
});

test("values of Python that are other ones as a whole", () => {
  assert.equal(difference({ $type: "Color", value: "red" }, { $type: "Color", value: "blue" }).kind, "changed");
  assert.equal(difference({ $type: "A", x: 1 }, { $type: "B", x: 1 }).kind, "changed");
  assert.deepEqual(flat(difference({ $type: "A", x: 1, y: 1 }, { $type: "A", x: 2, y: 1 })), ["changed /x"]);
});

test("long texts are shown where they differ", () => {
  const text = "The quick brown fox jumps over the lazy dog. ".repeat(10);
  const found = textDifference(`${text}one${text}`, `${text}another${text}`)!;
  assert.equal(found.one, "one");
  assert.equal(found.other, "another");
  assert.ok(found.before.length <= 41 && found.after.length <= 41);
  assert.equal(textDifference("a", "b"), null);
});
