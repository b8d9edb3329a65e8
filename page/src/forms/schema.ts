/**
 * What a form makes of a JSON Schema (draft 2020-12, as msgspec and Pydantic write it): which control a value gets, the
 * draft of what was typed, and what is wrong with a value. What it does not know it leaves to the server, which checks all.
 */
import { Exact, isNumber, isObject, parseTyped, same } from "../wire/json";
import type { Schema } from "../wire/types";
import { pretty, summary } from "../values/text";

export type Kind =
  | "const" | "boolean" | "choice" | "choices" | "text" | "number" | "decimal" | "list" | "tuple" | "object" | "map" | "union" | "null" | "json";

/** A schema without references: what it is for a form. */
export interface Shape {
  kind: Kind;
  schema: Schema;
  /** Whether null fits as well. */
  nullable: boolean;
  /** Of a choice: the values and what they are called. */
  choices: readonly { value: unknown; label: string }[];
  /** Of a union: one of these. */
  options: readonly Schema[];
}

/** What was typed so far, which need not be a value yet. */
export type Draft =
  | { of: "const" }
  | { of: "flag"; value: boolean | null }
  | { of: "choice"; at: number }
  | { of: "choices"; at: readonly number[] }
  | { of: "text"; text: string }
  | { of: "json"; text: string }
  | { of: "list"; items: readonly { key: number; draft: Draft }[] }
  | { of: "object"; fields: ReadonlyMap<string, Draft>; rest: Record<string, unknown> }
  | { of: "map"; items: readonly { key: number; name: string; draft: Draft }[] }
  | { of: "union"; at: number; drafts: ReadonlyMap<number, Draft> }
  /** A part that may be left out; off: it is. */
  | { of: "maybe"; on: boolean; draft: Draft };

/** Something that does not fit: `path` is a JSON pointer into the value. */
export interface Misfit { path: string; text: string }

/** Nothing is sent for this part. */
export const ABSENT = Symbol("absent");
/** A part inside of so many others is edited as JSON. */
const DEEPEST = 10;
/** A list or a map with more parts is edited as JSON. */
const MOST = 200;

// -- reading schemas --------------------------------------------------------------------------------------------------

/** Names of a schema are looked up in it: it has none but its own. */
function table<T>(of: Record<string, T>): Record<string, T> {
  return Object.assign(Object.create(null) as Record<string, T>, of);
}

const asSchema = (it: unknown): Schema => (isObject(it) ? it : it === false ? { not: {} } : {});
const list = (it: unknown): unknown[] => (Array.isArray(it) ? it : []);
const texts = (it: unknown): string[] => list(it).filter((part): part is string => typeof part === "string");
export const propertiesOf = (schema: Schema): [string, Schema][] =>
  isObject(schema.properties) ? Object.entries(schema.properties).map(([name, it]) => [name, asSchema(it)]) : [];

/** How many schemas were put together for one: those that contain themselves have no end. */
let joined = 0;

/** The schema that a reference leads to, with what stands beside the reference; parts of `allOf` are put together. */
export function plain(schema: unknown, root: Schema, hops = 0): Schema {
  let found = asSchema(schema);
  if (hops === 0) joined = 0;
  if (hops > 16 || ++joined > 1000) return {};
  if (typeof found.$ref === "string") {
    const { $ref, ...beside } = found;
    // the title and text of a class say less about a field than those of the field
    found = { ...plain(follow($ref as string, root), root, hops + 1), ...beside };
  }
  const all = list(found.allOf);
  if (all.length > 0) {
    const { allOf: _, ...beside } = found;
    let merged: Schema = {};
    for (const part of [...all.map((it) => plain(it, root, hops + 1)), beside]) {
      merged = {
        ...merged, ...part,
        ...(merged.properties && part.properties ? { properties: { ...(merged.properties as Schema), ...(part.properties as Schema) } } : {}),
        ...(merged.required && part.required ? { required: [...new Set([...list(merged.required), ...list(part.required)])] } : {}),
      };
    }
    found = merged;
  }
  return found;
}

function follow(reference: string, root: Schema): unknown {
  if (reference === "#") return root;
  if (!reference.startsWith("#/")) return {};
  let found: unknown = root;
  for (const part of reference.slice(2).split("/")) {
    let name = part.replace(/~1/g, "/").replace(/~0/g, "~");
    try {
      name = decodeURIComponent(name);
    } catch {
      // it has a per cent sign of its own
    }
    found = isObject(found) && Object.hasOwn(found, name) ? found[name] : Array.isArray(found) ? found[Number(name)] : undefined;
  }
  return found;
}

