/** What a JSON Schema asks for, in words and as the rows of a table. */
import { constant, FORMATS, itemOf, labelOf, nameOf, neededOf, plain, propertiesOf, shapeOf, valuesOf } from "../forms/schema";
import { summary } from "../values/text";
import { isObject } from "../wire/json";
import type { Schema } from "../wire/types";

export interface Field {
  name: string;
  /** How many fields it is inside of. */
  depth: number;
  type: string;
  /** Whether it must be there. */
  needed: boolean;
  /** What it is, and what it must fit: bounds, a default. */
  about: string;
  limits: string;
}
export interface Described {
  type: string; about: string; limits: string;
  fields: Field[];
  /** Whether there are more fields than these. */
  more: boolean;
}

const MOST = 120, DEEPEST = 6, MOST_CHOICES = 8;

/** Whether anything is said at all: `{}` takes any JSON. */
export function isAny(schema: Schema): boolean {
  return Object.keys(schema).every((it) => it === "$defs" || it === "$schema");
}

export function describe(root: Schema): Described {
  const fields: Field[] = [];
  const state = { more: false };
  const schema = plain(root, root);
  inside(root, root, 0, fields, new Set(), state);
  return { type: typeOf(root, root), about: textOf(schema), limits: limitsOf(schema, root), fields, more: state.more };
}

function textOf(schema: Schema): string {
  return typeof schema.description === "string" ? schema.description.trim() : "";
}

function asSchema(it: unknown): Schema {
  return isObject(it) ? it : {};
}

/** The rows of what a value has in it. */
function inside(schema: Schema, root: Schema, depth: number, fields: Field[], open: Set<string>, state: { more: boolean }): void {
  const reference = referenceOf(schema);
  if (depth > DEEPEST || (reference !== null && open.has(reference))) return;
  const within = reference === null ? open : new Set([...open, reference]);
  const shape = shapeOf(schema, root), found = shape.schema;
  const add = (name: string, it: Schema, needed: boolean): void => {
    if (fields.length >= MOST) {
      state.more = true;
      return;
    }
    const own = plain(it, root);
    fields.push({ name, depth, type: typeOf(it, root), needed, about: textOf(own), limits: limitsOf(own, root) });
    inside(it, root, depth + 1, fields, within, state);
  };
  if (shape.kind === "object") {
    const needed = new Set(neededOf(found));
    for (const [name, it] of propertiesOf(found)) add(name, it, needed.has(name));
  } else if (shape.kind === "list" || shape.kind === "map") {
    const it = shape.kind === "list" ? itemOf(found, 0) : valuesOf(found), kind = shapeOf(it, root).kind;
    if (kind === "object" || kind === "union" || kind === "list" || kind === "map") inside(it, root, depth, fields, within, state);
  } else if (shape.kind === "tuple") {
    (Array.isArray(found.prefixItems) ? found.prefixItems : []).forEach((it, number) => add(`${number + 1}.`, asSchema(it), true));
  } else if (shape.kind === "union") {
    for (const it of shape.options) if (shapeOf(it, root).kind === "object") add(nameOf(it, root), it, false);
  }
}

/** References lead in circles; a schema beside one leads there too. */
function referenceOf(schema: Schema): string | null {
  if (typeof schema.$ref === "string") return schema.$ref;
  const several = schema.anyOf ?? schema.oneOf;
  if (!Array.isArray(several)) return null;
  const references = several.map((it) => (isObject(it) && typeof it.$ref === "string" ? it.$ref : "")).filter(Boolean);
  return references.length === 1 ? references[0]! : null;
}

