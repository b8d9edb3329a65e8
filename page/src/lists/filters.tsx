/** What the list of runs is limited to: statuses with their numbers, flow, time, words and labels. */
import { useEffect, useRef, useState } from "preact/hooks";
import { LOOK, type Status } from "../status";
import { keyOf, NO_FILTER, RANGES, STATUSES, type Filter, type Range } from "./filter";
import { line } from "../values/text";
import { shortId } from "./words";

interface FiltersProps {
  filter: Filter;
  /** null: not known. */
  sums: Record<Status, number> | null;
  flows: readonly string[];
  onChange: (next: Partial<Filter>, replace?: boolean) => void;
}

/** After the last key of a search. */
const PAUSE = 250;

export function Filters({ filter, sums, flows, onChange }: FiltersProps) {
  const toggle = (status: Status): void => {
    const chosen = new Set(filter.status);
    if (!chosen.delete(status)) chosen.add(status);
    onChange({ status: STATUSES.filter((it) => chosen.has(it)) });
  };
  const names = [...new Set([...flows, ...(filter.flow ? [filter.flow] : [])])].sort();
  const limited = keyOf(filter) !== keyOf(NO_FILTER);
  return (
    <div class="list-filters" role="search" aria-label="Filter the runs">
      <div class="list-chips" role="group" aria-label="Status">
        {STATUSES.map((status) => (
          <button
            key={status} type="button" class={`list-chip is-${status}`} aria-pressed={filter.status.includes(status)}
            onClick={() => toggle(status)}
          >
            <span class="list-sign" aria-hidden="true">{LOOK[status].sign}</span>
            <span>{LOOK[status].word}</span>
            <span class="list-number">{sums === null ? "" : sums[status].toLocaleString("en")}</span>
          </button>
        ))}
      </div>
      <div class="list-fields">
        <Search text={filter.text} onText={(text) => onChange({ text }, true)} />
        <select
          class="input list-flows" aria-label="Flow" value={filter.flow}
          onChange={(event) => onChange({ flow: event.currentTarget.value })}
        >
          <option value="">All flows</option>
          {names.map((name) => <option key={name} value={name}>{line(name, 80)}</option>)}
        </select>
        <select
          class="input list-range" aria-label="Started" value={filter.range}
          onChange={(event) => onChange({ range: event.currentTarget.value as Range })}
        >
          {Object.entries(RANGES).map(([range, { word }]) => <option key={range} value={range}>{word}</option>)}
        </select>
        {filter.labels.map(([name, value]) => (
          <Limit
            key={name} text={`${line(name, 30)}: ${line(value, 40)}`}
            onRemove={() => onChange({ labels: filter.labels.filter(([it]) => it !== name) })}
          />
        ))}
        {filter.parent && (
          <Limit text={`Sub-flows of ${shortId(filter.parent)}`} onRemove={() => onChange({ parent: "" })} />
        )}
        <button type="button" class="button quiet list-clear" disabled={!limited} onClick={() => onChange(NO_FILTER)}>
          Clear
        </button>
      </div>
    </div>
  );
}

function Limit({ text, onRemove }: { text: string; onRemove: () => void }) {
  return (
    <button type="button" class="list-limit" aria-label={`Without the filter ${text}`} onClick={onRemove}>
      <span>{text}</span> <span aria-hidden="true">×</span>
    </button>
  );
}

function Search({ text, onText }: { text: string; onText: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const sent = useRef(text);
  useEffect(() => {
    if (text !== sent.current) setTyped(text); // it was changed elsewhere: by a link, or the history
    sent.current = text;
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (value: string): void => {
    clearTimeout(timer.current);
    sent.current = value;
    onText(value);
  };
  return (
    <input
      id="list-search" class="input list-search" type="search"
      aria-label="Search by the beginning of an id or a label, or by a word of the error"
      placeholder="Id, label or word of the error" maxLength={500} value={typed} autocomplete="off" spellcheck={false}
      onInput={(event) => {
        const { value } = event.currentTarget;
        setTyped(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => send(value), PAUSE);
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter") send(event.currentTarget.value);
      }}
    />
  );
}
