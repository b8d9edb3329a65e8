/** `<Value>`: any JSON as a tree that folds. Only what is unfolded is made, and long texts and lists are cut. */
import "./value.css";
import { useState } from "preact/hooks";
import { isNumber, isObject } from "../wire/json";
import { begin, pretty, size, summary, typed, visible } from "./text";

/** How many characters of a text and how many parts of a list are shown at first, and how many more at a click. */
const CUT = 2_000, MORE_TEXT = 100_000, PARTS = 100, MORE_PARTS = 1_000;
/** What has more parts than this is not unfolded by itself: it would hide all that comes after it. */
const FEW = 20;
/** A tree is not drawn deeper than this in one piece: every level takes some room on the right. */
const DEEPEST = 60;

export interface ValueProps {
  value: unknown;
  /** How many levels are unfolded at first (default 1: the parts of the value, but not theirs). */
  open?: number;
  /** A button that copies the value as JSON (a text as it is). */
  copy?: boolean;
}

export function Value({ value, open = 1, copy = false }: ValueProps) {
  return (
    <div class="value">
      {copy && (hasParts(value) || (typeof value === "string" && value.length > 80)) && <Copy value={value} />}
      <Whole value={value} open={open} />
    </div>
  );
}

/** A value without a name before it. */
function Whole({ value, open }: { value: unknown; open: number }) {
  if (!hasParts(value)) return <Leaf value={value} bare />;
  if (open > 0 && (Array.isArray(value) || typed(value as Record<string, unknown>) === null)) return <Parts value={value} open={open - 1} level={0} />;
  return <Branch label="" value={value} open={open} level={0} />;
}

function hasParts(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (!isObject(value)) return false;
  const named = typed(value);
  if (named === null) return Object.keys(value).length > 0;
  return named.shown === "pairs" ? named.pairs.length > 0 : named.shown === "fields" ? named.fields.length > 0 : hasInner(named);
}

const hasInner = (named: { shown: string; value?: unknown }): boolean => named.shown === "value" && hasParts(named.value);

/** The parts of a value from `from` to `to`, each with its name. */
function parts(value: unknown, to: number): { names: (string | number | { key: unknown })[]; values: unknown[]; count: number } {
  if (Array.isArray(value)) {
    const shown = value.slice(0, to);
    return { names: shown.map((_, at) => at), values: shown, count: value.length };
  }
  const named = typed(value as Record<string, unknown>);
  if (named?.shown === "pairs") {
    const shown = named.pairs.slice(0, to);
    return { names: shown.map(([key]) => (typeof key === "string" ? key : { key })), values: shown.map(([, it]) => it), count: named.pairs.length };
  }
  if (named?.shown === "value") return parts(named.value, to);
  const all = named?.shown === "fields" ? named.fields : Object.entries(value as object);
  const shown = all.slice(0, to);
  return { names: shown.map(([name]) => name), values: shown.map(([, it]) => it), count: all.length };
}

function countOf(value: unknown): number {
  return parts(value, 0).count;
}

interface BranchProps {
  /** What stands before the value: "" for none. */
  label: string | number | { key: unknown };
  value: unknown; open: number; level: number;
}

function Branch({ label, value, open, level }: BranchProps) {
  const [shown, setShown] = useState<boolean | null>(null);
  const isOpen = shown ?? (open > 0 && (level === 0 || countOf(value) <= FEW));
  const type = isObject(value) ? typed(value)?.type : undefined;
  return (
    <div class="value-branch">
      <button type="button" class="value-fold" aria-expanded={isOpen} onClick={() => setShown(!isOpen)}>
        <span class="value-arrow" aria-hidden="true">{isOpen ? "▾" : "▸"}</span>
        {label !== "" && <Name name={label} />}
        {type !== undefined && <span class="value-type">{visible(type)}</span>}
        <span class="value-size">{size(value) || size((value as Record<string, unknown>).value)}</span>
        {!isOpen && <span class="value-sum">{summary(value, 120)}</span>}
      </button>
      {isOpen && <Parts value={value} open={open - 1} level={level + 1} />}
    </div>
  );
}

