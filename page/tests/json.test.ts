import assert from "node:assert/strict";
import { test } from "node:test";
import { Exact, parse, parseTyped, same, stringify } from "../src/wire/json";

test("whole numbers keep their digits both ways", () => {
  const text = '{"id":12345678901234567890,"list":[-9007199254740993,1,2.5],"text":"12345678901234567890 \\" 5","t":1764533395.123456}';
  const value = parse(text) as Record<string, unknown>;
  assert.ok(value.id instanceof Exact);
  assert.equal(String(value.id), "12345678901234567890");
  assert.equal(value.text, '12345678901234567890 " 5');
  assert.equal(value.t, 1764533395.123456);
  assert.equal(stringify(value), text);
});

test("backslashes before a quote end or do not end a text", () => {
  const text = '["\\\\",12345678901234567,"\\\\\\"12345678901234567",12345678901234567]';
  assert.equal(stringify(parse(text)), text);
});

test("typed numbers are sent as typed", () => {
  for (const text of ["1.0", "0.1000000000000000055511151231257827", "1e400", "-0", "12345678901234567890", "[1.10,2]", '{"a":1E5}'])
    assert.equal(stringify(parseTyped(text)), text);
  assert.equal(parseTyped("12"), 12);
  assert.throws(() => parseTyped("{a: 1}"), SyntaxError);
  assert.throws(() => parseTyped("01"), SyntaxError);
});

test("an indented text, and none", () => {
  assert.equal(stringify({ a: new Exact("1.0") }, 2), '{\n  "a": 1.0\n}');
  assert.equal(stringify(undefined), "null");
});

test("same values", () => {
  assert.ok(same({ a: [1, { b: null }] }, { a: [1, { b: null }] }));
  assert.ok(same(new Exact("12345678901234567890"), new Exact("12345678901234567890")));
  assert.ok(!same({ a: undefined }, { b: undefined }));
  assert.ok(!same([1], { 0: 1 }));
  assert.ok(!same(JSON.parse('{"__proto__":1}'), {}));
});