const known = new WeakMap<Schema, Shape>();
/** How many schemas are looked at, each for the sake of the one before: more than a few lead in a circle. */
let looking = 0;

/** Which control a schema gets. */
export function shapeOf(schema: Schema, root: Schema): Shape {
  let found = known.get(schema);
  if (found !== undefined) return found;
  if (looking > 50) return { kind: "json", schema: {}, nullable: false, choices: [], options: [] };
  looking += 1;
  try {
    found = look(plain(schema, root), root);
  } finally {
    looking -= 1;
  }
  known.set(schema, found);
  return found;
}

function look(schema: Schema, root: Schema): Shape {
  const made = (kind: Kind, more: Partial<Shape> = {}): Shape => ({ kind, schema, nullable: false, choices: [], options: [], ...more });
  const choice = (values: readonly { value: unknown; label: string }[], nullable = false): Shape => {
    const without = values.filter((it) => it.value !== null);
    nullable ||= without.length < values.length;
    if (without.length === 0) return made("null");
    return without.length === 1 && !nullable ? made("const", { schema: { ...schema, const: without[0]!.value } }) : made("choice", { choices: without, nullable });
  };
  if ("const" in schema) return schema.const === null ? made("null") : made("const");
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return choice(schema.enum.map((value) => ({ value, label: labelOf(value) })));
  const several = list(schema.anyOf ?? schema.oneOf);
  if (several.length > 0) {
    const { anyOf: _, oneOf: __, ...beside } = schema;
    return one(several.map(asSchema), beside);
  }
  if (Array.isArray(schema.type)) return one(texts(schema.type).map((type) => ({ ...schema, type, default: undefined })), schema);
  switch (schema.type) {
    case "boolean": return made("boolean");
    case "string": return made("text");
    case "integer": case "number": return made("number");
    case "null": return made("null");
    case "array": return array();
    case "object": return object();
  }
  if (isObject(schema.properties)) return object();
  if (schema.prefixItems !== undefined || schema.items !== undefined) return array();
  const says = Object.keys(schema).filter((it) => !["title", "description", "default", "examples", "$defs", "$schema", "$id", "deprecated", "readOnly", "writeOnly"].includes(it));
  return says.length === 0 ? made("union", { options: ANY }) : made("json");

  function array(): Shape {
    const first = list(schema.prefixItems);
    if (first.length > 0) return made(schema.items === false || schema.maxItems === first.length ? "tuple" : "json");
    if (schema.uniqueItems !== true) return made("list");
    const inner = shapeOf(asSchema(schema.items), root);
    return inner.kind === "choice" && !inner.nullable && inner.choices.length <= 50
      ? made("choices", { choices: inner.choices }) : made("list");
  }

  function object(): Shape {
    if (propertiesOf(schema).length > 0) return made("object");
    return made(schema.additionalProperties === false ? "object" : "map");
  }

  /** One of several schemas. */
  function one(options: Schema[], beside: Schema): Shape {
    const shapes = options.map((it) => shapeOf(it, root));
    const rest = options.filter((_, at) => shapes[at]!.kind !== "null");
    const nullable = rest.length < options.length || shapes.some((it) => it.nullable);
    const kept = shapes.filter((it) => it.kind !== "null");
    if (kept.length === 0) return made("null");
    if (kept.length === 1) {
      const only = kept[0]!;
      const { default: _, ...inner } = only.schema;
      if (only.kind === "const" && nullable) return choice([{ value: constant(only.schema), label: nameOf(rest[0]!, root) }], true);
      return { ...only, schema: { ...inner, ...beside }, nullable: nullable || only.nullable };
    }
    if (kept.every((it) => it.kind === "const" || it.kind === "choice")) {
      return choice(kept.flatMap((it, at) => it.kind === "choice" ? [...it.choices]
        : [{ value: constant(it.schema), label: typeof it.schema.title === "string" ? it.schema.title : nameOf(rest[at]!, root) }]), nullable);
    }
    // how Pydantic writes a Decimal: a number or a text
    if (kept.length === 2 && kept[0]!.schema.type === "number" && kept[1]!.kind === "text" && (beside.default === undefined || typeof beside.default !== "number"))
      return made("decimal", { schema: { ...kept[0]!.schema, ...beside, type: undefined }, nullable });
    return made("union", { options: rest, nullable });
  }
}

