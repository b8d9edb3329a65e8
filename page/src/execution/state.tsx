/** The state of the execution at the moment that is shown: its keys in order, and what that moment has changed. */
import "./state.css";
import { useMemo, useState } from "preact/hooks";
import type { Moment } from "../model/track";
import { Diff } from "../values/diff";
import { ListHead, RowList, useFolds } from "../values/list";
import { line, summary } from "../values/text";
import { Value } from "../values/value";

/** More keys than this get a filter. */
const MANY = 12;
const LOOK = { "": ["", ""], added: ["+", "new"], changed: ["~", "changed"], removed: ["−", "deleted"] } as const;

interface Held { key: string; mark: keyof typeof LOOK; value: unknown; old: unknown }

/** `before` is the moment before this one, for what has changed. */
export function StatePanel({ moment, before }: { moment: Moment; before: Moment | null }) {
  const [wanted, setWanted] = useState("");
  const [unfolded, fold] = useFolds<string>();
  const held = useMemo(() => heldOf(moment, before), [moment, before]);
  const shown = useMemo(() => {
    const text = wanted.trim().toLowerCase();
    return text === "" ? held : held.filter((it) => it.key.toLowerCase().includes(text));
  }, [held, wanted]);
  const changed = held.filter((it) => it.mark !== "");
  const keys = `${held.length.toLocaleString("en")} key${held.length === 1 ? "" : "s"}`;
  return (
    <div class="rows-panel">
      <ListHead wanted={wanted} onWanted={setWanted} label="Filter the keys of the state" filter={held.length > MANY || wanted !== ""}
        count={<>{keys}{changed.length > 0 && `, ${changed.length} changed at this moment`}</>} />
      <RowList
        items={shown} keyOf={(it) => it.key} label="State" estimate={() => 26}
        empty={<p class="empty">{wanted !== "" ? "No key fits the filter." : "The state is empty."}</p>}
        row={(it) => <Row held={it} open={unfolded.has(it.key)} fold={fold} />}
      />
    </div>
  );
}

function heldOf(moment: Moment, before: Moment | null): Held[] {
  const found: Held[] = [];
  for (const [key, value] of moment.state) {
    const isChanged = moment.changed.has(key);
    const isNew = isChanged && before !== null && !before.state.has(key);
    found.push({ key, value, mark: isNew ? "added" : isChanged ? "changed" : "", old: isChanged ? before?.state.get(key) : undefined });
  }
  for (const key of moment.changed) {
    if (!moment.state.has(key) && before?.state.has(key)) found.push({ key, value: undefined, mark: "removed", old: before.state.get(key) });
  }
  return found.sort((one, other) => (one.key < other.key ? -1 : one.key > other.key ? 1 : 0));
}

function Row({ held: { key, mark, value, old }, open, fold }: { held: Held; open: boolean; fold: (key: string) => void }) {
  const [sign, word] = LOOK[mark];
  return (
    <div class={`state-row ${mark}`}>
      <button type="button" class="state-line" aria-expanded={open} onClick={() => fold(key)}>
        <span class="state-arrow" aria-hidden="true">{open ? "▾" : "▸"}</span>
        <span class="state-key">{line(key, 200) || '""'}</span>
        {mark !== "removed" && <span class="state-sum">{summary(value, 200)}</span>}
        {old !== undefined && <span class="state-old"><span class="unseen">was </span>{summary(old, 80)}</span>}
        {mark !== "" && <span class="state-word"><span aria-hidden="true">{sign} </span>{word}</span>}
      </button>
      {open && (
        <div class="state-whole">
          {mark === "changed" && old !== undefined ? <Diff one={old} other={value} /> : <Value value={mark === "removed" ? old : value} open={2} copy />}
        </div>
      )}
    </div>
  );
}
