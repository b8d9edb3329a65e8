import assert from "node:assert/strict";
import { test } from "node:test";
import { forPerson, placesIn } from "../src/forms/problem";
import { ABSENT, check, isQuick, nameOf, notJson, plain, read, shapeOf, start, type Draft, type Misfit } from "../src/forms/schema";
import { parse, stringify } from "../src/wire/json";
import type { Schema } from "../src/wire/types";

// as msgspec and Pydantic write them
const UNION = parse(`{"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}], "discriminator": {"propertyName": "type", "mapping": {"A": "#/$defs/A", "B": "#/$defs/B"}}, "$defs": {"A": {"title": "A", "description": "An a.", "type": "object", "properties": {"type": {"enum": ["A"]}, "x": {"type": "integer"}, "note": {"type": "string", "default": ""}}, "required": ["type", "x"], "additionalProperties": false}, "B": {"title": "B", "type": "object", "properties": {"type": {"enum": ["B"]}, "y": {"title": "Share", "description": "how much", "type": "number", "minimum": 0, "maximum": 1}, "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}, "tags": {"type": "array", "items": {"type": "string"}, "default": []}, "pair": {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "default": [1, "a"]}, "m": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}}, "c": {"$ref": "#/$defs/Color", "default": "red"}, "child": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}], "default": null}, "d": {"type": "string", "format": "decimal", "default": "1.10"}, "u": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}], "default": null}, "s": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": true, "default": []}, "any": {"default": null}}, "required": ["type", "y"], "additionalProperties": false}, "Color": {"title": "Color", "enum": ["blue", "red"]}}}`) as Schema;
const PERSON = parse(`{"$defs": {"Color": {"enum": ["red", "blue"], "title": "Color", "type": "string"}, "P": {"description": "A p.", "properties": {"name": {"description": "who", "examples": ["x"], "minLength": 1, "pattern": "^[a-z]+$", "title": "Name", "type": "string"}, "age": {"exclusiveMinimum": 0, "title": "Age", "type": "integer"}, "d": {"anyOf": [{"type": "number"}, {"type": "string"}], "default": "1.1", "title": "D"}, "k": {"const": "one", "default": "one", "title": "K", "type": "string"}, "email": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "Email"}, "sub": {"default": [], "items": {"$ref": "#/$defs/P"}, "title": "Sub", "type": "array"}, "e": {"additionalProperties": {"type": "integer"}, "title": "E", "type": "object"}}, "required": ["name", "age"], "title": "P", "type": "object"}}, "$ref": "#/$defs/P"}`) as Schema;
const TAGGED = parse(`{"$defs": {"Q1": {"properties": {"kind": {"const": "q1", "title": "Kind", "type": "string"}, "a": {"title": "A", "type": "integer"}}, "required": ["kind", "a"], "title": "Q1", "type": "object"}, "Q2": {"properties": {"kind": {"const": "q2", "title": "Kind", "type": "string"}, "b": {"title": "B", "type": "string"}}, "required": ["kind", "b"], "title": "Q2", "type": "object"}}, "additionalProperties": false, "properties": {"q": {"discriminator": {"mapping": {"q1": "#/$defs/Q1", "q2": "#/$defs/Q2"}, "propertyName": "kind"}, "oneOf": [{"$ref": "#/$defs/Q1"}, {"$ref": "#/$defs/Q2"}], "title": "Q"}}, "required": ["q"], "title": "Q", "type": "object"}`) as Schema;

const kind = (schema: Schema): string => shapeOf(schema, schema).kind;
function value(schema: Schema, draft: Draft): { value: unknown; misfits: Misfit[] } {
  const misfits: Misfit[] = [];
  return { value: read(draft, schema, schema, misfits), misfits };
}
function set(draft: Draft, name: string, next: Draft): Draft {
  assert.equal(draft.of, "object");
  return draft.of === "object" ? { ...draft, fields: new Map(draft.fields).set(name, next) } : draft;
}