/** Any JSON: the ways in which a person says it. */
const ANY: readonly Schema[] = [
  { title: "Text", type: "string" }, { title: "Yes or no", type: "boolean" }, { title: "Number", type: "number" }, { title: "Nothing (null)", const: null },
  { title: "JSON", "x-json": true },
];

export const constant = (schema: Schema): unknown => ("const" in schema ? schema.const : list(schema.enum)[0]);
export const labelOf = (value: unknown): string => (typeof value === "string" && value.trim() !== "" ? value : summary(value, 80));

/** What a value of a type is called, and which values are of it. */
const TYPES = table<[string, (value: unknown) => boolean]>({
  string: ["a text", (it) => typeof it === "string"],
  integer: ["a whole number", (it) => isNumber(it) && whole(it) !== null],
  number: ["a number", isNumber],
  boolean: ["yes or no", (it) => typeof it === "boolean"],
  array: ["a list", Array.isArray],
  object: ["an object", isObject],
  null: ["nothing (null)", (it) => it === null],
});
const typeName = (type: string): string => TYPES[type]?.[0] ?? type;
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What an option of a union is called. */
export function nameOf(option: Schema, root: Schema): string {
  const shape = shapeOf(option, root);
  const schema = shape.schema;
  if (shape.kind === "const") return labelOf(constant(schema));
  if (shape.kind === "object") {
    const tag = propertiesOf(schema).map(([, it]) => shapeOf(it, root)).find((it) => it.kind === "const");
    const text = tag === undefined ? undefined : constant(tag.schema);
    if (typeof text === "string" && typeof schema.title !== "string") return text;
  }
  if (typeof schema.title === "string") return schema.title;
  if (typeof schema.format === "string") return capital(FORMATS[schema.format]?.name ?? `text (${schema.format})`);
  if (shape.kind === "list") return `List of ${nameOf(asSchema(schema.items), root).toLowerCase()}`;
  return typeof schema.type === "string" ? capital(typeName(schema.type).replace(/^an? /, "")) : "JSON";
}

interface Format { name: string; input: "text" | "date" | "time" | "datetime-local" | "email" | "url" | "password"; hint?: string; fits?: RegExp }
/** The formats of texts. Only what is surely wrong is refused here. */
export const FORMATS = table<Format | undefined>({
  date: { name: "date", input: "date", fits: /^\d{4}-\d\d-\d\d$/ },
  time: { name: "time", input: "time", fits: /^\d\d:\d\d/ },
  "date-time": { name: "date and time", input: "datetime-local", fits: /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d/ },
  email: { name: "e-mail address", input: "email", hint: "such as name@example.com", fits: /^[^@\s]+@[^@\s]+$/ },
  uuid: { name: "UUID", input: "text", hint: "such as 123e4567-e89b-12d3-a456-426614174000", fits: /^[{]?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}[}]?$/i },
  uri: { name: "address (URL)", input: "url", hint: "such as https://example.com", fits: /^[a-z][a-z0-9+.-]*:/i },
  decimal: { name: "decimal number", input: "text", fits: /^\s*[-+]?(\d[\d_]*\.?\d*|\.\d+)(e[-+]?\d+)?\s*$|^\s*[-+]?(inf(inity)?|nan)\s*$/i },
  duration: { name: "duration", input: "text", hint: "such as PT1H30M for one and a half hours" },
  password: { name: "secret text", input: "password" },
});

// -- drafts -----------------------------------------------------------------------------------------------------------

let keys = 0;
/** A key for a new item of a list or a map. */
export const newItem = (): number => ++keys;

/** Whether a part gets a switch that says whether it is there. */
function isMaybe(shape: Shape, needed: boolean): boolean {
  const optional = shape.nullable || (!needed && shape.schema.default === undefined);
  switch (shape.kind) {
    case "object": case "tuple": case "union": case "json": return optional;
    case "list": case "map": case "choices": return shape.nullable;
    default: return false;
  }
}

/** A draft to begin with: of a value, of the default of the schema, or an empty one. `needed`: it has to be there. */
export function start(schema: Schema, root: Schema, value?: unknown, needed = true, deep = 0): Draft {
  const shape = shapeOf(schema, root);
  const given = value === undefined ? shape.schema.default : value;
  if (isMaybe(shape, needed)) {
    const on = given !== undefined && given !== null;
    // what is off is made when it is switched on: a schema may contain itself
    return { of: "maybe", on, draft: on ? begun(shape, root, given, deep) : { of: "const" } };
  }
  return begun(shape, root, given, deep);
}

