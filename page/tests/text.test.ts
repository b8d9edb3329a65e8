import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "../src/wire/json";
import { begin, line, size, summary, typed, visible } from "../src/values/text";

test("what cannot be seen is shown by a sign", () => {
  assert.equal(visible("a\u202Eb\u0000c\r\nd\te\u200b"), "a\\u202eb␀c\nd\te\\u200b");
  assert.equal(visible("👩‍💻 é"), "👩‍💻 é");
  assert.equal(visible("\ud800x"), "\\ud800x");
});

test("a summary is one short line, whatever the value", () => {
  assert.equal(summary({ a: [1, "b\n", null, true], c: {} }), '{a: [1, "b\\n", null, true], c: {}}');
  assert.equal(summary(parse("[12345678901234567890]")), "[12345678901234567890]");
  const big = Object.fromEntries(Array.from({ length: 200_000 }, (_, at) => [`key${at}`, "x".repeat(10)]));
  const start = performance.now();
  assert.ok(summary([big, "y".repeat(1_000_000)], 100).length <= 100);
  assert.ok(performance.now() - start < 2000);
  let deep: unknown = 1;
  for (let at = 0; at < 1000; at++) deep = [deep];
  assert.ok(summary(deep).includes("…"));
});

test("types that JSON lacks are named", () => {
  assert.equal(summary({ $type: "Color", value: "red" }), 'Color "red"');
  assert.equal(summary({ $type: "Point", x: 1, y: 2 }), "Point(x: 1, y: 2)");
  assert.equal(summary({ $type: "dict", items: [[1, "a"], [[2, 3], "b"]] }), 'dict(1: "a", [2, 3]: "b")');
  assert.equal(typed({ $type: "timedelta", seconds: 90 })?.shown, "value");
  assert.equal(typed({ $type: "Old", unreadable: true })?.shown, "unreadable");
  assert.equal(typed({ $type: 5 }), null);
  assert.equal(size({ $type: "Point", x: 1 }), "1 field");
  assert.equal(size([1, 2]), "2 items");
});

test("lines and cuts", () => {
  assert.equal(line("  two\n words "), " two words ");
  assert.equal(begin("a👩", 2), "a");
});
