import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, isAny, typeOf } from "../src/flows/describe";
import { chosen, NO_OPTIONS, optionsOf } from "../src/flows/options";
import type { Schema } from "../src/wire/types";

const ROOT: Schema = {
  $ref: "#/$defs/Ask",
  $defs: {
    Ask: {
      title: "Ask", description: "What it is about.", type: "object", required: ["topic"],
      properties: {
        topic: { type: "string", minLength: 1, maxLength: 200, description: "The subject" },
        sources: { type: "array", items: { $ref: "#/$defs/Source" }, default: [] },
        depth: { type: "integer", minimum: 1, maximum: 9, default: 3 },
        note: { anyOf: [{ type: "string" }, { type: "null" }], default: null },
        counts: { type: "object", additionalProperties: { type: "integer" } },
        more: { $ref: "#/$defs/Ask" },
      },
    },
    Source: { title: "Source", type: "object", required: ["url"], properties: { url: { type: "string", format: "uri" }, kind: { enum: ["web", "book"] } } },
  },
};

test("a schema is told in words, with what is inside of it", () => {
  const it = describe(ROOT);
  assert.equal(it.type, "Ask");
  assert.equal(it.about, "What it is about.");
  const rows = it.fields.map((field) => [field.depth, field.name, field.type, field.needed, field.limits]);
  assert.deepEqual(rows, [
    [0, "topic", "text", true, "1 to 200 characters"],
    [0, "sources", "list of Source", false, "default []"],
    [1, "url", "address (url)", true, ""],
    [1, "kind", "“web” or “book”", false, ""],
    [0, "depth", "whole number", false, "1 to 9, default 3"],
    [0, "note", "text or nothing", false, "default null"],
    [0, "counts", "object of whole numbers by key", false, ""],
    [0, "more", "Ask", false, ""],
  ]);
});

test("types that are no objects, too", () => {
  const type = (schema: Schema): string => typeOf(schema, schema);
  assert.equal(type({}), "any value");
  assert.equal(type({ type: "array", items: { type: "string" } }), "list of texts");
  assert.equal(type({ anyOf: [{ type: "integer" }, { type: "string" }, { type: "null" }] }), "whole number or text or nothing");
  assert.equal(type({ const: 3 }), "3");
  assert.equal(type({ type: "array" }), "list of any value");
  assert.ok(isAny({ $defs: {} }) && !isAny({ type: "null" }));
});

test("a schema that leads in circles or is enormous ends", () => {
  const circle: Schema = { $ref: "#/$defs/A", $defs: { A: { anyOf: [{ $ref: "#/$defs/A" }, { type: "array", items: { $ref: "#/$defs/A" } }] } } };
  assert.ok(describe(circle).fields.length < 121);
  const wide: Schema = { type: "object", properties: Object.fromEntries(Array.from({ length: 5000 }, (_, number) => [`f${number}`, { type: "string" }])) };
  assert.equal(describe(wide).fields.length, 120);
  assert.ok(describe(wide).more);
});

test("the options of a start are what the server takes, or it is said what is wrong", () => {
  assert.deepEqual(optionsOf(NO_OPTIONS), { options: {}, wrong: {} });
  const typed = { id: " order-1 ", labels: "team: a\n\nticket: 42: b\n", delay: "1.5" };
  assert.deepEqual(optionsOf(typed).options, { id: "order-1", labels: { team: "a", ticket: "42: b" }, delay: 1.5 });
  assert.equal(chosen(typed), 3);
  assert.deepEqual(Object.keys(optionsOf({ id: "x".repeat(513), labels: "no label", delay: "-1" }).wrong), ["id", "labels", "delay"]);
  assert.ok(optionsOf({ ...NO_OPTIONS, labels: "a: 1\na: 2" }).wrong.labels);
  assert.ok(optionsOf({ ...NO_OPTIONS, delay: "1e9" }).wrong.delay);
  assert.deepEqual(Object.keys(optionsOf({ ...NO_OPTIONS, labels: "__proto__: x" }).options.labels!), ["__proto__"]);
});

test("a type that has itself in it, such as JSON, is told in a few words", () => {
  const json: Schema = {
    $ref: "#/$defs/Json",
    $defs: { Json: { anyOf: [{ type: "string" }, { type: "array", items: { $ref: "#/$defs/Json" } }, { type: "object", additionalProperties: { $ref: "#/$defs/Json" } }] } },
  };
  const it = describe(json);
  assert.equal(it.type, "text, list of Json or object of Json by key");
  assert.deepEqual(it.fields, []);
});