/** Whether the control of a shape can show a value. */
function shows({ kind, schema, choices }: Shape, given: unknown): boolean {
  switch (kind) {
    case "const": return same(given, constant(schema));
    case "boolean": return typeof given === "boolean";
    case "choice": return choices.some((it) => same(it.value, given));
    case "choices": return Array.isArray(given) && given.every((it) => choices.some((one) => same(one.value, it)));
    case "text": return typeof given === "string";
    case "number": return isNumber(given);
    case "decimal": return isNumber(given) || typeof given === "string";
    case "list": return Array.isArray(given) && given.length <= MOST;
    case "tuple": return Array.isArray(given) && given.length === list(schema.prefixItems).length;
    case "object": return isObject(given);
    case "map": return isObject(given) && Object.keys(given).length <= MOST;
    default: return kind === "union";
  }
}

/** The draft of a part that is there. */
export function begun(shape: Shape, root: Schema, given?: unknown, deep = 0): Draft {
  const { kind, schema, choices, options } = shape;
  const asJson: Draft = { of: "json", text: given === undefined ? "" : pretty(given) };
  const none = given === undefined || (given === null && kind !== "union" && kind !== "json");
  if (deep > DEEPEST || (!none && !shows(shape, given))) return asJson;
  const part = (it: unknown, value: unknown, needed = true): Draft => start(asSchema(it), root, value, needed, deep + 1);
  const at = (value: unknown): number => choices.findIndex((it) => same(it.value, value));
  switch (kind) {
    case "const": case "null": return { of: "const" };
    case "boolean": return { of: "flag", value: none ? null : (given as boolean) };
    case "choice": return { of: "choice", at: at(given) };
    case "choices": return { of: "choices", at: list(given).map(at) };
    case "text": case "number": case "decimal": return { of: "text", text: none ? "" : String(given) };
    case "list": {
      const least = typeof schema.minItems === "number" ? Math.min(schema.minItems, 20) : 0;
      const values = none ? Array.from<unknown>({ length: least }) : list(given);
      return { of: "list", items: values.map((it) => ({ key: newItem(), draft: part(schema.items, it) })) };
    }
    case "tuple": return { of: "list", items: list(schema.prefixItems).map((it, at) => ({ key: at, draft: part(it, list(given)[at]) })) };
    case "object": {
      const { ...rest } = (given ?? {}) as Record<string, unknown>;
      const fields = new Map<string, Draft>();
      for (const [name, it] of propertiesOf(schema)) {
        fields.set(name, part(it, Object.hasOwn(rest, name) ? rest[name] : undefined, neededOf(schema).includes(name)));
        delete rest[name];
      }
      return { of: "object", fields, rest };
    }
    case "map": return { of: "map", items: Object.entries(given ?? {}).map(([name, it]) => ({ key: newItem(), name, draft: part(valuesOf(schema), it) })) };
    case "union": {
      const at = none ? 0 : options.findIndex((it) => check(it, root, given).length === 0);
      return at < 0 ? asJson : { of: "union", at, drafts: new Map([[at, part(options[at], given)]]) };
    }
    case "json": return asJson;
  }
}

/** What the values of a map have to be. */
export const valuesOf = (schema: Schema): Schema => asSchema(schema.additionalProperties);
export const itemOf = (schema: Schema, at: number): Schema => asSchema(list(schema.prefixItems)[at] ?? schema.items);
export const neededOf = (schema: Schema): string[] => texts(schema.required);

