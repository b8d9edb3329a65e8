/** JSON with the digits that it has: JavaScript rounds 12345678901234567890, and what was typed as 1.0 would be sent as 1. */

/** A number whose text says more than a JavaScript number holds. */
export class Exact {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
  /** For code that knows nothing of it: as near as JavaScript comes. */
  toJSON(): number | string {
    return marking ? MARK + this.text : Number(this.text);
  }
}

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// Marks a number while JSON.parse and JSON.stringify carry it as a text. No text of a stranger can guess it.
const MARK = `#${Array.from(crypto.getRandomValues(new Uint32Array(4)), (it) => it.toString(36)).join("")}#`;
const MARKED = new RegExp(`"${MARK}(-?[0-9.eE+-]+)"`, "g");

/** What a server has sent. Whole numbers that JavaScript would round become `Exact`. Throws `SyntaxError`. */
export function parse(text: string): unknown {
  return /\d{16}/.test(text) ? parseMarked(text, (it) => /^-?\d+$/.test(it) && !Number.isSafeInteger(Number(it))) : JSON.parse(text);
}

/** What a person has typed: every number that JavaScript would write in another way becomes `Exact`. Throws `SyntaxError`. */
export function parseTyped(text: string): unknown {
  JSON.parse(text); // its error counts places in the text as it was typed
  return parseMarked(text, (it) => String(Number(it)) !== it);
}

function parseMarked(text: string, keep: (literal: string) => boolean): unknown {
  let marked = "", from = 0, at = 0;
  while (at < text.length) {
    const char = text.charCodeAt(at);
    if (char === 34) {
      at = endOfText(text, at);
    } else if (char === 45 || (char >= 48 && char <= 57)) {
      NUMBER.lastIndex = at;
      const literal = NUMBER.exec(text)?.[0] ?? text[at]!;
      if (keep(literal)) {
        marked += `${text.slice(from, at)}"${MARK}${literal}"`;
        from = at + literal.length;
      }
      at += literal.length;
    } else at++;
  }
  if (from === 0) return JSON.parse(text);
  return JSON.parse(marked + text.slice(from), (_, it) =>
    typeof it === "string" && it.startsWith(MARK) ? new Exact(it.slice(MARK.length)) : it);
}

/** The place after the closing quote of the text that begins at `at`. */
function endOfText(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === 92) before--;
    if ((end - before) % 2 === 1) return end + 1;
  }
  return text.length;
}

/** Whether `stringify` is at work: then an `Exact` writes itself with the mark. */
let marking = false;

/** JSON of a value, with the digits of each `Exact`. */
export function stringify(value: unknown, indent?: number): string {
  marking = true;
  try {
    const text = JSON.stringify(value, null, indent) ?? "null";
    return text.includes(MARK) ? text.replace(MARKED, "$1") : text;
  } finally {
    marking = false;
  }
}

export const isNumber = (value: unknown): value is number | Exact => typeof value === "number" || value instanceof Exact;
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Exact);

/** Whether two values are the same JSON. */
export function same(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (one instanceof Exact || other instanceof Exact) return isNumber(one) && isNumber(other) && String(one) === String(other);
  if (Array.isArray(one)) return Array.isArray(other) && one.length === other.length && one.every((it, at) => same(it, other[at]));
  if (!isObject(one) || !isObject(other)) return false;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]));
}