test("each schema gets its control", () => {
  assert.equal(kind({ type: "boolean" }), "boolean");
  assert.equal(kind({ enum: ["no", "yes"] }), "choice");
  assert.equal(kind({ enum: ["only"] }), "const");
  assert.equal(kind({ anyOf: [{ const: 1, title: "One" }, { const: 2, title: "Two" }] }), "choice");
  assert.equal(kind({ type: ["string", "null"] }), "text");
  assert.ok(shapeOf({ type: ["string", "null"] }, {}).nullable);
  assert.ok(shapeOf({ enum: ["a", "b", null] }, {}).nullable);
  assert.equal(kind({ anyOf: [{ type: "integer" }, { type: "string" }, { type: "null" }] }), "union");
  assert.equal(kind({ anyOf: [{ type: "number" }, { type: "string" }], default: "1.1" }), "decimal");
  assert.equal(kind({}), "union");
  assert.equal(kind({ title: "Invoice" }), "union");
  assert.equal(kind({ type: "object" }), "map");
  assert.equal(kind({ type: "object", properties: {}, additionalProperties: false }), "object");
  assert.equal(kind({ type: "array", prefixItems: [{ type: "integer" }], items: false }), "tuple");
  assert.equal(kind({ not: { type: "string" } }), "json");
  assert.equal(kind(UNION), "union");
  assert.equal(kind(PERSON), "object");
  assert.deepEqual(shapeOf(TAGGED, TAGGED).kind, "object");
  assert.equal(nameOf({ $ref: "#/$defs/Q1" }, TAGGED), "Q1");
});

test("references lead somewhere or nowhere, also in circles", () => {
  const schema: Schema = { $ref: "#/$defs/A", $defs: { A: { $ref: "#/$defs/A" }, "a/b": { type: "string" } } };
  assert.deepEqual(plain(schema, schema).type, undefined);
  assert.deepEqual(plain({ $ref: "#/$defs/a~1b" }, schema), { type: "string" });
  assert.deepEqual(plain({ $ref: "https://example.com" }, schema), {});
  const all: Schema = { allOf: [{ type: "object", properties: { a: {} }, required: ["a"] }, { properties: { b: {} }, required: ["b"] }] };
  assert.deepEqual(plain(all, all).required, ["a", "b"]);
  start(schema, schema);
  const endless: Schema = { $ref: "#/$defs/N", $defs: { N: { type: "object", properties: { n: { $ref: "#/$defs/N" } }, required: ["n"] } } };
  start(endless, endless);
});

test("a form of a struct begins with its defaults and sends what the server takes", () => {
  const draft = start(UNION, UNION, { type: "B", y: 0.5 });
  const got = value(UNION, draft);
  assert.deepEqual(got.misfits, []);
  assert.deepEqual(got.value, {
    type: "B", y: 0.5, when: null, tags: [], pair: [1, "a"], m: {}, c: "red", child: null, d: "1.10", u: null, s: [], any: null,
  });
  assert.deepEqual(check(UNION, UNION, got.value), []);
});

test("an empty form says what is needed, at its place", () => {
  const { value: found, misfits } = value(PERSON, start(PERSON, PERSON));
  assert.deepEqual(misfits.map((it) => it.path), ["/age"]);
  assert.deepEqual(check(PERSON, PERSON, found).map((it) => it.path), ["/age", "/name"]);
  assert.deepEqual(found, { name: "", d: "1.1", k: "one", email: null, sub: [] });
});