/** The value of a draft, or `ABSENT`. What cannot be read is added to `misfits`; `check` tells what does not fit. */
export function read(draft: Draft, whole: Schema, root: Schema, misfits: Misfit[], path = "", needed = true): unknown {
  const shape = shapeOf(whole, root);
  const { schema } = shape;
  const nothing = (text: string): unknown => {
    if (shape.nullable) return null;
    if (needed) misfits.push({ path, text });
    return ABSENT;
  };
  switch (draft.of) {
    case "const": return shape.kind === "null" ? null : constant(schema);
    case "flag": return draft.value ?? nothing("Choose yes or no.");
    case "choice": return draft.at >= 0 ? shape.choices[draft.at]?.value : nothing("Choose one of these.");
    case "choices": return draft.at.length > 0 || needed || schema.default !== undefined ? draft.at.map((at) => shape.choices[at]?.value) : ABSENT;
    case "text": {
      const text = draft.text;
      if (shape.kind === "number" || shape.kind === "decimal") {
        const typed = text.trim();
        if (typed === "") return nothing("A number is needed.");
        if (shape.kind === "decimal") return typed;
        try {
          const value = parseTyped(typed);
          if (isNumber(value)) return value;
        } catch {
          // said below
        }
        misfits.push({ path, text: hintNumber(typed, schema.type === "integer") });
        return ABSENT;
      }
      if (text !== "") return text;
      if (shape.nullable) return null;
      if (schema.format !== undefined && FORMATS[String(schema.format)]?.fits) return nothing("This is needed.");
      return needed || schema.default !== undefined ? "" : ABSENT;
    }
    case "json": {
      if (draft.text.trim() === "") return nothing("Write some JSON, such as \"text\", 12 or {\"key\": true}.");
      try {
        return parseTyped(draft.text);
      } catch (error) {
        misfits.push({ path, text: notJson(draft.text, error) });
        return ABSENT;
      }
    }
    case "list":
      if (draft.items.length === 0 && !needed && schema.default === undefined) return ABSENT;
      return draft.items.map((it, at) => orNull(read(it.draft, itemOf(schema, at), root, misfits, `${path}/${at}`)));
    case "object": {
      const required = neededOf(schema);
      const entries = Object.entries(draft.rest);
      for (const [name, it] of propertiesOf(schema)) {
        const part = draft.fields.get(name);
        const value = part === undefined ? ABSENT : read(part, it, root, misfits, `${path}/${pointer(name)}`, required.includes(name));
        if (value !== ABSENT) entries.push([name, value]);
      }
      return Object.fromEntries(entries);
    }
    case "map": {
      if (draft.items.length === 0 && !needed && schema.default === undefined) return ABSENT;
      const seen = new Set<string>();
      return Object.fromEntries(draft.items.map((it) => {
        const inner = `${path}/${pointer(it.name)}`;
        if (seen.has(it.name)) misfits.push({ path: inner, text: `The key ${summary(it.name, 40)} is there twice.` });
        seen.add(it.name);
        return [it.name, orNull(read(it.draft, valuesOf(schema), root, misfits, inner))];
      }));
    }
    case "union": {
      const option = shape.options[draft.at];
      const part = draft.drafts.get(draft.at);
      return option === undefined || part === undefined ? nothing("Choose one of these.") : read(part, option, root, misfits, path);
    }
    case "maybe":
      if (draft.on) return read(draft.draft, whole, root, misfits, path, needed);
      return shape.nullable && (needed || schema.default === null) ? null : ABSENT;
  }
}

const orNull = (value: unknown): unknown => (value === ABSENT ? null : value);

