/**
 * The stream as a reader wants it: what a model writes piece by piece is one growing text. Items of one run are merged where
 * the server merges them for `compact` (triggerflow/run/stream.py): consecutive ones of one path that are texts, or that
 * have a text `delta` and are the same in all else. What two runs have written is never one text.
 */
import { isObject, same, stringify } from "../wire/json";
import { line } from "../values/text";
import type { StreamItem } from "../model/track";

/** Consecutive items that make one text, or one item that is none. It is not changed after it was made. */
export interface Entry {
  /** The numbers of its first and last item, and of their frames. */
  first: number; last: number; frame: number; lastFrame: number;
  path: string;
  run: number | null;
  /** The whole text; null for an item that is none. */
  text: string | null;
  /** What its items have besides the text; null for plain texts and other items. */
  keys: Record<string, unknown> | null;
  /** The item, or the first of them. */
  item: unknown;
}

const DELTA = "delta";

/** The text of an item; null for one without a text. */
function textOf(item: unknown): string | null {
  if (typeof item === "string") return item;
  // what stands for a Python object, or for a dict with other keys than texts, is not merged by the server
  return isObject(item) && typeof item[DELTA] === "string" && typeof item.$type !== "string" ? item[DELTA] : null;
}

/** Whether an item has these other keys. */
function hasKeys(item: unknown, keys: Record<string, unknown> | null): boolean {
  if (typeof item === "string" || keys === null) return typeof item === "string" && keys === null;
  const held = item as Record<string, unknown>;
  let count = -1; // without the text
  for (const key in held) {
    count++;
    if (key !== DELTA && !(Object.hasOwn(keys, key) && same(keys[key], held[key]))) return false;
  }
  return count === Object.keys(keys).length;
}

function keysOf(item: unknown): Record<string, unknown> | null {
  if (!isObject(item)) return null;
  const { [DELTA]: _, ...keys } = item;
  return keys;
}

/** Whether a plain text after another one is a message of its own. Pieces of models are parts of words, or words with the
 * blank before them: the terminal tells them apart in the same way. */
function isMessage(text: string, end: string): boolean {
  return !/\s/.test(end) && text.trim().includes(" ") && !/^\s/.test(text);
}

export class Entries {
  private entries: Entry[] = [];
  /** The place of the first item of each entry. */
  private begins: number[] = [];
  private items: readonly StreamItem[] = [];
  /** How many of the entries somebody has seen: those are not changed any more. */
  private shown = 0;
  /** The last character of the last entry: to look for it in a text that grows by pieces would copy the text each time. */
  private end = "";

  /** The entries of these items: as few of them are looked at as have changed since the last time. */
  of(items: readonly StreamItem[]): readonly Entry[] {
    let have = Math.min(items.length, this.items.length);
    if (have > 0 && !isSame(items[have - 1]!, this.items[have - 1]!)) have = 0; // another stream
    if (have < this.items.length) have = this.cut(have);
    if (have < items.length) {
      this.entries = this.entries.slice();
      this.shown = this.entries.length;
      for (let at = have; at < items.length; at++) this.add(items[at]!, at);
    }
    this.items = items;
    return this.entries;
  }

  /** Take away what begins or goes on at the item of this place. Returns up to which item there are entries. */
  private cut(have: number): number {
    let count = this.entries.length;
    while (count > 0 && this.begins[count - 1]! >= have) count--;
    if (count > 0) have = this.begins[--count]!; // it may go on after the cut
    this.entries = this.entries.slice(0, count);
    this.begins.length = count;
    this.end = this.entries[count - 1]?.text?.slice(-1) ?? "";
    return have;
  }

  private add({ number, frame, item, path, run }: StreamItem, at: number): void {
    const text = textOf(item);
    const last = this.entries.length - 1;
    let before = this.entries[last];
    if (text !== null && before?.text != null && before.path === path && before.run === run && hasKeys(item, before.keys)) {
      if (last < this.shown) {
        before = this.entries[last] = { ...before };
        this.shown = last;
      }
      before.text += (before.keys === null && isMessage(text, this.end) ? "\n" : "") + text;
      this.end = text.slice(-1) || this.end;
      before.last = number;
      before.lastFrame = frame;
      return;
    }
    this.begins.push(at);
    this.end = text?.slice(-1) ?? "";
    this.entries.push({ first: number, last: number, frame, lastFrame: frame, path, run, text, keys: text === null ? null : keysOf(item), item });
  }
}

function isSame(one: StreamItem, other: StreamItem): boolean {
  return one === other || (one.number === other.number && one.frame === other.frame && one.item === other.item);
}

/** What stands before a text: the key that says what is written, such as the field of an answer. */
export function labelOf(entry: Entry): string {
  if (entry.keys === null) return "";
  for (const name of ["path", "field", "name", "type"]) if (entry.keys[name]) return line(entry.keys[name], 60);
  return Object.keys(entry.keys).length > 0 ? line(entry.keys, 60) : "";
}

const texts = new WeakMap<Entry, string>();

/** Whether an entry has all these words, which are in small letters. */
export function has(entry: Entry, words: readonly string[]): boolean {
  let text = texts.get(entry);
  if (text === undefined) {
    text = `${entry.path}\n${entry.text ?? ""}\n${stringify(entry.text === null ? entry.item : entry.keys)}`.slice(0, 200_000).toLowerCase();
    texts.set(entry, text);
  }
  return words.every((word) => text.includes(word));
}