function Parts({ value, open, level }: { value: unknown; open: number; level: number }) {
  const [most, setMost] = useState(PARTS);
  const inside = parts(value, most);
  return (
    <ul class={level === 0 ? "value-parts value-flat" : "value-parts"}>
      {inside.values.map((it, at) => {
        const name = inside.names[at]!;
        return (
          <li key={typeof name === "string" ? `.${name}` : at}>
            {hasParts(it) && level < DEEPEST ? <Branch label={name} value={it} open={open} level={level + 1} /> : <Leaf name={name} value={it} />}
          </li>
        );
      })}
      {inside.count > most && (
        <li>
          <button type="button" class="value-more" onClick={() => setMost(most + MORE_PARTS)}>
            Show {Math.min(MORE_PARTS, inside.count - most).toLocaleString("en")} more of {inside.count.toLocaleString("en")}
          </button>
        </li>
      )}
    </ul>
  );
}

export function Name({ name }: { name: string | number | { key: unknown } }) {
  const text = typeof name === "object" ? summary(name.key, 80) : typeof name === "number" ? String(name) : visible(begin(name, 300));
  return <span class={typeof name === "number" ? "value-at" : "value-name"}>{text === "" ? '""' : text}</span>;
}

function Leaf({ name, value, bare = false }: { name?: string | number | { key: unknown }; value: unknown; bare?: boolean }) {
  return (
    <div class="value-leaf">
      {name !== undefined && <Name name={name} />}
      <Single value={value} bare={bare} />
    </div>
  );
}

/** A value without parts. */
function Single({ value, bare }: { value: unknown; bare: boolean }) {
  if (typeof value === "string") {
    if (value === "") return <span class="value-none">empty text</span>;
    return <Text text={value} quotes={!bare} />;
  }
  if (value === null || value === undefined) return <span class="value-none">{value === null ? "null" : "nothing"}</span>;
  if (typeof value === "boolean" || isNumber(value)) return <span class="value-plain">{String(value)}</span>;
  if (Array.isArray(value)) return <span class="value-none">{value.length === 0 ? "empty list" : summary(value)}</span>;
  const named = isObject(value) ? typed(value) : null;
  if (named === null) return <span class="value-none">{Object.keys(value as object).length === 0 ? "no keys" : summary(value)}</span>;
  return (
    <>
      <span class="value-type">{visible(named.type)}</span>
      {named.shown === "value" && <Single value={named.value} bare={false} />}
      {named.shown === "unreadable" && <span class="value-none">cannot be read any more: its class has changed</span>}
    </>
  );
}

/** A text of any length: its beginning, and more of it at a click. */
export function Text({ text, quotes = false }: { text: string; quotes?: boolean }) {
  const [most, setMost] = useState(CUT);
  const isCut = text.length > most;
  const short = visible(isCut ? begin(text, most) : text);
  const rest = text.length - most;
  const mark = quotes && !short.includes("\n") ? '"' : "";
  return (
    <span class="value-text">
      {mark}{short}{isCut ? "…" : mark}
      {isCut && (
        <button type="button" class="value-more" onClick={() => setMost(most + MORE_TEXT)}>
          {rest > MORE_TEXT ? `Show ${MORE_TEXT.toLocaleString("en")} more of ${text.length.toLocaleString("en")} characters`
            : `Show all ${text.length.toLocaleString("en")} characters`}
        </button>
      )}
    </span>
  );
}

/** Copies a value as JSON, and a text as it is. */
export function Copy({ value }: { value: unknown }) {
  const [word, setWord] = useState("Copy");
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(typeof value === "string" ? value : pretty(value));
      setWord("Copied");
    } catch {
      setWord("The browser does not allow it");
    }
    setTimeout(() => setWord("Copy"), 2000);
  };
  return <button type="button" class="value-copy" aria-live="polite" onClick={() => void copy()}>{word}</button>;
}