test("numbers are sent as typed, and never rounded", () => {
  const draft = set(set(start(PERSON, PERSON), "age", { of: "text", text: " 12345678901234567890 " }), "d", { of: "text", text: "0.10" });
  const got = value(PERSON, set(draft, "name", { of: "text", text: "abc" }));
  assert.deepEqual(got.misfits, []);
  assert.equal(stringify(got.value), '{"name":"abc","age":12345678901234567890,"d":"0.10","k":"one","email":null,"sub":[]}');
  assert.deepEqual(check(PERSON, PERSON, got.value), []);
  assert.match(value(PERSON, set(draft, "age", { of: "text", text: "1,5" })).misfits[0]!.text, /point/);
  assert.match(value(PERSON, set(draft, "age", { of: "text", text: "abc" })).misfits[0]!.text, /whole number/);
  const limit: Schema = { type: "integer", maximum: parse("9007199254740993") };
  assert.equal(check(limit, limit, parse("9007199254740993")).length, 0);
  assert.equal(check(limit, limit, parse("9007199254740994")).length, 1);
  assert.equal(check({ type: "integer" }, {}, 1.5).length, 1);
});

test("what is left out is left out", () => {
  const schema: Schema = {
    type: "object", required: ["a"],
    properties: { a: { type: "string" }, b: { type: "string" }, c: { type: "boolean" }, d: { type: "array" }, e: { type: "object", properties: { f: { type: "string" } }, required: ["f"] }, g: {} },
  };
  assert.deepEqual(value(schema, start(schema, schema)).value, { a: "" });
  assert.equal(value({ type: "integer" }, { of: "text", text: "" }).value, ABSENT);
  const given = { a: "x", e: { f: "y" }, g: [1], other: 5 };
  assert.deepEqual(value(schema, start(schema, schema, given)).value, { ...given, other: 5 });
});

test("what does not fit its control is edited as JSON", () => {
  assert.equal(start({ type: "boolean" }, {}, "perhaps").of, "json");
  assert.equal(start({ enum: ["a", "b"] }, {}, "c").of, "json");
  assert.equal(start({ type: "array", items: {} }, {}, new Array(1000).fill(1)).of, "json");
});

test("any JSON begins with what is there", () => {
  const at = (given: unknown): unknown => {
    const draft = start({}, {}, given);
    return draft.of === "union" && draft.at;
  };
  assert.deepEqual([at("a"), at(true), at(1), at(null), at([1])], [0, 1, 2, 3, 4]);
  assert.deepEqual(value({}, start({}, {}, { a: [1] })).value, { a: [1] });
});

test("the option that was meant says what is wrong", () => {
  assert.deepEqual(check(TAGGED, TAGGED, { q: { kind: "q1", a: "x" } }).map((it) => it.path), ["/q/a"]);
  assert.deepEqual(check(UNION, UNION, { type: "B", y: 7 }).map((it) => [it.path, it.text]), [["/y", "This has to be 1 or less."]]);
  assert.equal(check({ anyOf: [{ type: "integer" }, { type: "string" }] }, {}, []).length, 1);
});

test("checks", () => {
  const one = (schema: Schema, it: unknown): string => check(schema, schema, it).map((found) => `${found.path} ${found.text}`).join("; ");
  assert.match(one({ type: "string", minLength: 3 }, "ab"), /At least 3 characters are needed; there are 2/);
  assert.equal(one({ type: "string", minLength: 1, maxLength: 1 }, "👩"), "");
  assert.match(one({ type: "string", pattern: "^[a-z]+$" }, "A"), /pattern/);
  assert.equal(one({ type: "string", pattern: "(?P<python>a)" }, "b"), "");
  assert.match(one({ type: "string", format: "date" }, "30.11."), /no date/);
  assert.equal(one({ type: "string", format: "uuid" }, "123e4567-e89b-12d3-a456-426614174000"), "");
  assert.match(one({ type: "array", minItems: 2, items: { type: "integer" } }, ["x"]), /At least 2 items.*\/0 A whole number/);
  assert.match(one({ type: "object", properties: { a: {} }, required: ["a"], additionalProperties: false }, { b: 1 }), /\/a This is needed.*no key "b"/);
  assert.match(one({ exclusiveMaximum: 5 }, 5), /less than 5/);
  assert.match(one({ type: "integer", multipleOf: 3 }, 4), /multiple of 3/);
});

