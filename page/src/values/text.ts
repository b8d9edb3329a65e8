/** Values as text. What comes from users and models cannot hide text or turn its direction around here. */
import { isNumber, isObject, stringify } from "../wire/json";

/** The key under which the server names the type of a value that JSON lacks. */
export const TYPE = "$type";

// Control characters but tab and line feed; signs that turn or isolate the direction of writing; marks without a width
// that only hide (the joiners of emoji and scripts stay).
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text with signs for the characters that nobody could see. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, "\n").replace(HIDDEN, (char) => {
    const code = char.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    return code === 127 ? "\u2421" : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** The beginning of a text, not cut within a character. */
export function begin(text: string, length: number): string {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? length - 1 : length);
}

/** A value as one line of about so many characters; the work is bounded by that, not by the size of the value. */
export function summary(value: unknown, longest = 160): string {
  const pieces: string[] = [];
  let room = longest;
  const put = (text: string): void => {
    pieces.push(text);
    room -= text.length;
  };
  const walk = (it: unknown, deep: number): void => {
    if (typeof it === "string") put(JSON.stringify(begin(it, room + 1)).slice(0, it.length > room + 1 ? -1 : undefined));
    else if (typeof it !== "object" || it === null) put(it === undefined ? "nothing" : String(it));
    else if (isNumber(it)) put(String(it));
    else if (deep > 20) put("…");
    else if (Array.isArray(it)) {
      put("[");
      for (let at = 0; at < it.length && room > 0; at++) {
        if (at > 0) put(", ");
        walk(it[at], deep + 1);
      }
      put("]");
    } else {
      const named = typed(it as Record<string, unknown>);
      if (named !== null) put(named.type);
      if (named?.shown === "value") {
        put(" ");
        return walk(named.value, deep + 1);
      }
      put(named === null ? "{" : "(");
      let first = true;
      if (named?.shown === "pairs") {
        for (const [key, part] of named.pairs) {
          if (room <= 0) break;
          if (!first) put(", ");
          first = false;
          walk(key, deep + 1);
          put(": ");
          walk(part, deep + 1);
        }
      } else {
        for (const key in it) {
          if (room <= 0) break;
          if (key === TYPE && named !== null) continue;
          put(`${first ? "" : ", "}${begin(key, room + 1)}: `);
          first = false;
          walk((it as Record<string, unknown>)[key], deep + 1);
        }
      }
      put(named === null ? "}" : ")");
    }
  };
  walk(value, 0);
  const text = pieces.join("");
  return visible((text.length > longest ? `${begin(text, longest - 1)}…` : text).replace(/[\n\t]/g, " "));
}

/** A text as it is, and any other value as one line. */
export function line(value: unknown, longest = 160): string {
  if (typeof value !== "string") return summary(value, longest);
  const text = begin(value, longest + 1).replace(/\s+/g, " ");
  return visible(text.length > longest ? `${begin(text, longest - 1)}…` : text);
}

/** A value that JSON lacks, as the server shows it: see the docs of the backend. Null for plain JSON. */
export type Typed =
  | { type: string; shown: "fields"; fields: [string, unknown][] }
  | { type: string; shown: "value"; value: unknown }
  | { type: string; shown: "pairs"; pairs: [unknown, unknown][] }
  | { type: string; shown: "unreadable" };

export function typed(value: Record<string, unknown>): Typed | null {
  const type = Object.hasOwn(value, TYPE) ? value[TYPE] : undefined;
  if (typeof type !== "string") return null;
  const keys = Object.keys(value);
  if (keys.length === 2 && type === "dict" && Array.isArray(value.items) && value.items.every((it) => Array.isArray(it) && it.length === 2))
    return { type, shown: "pairs", pairs: value.items as [unknown, unknown][] };
  if (keys.length === 2 && "value" in value) return { type, shown: "value", value: value.value };
  if (keys.length === 2 && value.unreadable === true) return { type, shown: "unreadable" };
  if (keys.length === 2 && type === "timedelta" && isNumber(value.seconds)) return { type, shown: "value", value: `${value.seconds} s` };
  return { type, shown: "fields", fields: Object.entries(value).filter(([key]) => key !== TYPE) };
}

/** How many parts a value has, in words: "3 keys", "1 item". Empty for a value without parts. */
export function size(value: unknown): string {
  const count = (number: number, word: string): string => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  if (Array.isArray(value)) return count(value.length, "item");
  if (!isObject(value)) return "";
  const named = typed(value);
  if (named?.shown === "pairs") return count(named.pairs.length, "key");
  if (named?.shown === "fields") return count(named.fields.length, "field");
  return named === null ? count(Object.keys(value).length, "key") : "";
}

/** A value as JSON to copy. */
export const pretty = (value: unknown): string => stringify(value, 2);
