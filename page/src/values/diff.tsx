/** `<Diff>`: two values as one tree, in which what differs is marked by a sign, a word and a colour. */
import "./diff.css";
import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { difference, NOTHING, textDifference, type Change, type Part } from "./difference";
import { visible } from "./text";
import { Name, Text, Value } from "./value";

export { NOTHING } from "./difference";

export interface DiffProps {
  /** The two values; `NOTHING` (or undefined) where there is none. */
  one: unknown;
  other: unknown;
  /** What the two are called: the state before and after, or two executions. */
  names?: readonly [string, string];
}

/** How many parts of a value are shown at first, and how many more at a click. */
const PARTS = 100, MORE = 1_000;
type Names = readonly [string, string];

export function Diff({ one, other, names = ["before", "after"] }: DiffProps) {
  const change = useMemo(() => difference(one === undefined ? NOTHING : one, other === undefined ? NOTHING : other), [one, other]);
  return <div class="value diff"><Node change={change} names={names} /></div>;
}

function Node({ change, names, name }: { change: Change; names: Names; name?: string | number }) {
  switch (change.kind) {
    case "same": return <Line name={name}><Value value={change.value} open={0} /></Line>;
    case "added": return <Line kind="added" sign="+" word={`only ${names[1]}`} name={name}><Value value={change.value} open={0} /></Line>;
    case "removed": return <Line kind="removed" sign="−" word={`only ${names[0]}`} name={name}><Value value={change.value} open={0} /></Line>;
    case "changed": {
      const texts = typeof change.one === "string" && typeof change.other === "string" ? textDifference(change.one, change.other) : null;
      return (
        <Line kind="changed" sign="~" word="changed" name={name}>
          <div class="diff-pair">
            <Line kind="removed" sign="−" word={names[0]}>
              {texts !== null ? <Around {...texts} text={texts.one} kind="removed" /> : <Value value={change.one} open={0} />}
            </Line>
            <Line kind="added" sign="+" word={names[1]}>
              {texts !== null ? <Around {...texts} text={texts.other} kind="added" /> : <Value value={change.other} open={0} />}
            </Line>
          </div>
        </Line>
      );
    }
    case "inside": return <Inside change={change} names={names} name={name} />;
  }
}

function Inside({ change, names, name }: { change: Change & { kind: "inside" }; names: Names; name?: string | number }) {
  const [all, setAll] = useState(false);
  const [most, setMost] = useState(PARTS);
  const parts = all ? inOrder([...change.parts, ...change.alike], change.list) : change.parts;
  const word = change.list ? ["item", "items"] : ["key", "keys"];
  return (
    <div class="diff-inside">
      {(name !== undefined || change.type !== "") && (
        <div class="diff-head">
          {name !== undefined && <Name name={name} />}
          {change.type !== "" && <span class="value-type">{visible(change.type)}</span>}
          <span class="value-size">{change.parts.length} {word[change.parts.length === 1 ? 0 : 1]} changed</span>
        </div>
      )}
      <ul class="value-parts">
        {parts.slice(0, most).map((it: Part) => <li key={`${it.change.kind} ${it.name}`}><Node change={it.change} names={names} name={it.name} /></li>)}
        {parts.length > most && (
          <li><button type="button" class="value-more" onClick={() => setMost(most + MORE)}>Show {Math.min(MORE, parts.length - most)} more of {parts.length}</button></li>
        )}
        {change.alike.length > 0 && (
          <li>
            <button type="button" class="diff-alike" aria-expanded={all} onClick={() => setAll(!all)}>
              <span aria-hidden="true">{all ? "▾" : "▸"}</span> {change.alike.length.toLocaleString("en")} {word[change.alike.length === 1 ? 0 : 1]} the same
            </button>
          </li>
        )}
      </ul>
    </div>
  );
}

const inOrder = (parts: Part[], list: boolean): Part[] => (list ? parts.sort((one, other) => Number(one.name) - Number(other.name)) : parts);

function Line({ kind = "", sign = "", word = "", name, children }: {
  kind?: string; sign?: string; word?: string; name?: string | number; children: ComponentChildren;
}) {
  return (
    <div class={`diff-line ${kind && `diff-${kind}`}`}>
      {sign !== "" && <span class="diff-sign" aria-hidden="true">{sign}</span>}
      {name !== undefined && <Name name={name} />}
      {word !== "" && <span class="diff-word">{word}</span>}
      <div class="diff-value">{children}</div>
    </div>
  );
}

function Around({ before, text, after, kind }: { before: string; text: string; after: string; kind: string }) {
  return (
    <span class="value-text">
      <span class="muted">{visible(before)}</span>
      <mark class={`diff-${kind}`}>{text === "" ? "" : <Text text={text} />}</mark>
      <span class="muted">{visible(after)}</span>
    </span>
  );
}