test("what is wrong with JSON is said in words", () => {
  const of = (text: string): string => {
    try {
      JSON.parse(text);
      return "";
    } catch (error) {
      return notJson(text, error);
    }
  };
  assert.match(of("yes"), /needs quotes: "yes"/);
  assert.match(of('{"a": 1,\n "b" 2}'), /line 2/);
  assert.match(of("{'a': 1}"), /double quotes/);
});

test("the places that the server names", () => {
  assert.deepEqual(placesIn("TriggerFlow contract validation failed for 'answer q': Expected `int`, got `str` - at `$.items[0].count`"),
    [{ path: "/items/0/count", text: "Expected `int`, got `str`." }]);
  assert.deepEqual(placesIn("TriggerFlow contract validation failed for 'initial_input': age: Input should be greater than 0; a.0.b: Field required"),
    [{ path: "/age", text: "Input should be greater than 0." }, { path: "/a/0/b", text: "Field required." }]);
  assert.deepEqual(placesIn("something else: x"), []);
});

test("values of many schemas come out of a form as they went in", () => {
  let seed = 7;
  const random = (most: number): number => (seed = (seed * 48271) % 2147483647) % most;
  const pick = <T>(...all: T[]): T => all[random(all.length)]!;
  const schemaOf = (deep: number): { schema: Schema; value: () => unknown } => {
    const part = (): { schema: Schema; value: () => unknown } => schemaOf(deep + 1);
    switch (random(deep > 3 ? 7 : 12)) {
      case 0: return { schema: { type: "boolean" }, value: () => random(2) === 0 };
      case 1: return { schema: { type: "integer" }, value: () => parse(pick("0", "-5", "12345678901234567890")) };
      case 2: return { schema: { type: "string" }, value: () => pick("a", "two\nlines", "</script>", " ") };
      case 3: return { schema: { enum: ["x", 1, true] }, value: () => pick<unknown>("x", 1, true) };
      case 4: return { schema: { const: "only" }, value: () => "only" };
      case 5: return { schema: {}, value: () => pick<unknown>(1, "a", null, [1, { b: 2 }], { c: [] }, false) };
      case 6: return { schema: { anyOf: [{ type: "integer" }, { type: "null" }], default: null }, value: () => pick<unknown>(1, null) };
      case 7: {
        const item = part();
        return { schema: { type: "array", items: item.schema }, value: () => Array.from({ length: random(4) }, item.value) };
      }
      case 8: {
        const item = part();
        return { schema: { type: "object", additionalProperties: item.schema }, value: () => Object.fromEntries(Array.from({ length: random(3) }, (_, at) => [pick("k", "a/b", "__proto__", "~") + at, item.value()])) };
      }
      case 9: {
        const [one, other] = [part(), part()];
        return { schema: { type: "array", prefixItems: [one.schema, other.schema], items: false, minItems: 2, maxItems: 2 }, value: () => [one.value(), other.value()] };
      }
      case 10: {
        const [one, other] = [part(), part()];
        const tagged = (tag: string, it: Schema): Schema => ({ type: "object", properties: { kind: { const: tag }, it }, required: ["kind", "it"], additionalProperties: false });
        return { schema: { oneOf: [tagged("one", one.schema), tagged("other", other.schema)] }, value: () => pick({ kind: "one", it: one.value() }, { kind: "other", it: other.value() }) };
      }
      default: {
        const fields = Object.fromEntries(Array.from({ length: 1 + random(4) }, (_, at) => [`f${at}`, part()]));
        return {
          schema: { type: "object", properties: Object.fromEntries(Object.entries(fields).map(([name, it]) => [name, it.schema])), required: Object.keys(fields), additionalProperties: false },
          value: () => Object.fromEntries(Object.entries(fields).map(([name, it]) => [name, it.value()])),
        };
      }
    }
  };
  for (let round = 0; round < 2000; round++) {
    const { schema, value: make } = schemaOf(0);
    const empty: Misfit[] = [];
    read(start(schema, schema), schema, schema, empty);
    const given = make();
    assert.deepEqual(check(schema, schema, given), [], stringify({ schema, given }));
    const got = value(schema, start(schema, schema, given));
    assert.deepEqual(got.misfits, [], stringify({ schema, given }));
    assert.equal(stringify(got.value), stringify(given), stringify(schema));
  }
});