/** A part of a JSON pointer. */
export const pointer = (name: string): string => name.replace(/~/g, "~0").replace(/\//g, "~1");

function hintNumber(typed: string, whole: boolean): string {
  if (/^[-+]?\d{1,3}([.,' ]\d{3})*,\d+$|^[-+]?\d+,\d+$/.test(typed)) return "Write the number with a point, such as 0.5, and without signs between thousands.";
  return whole ? "A whole number is needed, such as 12." : "A number is needed, such as 12 or 0.5.";
}

/** Why a text is no JSON, and where. */
export function notJson(text: string, error: unknown): string {
  if (/^\s*[\p{L}_][^"{}[\]]*$/u.test(text)) return `This is no JSON. A text needs quotes: ${JSON.stringify(text.trim().slice(0, 40))}.`;
  const said = String(error), place = /position (\d+)/.exec(said);
  const before = place === null ? [] : text.slice(0, Number(place[1])).split("\n");
  const where = before.length > 0 ? `line ${before.length}, column ${before.at(-1)!.length + 1}` : /line \d+ column \d+/.exec(said)?.[0];
  const quotes = text.includes("'") && !text.includes('"') ? " Texts and keys need double quotes." : "";
  return `This is no JSON${where === undefined ? "" : ` (${where})`}.${quotes}`;
}

// -- checking ---------------------------------------------------------------------------------------------------------

/** How many steps a check may still take: unions that contain themselves have too many ways. */
let left = 0;

/** What does not fit a schema. */
export function check(schema: unknown, root: Schema, value: unknown): Misfit[] {
  const found: Misfit[] = [];
  left = 20_000;
  checkInto(schema, root, value, "", found, 0);
  return left > 0 ? found : []; // then the server says what is wrong
}

function checkInto(schema: unknown, root: Schema, value: unknown, path: string, found: Misfit[], deep: number): void {
  if (deep > 40 || found.length > 50 || left <= 0) return;
  const it = plain(schema, root);
  left -= joined;
  const bad = (text: string): void => void found.push({ path, text });
  if ("const" in it && !same(it.const, value)) return bad(`This has to be ${summary(it.const, 60)}.`);
  if (Array.isArray(it.enum) && !it.enum.some((one) => same(one, value)))
    return bad(`This has to be one of ${summary(it.enum, 120).slice(1, -1)}.`);
  for (const options of [it.anyOf, it.oneOf]) {
    if (Array.isArray(options) && options.length > 0 && !fitsOne(options, it)) return;
  }
  const types = typeof it.type === "string" ? [it.type] : texts(it.type);
  if (types.length > 0 && !types.some((type) => TYPES[type]?.[1](value) ?? true)) return bad(capital(`${types.map(typeName).join(" or ")} is needed.`));
  if (typeof value === "string") checkText(it, value, bad);
  else if (isNumber(value)) checkNumber(it, value, bad);
  else if (Array.isArray(value)) checkList(it, value);
  else if (isObject(value)) checkObject(it, value);

  function fitsOne(options: unknown[], whole: Schema): boolean {
    let best: Misfit[] | null = null;
    for (const option of options) {
      if (left <= 0) return true;
      if (wrongTag(option, whole)) continue; // first of all: to look into its parts as well doubles the work at each level
      const own: Misfit[] = [];
      checkInto(option, root, value, path, own, deep + 1);
      if (own.length === 0) return true;
      // an option that fits as a whole, and only not in its parts, is the one that was meant
      if (own.every((one) => one.path.length > path.length) && (best === null || own.length < best.length)) best = own;
    }
    if (best !== null) found.push(...best);
    else {
      const names = [...new Set(options.map((one) => nameOf(asSchema(one), root)))];
      bad(`This has to be one of: ${names.join(", ")}.`);
    }
    return false;
  }

  function wrongTag(option: unknown, whole: Schema): boolean {
    if (!isObject(value)) return false;
    const named = isObject(whole.discriminator) ? whole.discriminator.propertyName : undefined;
    const it = plain(option, root);
    left -= joined;
    return propertiesOf(it).some(([name, part]) => {
      if ((named !== undefined && named !== name) || (!Object.hasOwn(value, name) && !neededOf(it).includes(name))) return false;
      const shape = shapeOf(part, root);
      return shape.kind === "const" && !same(constant(shape.schema), value[name]);
    });
  }

  function checkList(it: Schema, values: readonly unknown[]): void {
    const first = list(it.prefixItems);
    checkCount(it, "Items", "item", values.length, bad);
    if (it.uniqueItems === true && values.length <= 1000 && values.some((one, at) => values.slice(0, at).some((other) => same(one, other)))) bad("Each item can be there once only.");
    values.forEach((one, at) => {
      const inner = at < first.length ? first[at] : it.items;
      if (inner !== undefined && inner !== false) checkInto(inner, root, one, `${path}/${at}`, found, deep + 1);
    });
  }

  function checkObject(it: Schema, held: Record<string, unknown>): void {
    const parts = new Map(propertiesOf(it));
    for (const name of texts(it.required)) {
      if (!Object.hasOwn(held, name)) found.push({ path: `${path}/${pointer(name)}`, text: "This is needed." });
    }
    const names = Object.keys(held);
    checkCount(it, "Properties", "key", names.length, bad);
    for (const name of names) {
      const inner = parts.get(name);
      if (inner !== undefined) checkInto(inner, root, held[name], `${path}/${pointer(name)}`, found, deep + 1);
      else if (isObject(it.patternProperties)) continue;
      else if (it.additionalProperties === false) bad(`There is no key ${summary(name, 60)} here.`);
      else if (it.additionalProperties !== undefined) checkInto(it.additionalProperties, root, held[name], `${path}/${pointer(name)}`, found, deep + 1);
    }
  }
}

/** The limits of a number: what it has to be, and when it is not. */
const LIMITS: Record<string, [string, (sign: number) => boolean]> = {
  minimum: ["# or more", (sign) => sign < 0], exclusiveMinimum: ["more than #", (sign) => sign <= 0],
  maximum: ["# or less", (sign) => sign > 0], exclusiveMaximum: ["less than #", (sign) => sign >= 0],
};

/** The limits that a number has not kept, in words; without a number, all of them. */
export function limitsOf(schema: Schema, value?: number | Exact): string[] {
  const found: string[] = [];
  for (const [name, [words, isOver]] of Object.entries(LIMITS)) {
    const limit = schema[name];
    if (isNumber(limit) && (value === undefined || isOver(compare(value, limit)))) found.push(words.replace("#", String(limit)));
  }
  return found;
}

function checkNumber(it: Schema, value: number | Exact, bad: (text: string) => void): void {
  for (const limit of limitsOf(it, value)) bad(`This has to be ${limit}.`);
  const digits = whole(value), step = isNumber(it.multipleOf) ? whole(it.multipleOf) : null;
  if (digits !== null && step && digits % step !== 0n) bad(`This has to be a multiple of ${step}.`);
}

function checkText(it: Schema, value: string, bad: (text: string) => void): void {
  if (value === "" && typeof it.minLength === "number" && it.minLength > 0) return bad("This is needed.");
  if (it.minLength !== undefined || it.maxLength !== undefined) checkCount(it, "Length", "character", [...value].length, bad);
  if (typeof it.pattern === "string" && value.length <= 200 && isQuick(it.pattern)) {
    try {
      if (!new RegExp(it.pattern, "u").test(value)) bad(`This has to match the pattern ${it.pattern}`);
    } catch {
      // Python knows patterns that JavaScript does not
    }
  }
  const format = FORMATS[String(it.format)];
  if (format?.fits && !format.fits.test(value)) bad(`This is no ${format.name}${format.hint ? `, ${format.hint}` : ""}.`);
  if (it.contentEncoding === "base64" && !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value.trim())) bad("This is no base64 text.");
}

/** Whether a pattern surely ends soon on a short text. A repeated group that itself varies, or many parts that vary, can be
 * matched in more ways than anybody waits for: such a pattern is left to the server. */
export function isQuick(pattern: string): boolean {
  if (pattern.length >= 500) return false;
  const bare = pattern.replace(/\\./gs, "x").replace(/\[[^\]]*\]/g, "x").replace(/\(\?(<?[=!]|:|<\w+>)/g, "(").replace(/\{\d+\}/g, "#");
  let varying = 0;
  const groups: boolean[] = []; // whether an open group varies
  for (let at = 0; at < bare.length; at += 1) {
    const sign = bare[at]!;
    if (sign === "(") groups.push(false);
    else if (sign === ")") {
      const varies = groups.pop() ?? false;
      if (varies && /[*+{#]/.test(bare[at + 1] ?? "")) return false;
      if (varies && groups.length > 0) groups[groups.length - 1] = true;
    } else if ("*+?{|".includes(sign)) {
      if (sign !== "|" && !(sign === "?" && "*+?}".includes(bare[at - 1] ?? ""))) varying += 1; // but for "lazy"
      if (groups.length > 0) groups[groups.length - 1] = true;
    }
  }
  return varying <= 3;
}

/** Whether there are as many characters, items or keys as there have to be. */
function checkCount(it: Schema, what: "Length" | "Items" | "Properties", word: string, count: number, bad: (text: string) => void): void {
  const least = it[`min${what}`], most = it[`max${what}`];
  const are = (number: number): string => (number === 1 ? "is" : "are");
  const counted = (number: number): string => `${number} ${word}${number === 1 ? "" : "s"} ${are(number)}`;
  if (typeof least === "number" && count < least) bad(`At least ${counted(least)} needed; there ${are(count)} ${count}.`);
  if (typeof most === "number" && count > most) bad(`At most ${counted(most)} possible; there ${are(count)} ${count}.`);
}

/** A number without a fraction, as exactly as it was written; null for others, and for too large ones. */
function whole(value: number | Exact): bigint | null {
  const text = String(value);
  if (/^-?\d{1,1000}$/.test(text)) return BigInt(text);
  const number = Number(text);
  return Number.isInteger(number) ? BigInt(number) : null;
}

function compare(one: number | Exact, other: number | Exact): number {
  const [a, b] = [whole(one), whole(other)];
  if (a !== null && b !== null) return a < b ? -1 : a > b ? 1 : 0;
  return Number(one) - Number(other);
}