/** "text", "whole number or nothing", "list of Source". */
export function typeOf(schema: Schema, root: Schema, depth = 0): string {
  if (depth > DEEPEST) return "…";
  if (isAny(plain(schema, root))) return "any value";
  const shape = shapeOf(schema, root), found = shape.schema;
  // inside of another type, one of several kinds has its name: it may have itself in it
  if (depth > 0 && shape.kind === "union" && typeof schema.$ref === "string") return schema.$ref.split("/").at(-1)!.slice(0, 80);
  const name = (): string => {
    switch (shape.kind) {
      case "null": return "nothing (null)";
      case "const": return quoted(constant(found));
      case "boolean": return "yes or no";
      case "choice":
      case "choices": {
        const shown = shape.choices.slice(0, MOST_CHOICES).map((it) => quoted(it.value)), more = shape.choices.length - shown.length;
        const all = more > 0 ? `${shown.join(", ")} or ${more} more` : either(shown);
        return shape.kind === "choice" ? all : `some of ${all}`;
      }
      case "text": return typeof found.format === "string" ? (FORMATS[found.format]?.name.toLowerCase() ?? `text (${found.format})`) : "text";
      case "decimal": return "decimal number";
      case "number": return found.type === "integer" ? "whole number" : "number";
      case "list": return `list of ${plural(typeOf(itemOf(found, 0), root, depth + 1))}`;
      case "tuple": {
        const parts = Array.isArray(found.prefixItems) ? found.prefixItems : [];
        return `list of exactly ${parts.length}`;
      }
      case "map": {
        const value = valuesOf(found);
        return isAny(value) ? "object with any keys" : `object of ${plural(typeOf(value, root, depth + 1))} by key`;
      }
      case "object": return typeof found.title === "string" ? found.title : "object";
      case "union": return either([...new Set(shape.options.map((it) => typeOf(it, root, depth + 1)))]);
      case "json": return "JSON";
    }
  };
  const found_ = name();
  return shape.nullable ? `${found_} or nothing` : found_;
}

function quoted(value: unknown): string {
  return typeof value === "string" ? `“${labelOf(value)}”` : summary(value, 60);
}

function either(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} or ${parts.at(-1)}`;
}

function plural(type: string): string {
  if (type === "yes or no") return "yes or no";
  return /^(text|number|whole number|decimal number|object|date|list of .*)$/.test(type) ? type.replace(/^(whole |decimal )?(text|number|object|date|list)/, "$1$2s") : type;
}

/** Bounds and the default, in short: "1 to 5, default 3". */
function limitsOf(schema: Schema, root: Schema): string {
  const words: string[] = [], shape = shapeOf(schema, root), { schema: found } = shape;
  const number = (name: string): number | undefined => (typeof found[name] === "number" ? (found[name] as number) : undefined);
  const range = (least: number | undefined, most: number | undefined, unit: string): void => {
    const tail = unit && ` ${least === 1 && most === undefined ? unit : `${unit}s`}`;
    if (least !== undefined && least === most) words.push(`exactly ${least}${unit && ` ${least === 1 ? unit : `${unit}s`}`}`);
    else if (least !== undefined && most !== undefined) words.push(`${least} to ${most}${tail}`);
    else if (least !== undefined) words.push(`at least ${least}${tail}`);
    else if (most !== undefined) words.push(`at most ${most}${unit && ` ${most === 1 ? unit : `${unit}s`}`}`);
  };
  range(number("minimum"), number("maximum"), "");
  if (number("exclusiveMinimum") !== undefined) words.push(`more than ${number("exclusiveMinimum")}`);
  if (number("exclusiveMaximum") !== undefined) words.push(`less than ${number("exclusiveMaximum")}`);
  if (number("multipleOf") !== undefined) words.push(`a multiple of ${number("multipleOf")}`);
  range(number("minLength"), number("maxLength"), "character");
  range(number("minItems"), number("maxItems"), "item");
  if (found.uniqueItems === true) words.push("each once");
  if (typeof found.pattern === "string") words.push(`fits ${found.pattern.slice(0, 80)}`);
  if ("default" in schema && schema.default !== undefined) words.push(`default ${schema.default === "" ? "an empty text" : summary(schema.default, 60)}`);
  return words.join(", ");
}