test("no value and no schema makes the check fail itself", () => {
  const odd: unknown[] = [null, 1, "a", [], {}, true, { type: 5 }, { enum: 3 }, { anyOf: "x" }, { properties: [1] }, { required: "a" }, { items: 7 }, { $ref: 3 }, { type: ["x"] }, { prefixItems: {} }, { allOf: [1] }, { pattern: "(" , type: "string" }];
  for (const schema of odd) for (const it of odd) {
    check(schema, schema as Schema, it);
    if (typeof schema === "object" && schema !== null && !Array.isArray(schema)) read(start(schema as Schema, schema as Schema, it), schema as Schema, schema as Schema, []);
  }
});

test("a schema that contains itself is checked in a moment", () => {
  const kind = (name: string): Schema => ({ type: "object", required: ["kind"], properties: { kind: { const: name }, next: { $ref: "#" } } });
  const tagged: Schema = { anyOf: ["a", "b", "c", "d"].map(kind) };
  const untagged: Schema = { anyOf: [1, 2, 3].map((least) => ({ type: "object", minProperties: least > 1 ? 1 : 0, properties: { next: { $ref: "#" } } })) };
  let deep: unknown = { kind: "no" }, plainly: unknown = { next: 1 };
  for (let at = 0; at < 18; at += 1) {
    deep = { kind: "d", next: deep };
    plainly = { next: plainly };
  }
  const begun = performance.now();
  assert.equal(check(tagged, tagged, deep).length, 1);
  check(untagged, untagged, plainly); // whatever it says: the server decides
  plain({ allOf: [{ $ref: "#" }, { $ref: "#" }, { $ref: "#" }] }, { allOf: [{ $ref: "#" }, { $ref: "#" }, { $ref: "#" }] });
  assert.ok(performance.now() - begun < 1000);
  // a tag that has a default may be left out
  const loose: Schema = { anyOf: [{ type: "object", properties: { kind: { const: "a" } } }, { type: "string" }] };
  assert.deepEqual(check(loose, loose, {}), []);
});

test("a pattern that may never end is left to the server", () => {
  for (const it of ["^(a+)+$", "^(a|a)*$", "(a?){30}a{30}", "(?:(?:x+)y)*", "a?a?a?a?a?a?", "^([a-z]+)*@$", "(a*)*"]) assert.ok(!isQuick(it), it);
  for (const it of ["^[a-z]+$", "^\\d{4}-\\d{2}$", "^(ab)+$", "^[^@]+@[^@]+$", "^(a|b)c?$", "^\\(\\+\\)*$", "^[(+)]*$"]) assert.ok(isQuick(it), it);
  const schema: Schema = { type: "string", pattern: "^(a+)+$" };
  assert.deepEqual(check(schema, schema, `${"a".repeat(60)}!`), []);
});

test("names that every object has are no types and formats", () => {
  assert.deepEqual(check({ type: "constructor" }, {}, "x"), []);
  assert.deepEqual(check({ type: "string", format: "toString" }, {}, "x"), []);
  assert.equal(nameOf({ type: "string", format: "valueOf" }, {}), "Text (valueOf)");
});

test("a problem tells a person nothing of how programs write it", () => {
  assert.equal(forPerson("it has ended; fork it earlier: at=..."), "it has ended");
  assert.equal(forPerson("it has not failed; fork it: flow.history(store).fork(id, at=...)"), "it has not failed");
  assert.equal(forPerson("expected 3 (three), got 4"), "expected 3 (three), got 4");
});
