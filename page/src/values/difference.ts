/** How two values differ, part by part. */
import { isObject, same } from "../wire/json";
import { typed } from "./text";

export type Change =
  | { kind: "same"; value: unknown }
  | { kind: "added"; value: unknown }
  | { kind: "removed"; value: unknown }
  | { kind: "changed"; one: unknown; other: unknown }
  /** Both are objects, or both are lists; `parts` has those that differ, `alike` the others. `type` is that of both. */
  | { kind: "inside"; list: boolean; type: string; parts: Part[]; alike: Part[] };
/** `place` is the number in the first of two lists; for an item that is in the second one only, in that. */
export interface Part { name: string | number; change: Change }

/** Nothing: a value that one of the two does not have. */
export const NOTHING = Symbol("nothing");

export function difference(one: unknown, other: unknown, deep = 0): Change {
  if (one === NOTHING) return other === NOTHING ? { kind: "same", value: null } : { kind: "added", value: other };
  if (other === NOTHING) return { kind: "removed", value: one };
  if (same(one, other)) return { kind: "same", value: one };
  if (deep < 30) {
    if (Array.isArray(one) && Array.isArray(other)) return lists(one, other, deep);
    if (isObject(one) && isObject(other)) return objects(one, other, deep);
  }
  return { kind: "changed", one, other };
}

function objects(one: Record<string, unknown>, other: Record<string, unknown>, deep: number): Change {
  const types = [typed(one), typed(other)];
  // objects of two classes, members of an enum and the like are other values as a whole
  if (types[0]?.type !== types[1]?.type || types.some((it) => it !== null && it.shown !== "fields")) return { kind: "changed", one, other };
  const parts: Part[] = [], alike: Part[] = [];
  const put = (name: string, change: Change): void => void (change.kind === "same" ? alike : parts).push({ name, change });
  for (const name of Object.keys(one)) {
    if (name !== "$type" || types[0] === null) put(name, difference(one[name], Object.hasOwn(other, name) ? other[name] : NOTHING, deep + 1));
  }
  for (const name of Object.keys(other)) if (!Object.hasOwn(one, name)) put(name, { kind: "added", value: other[name] });
  return { kind: "inside", list: false, type: types[0]?.type ?? "", parts, alike };
}

function lists(one: unknown[], other: unknown[], deep: number): Change {
  const least = Math.min(one.length, other.length);
  let before = 0, after = 0;
  while (before < least && same(one[before], other[before])) before++;
  while (after < least - before && same(one[one.length - 1 - after], other[other.length - 1 - after])) after++;
  const parts: Part[] = [], alike: Part[] = [];
  for (let at = 0; at < before; at++) alike.push({ name: at, change: { kind: "same", value: one[at] } });
  const [first, second] = [one.length - after, other.length - after];
  for (let at = before; at < Math.max(first, second); at++) {
    const change = difference(at < first ? one[at] : NOTHING, at < second ? other[at] : NOTHING, deep + 1);
    (change.kind === "same" ? alike : parts).push({ name: at, change });
  }
  for (let at = first; at < one.length; at++) alike.push({ name: at, change: { kind: "same", value: one[at] } });
  return { kind: "inside", list: true, type: "", parts, alike };
}

/** Two texts that are long and alike, in the part that differs and some of what is around it; null for others. */
export function textDifference(one: string, other: string): { before: string; one: string; other: string; after: string } | null {
  const AROUND = 40, least = Math.min(one.length, other.length);
  if (least < 60) return null;
  let begin = 0, end = 0;
  while (begin < least && one.charCodeAt(begin) === other.charCodeAt(begin)) begin++;
  while (end < least - begin && one.charCodeAt(one.length - 1 - end) === other.charCodeAt(other.length - 1 - end)) end++;
  if (begin + end < least / 3) return null;
  const from = Math.max(begin - AROUND, 0), to = Math.min(end, AROUND);
  return {
    before: (from > 0 ? "…" : "") + one.slice(from, begin), one: one.slice(begin, one.length - end), other: other.slice(begin, other.length - end),
    after: one.slice(one.length - end, one.length - end + to) + (end > to ? "…" : ""),
  };
}
