/** What the list of runs is limited to: statuses with their numbers, flow, time, words and labels. */
import { useEffect, useState } from "preact/hooks";
import { LOOK, type Status } from "../status";
import { keyOf, NO_FILTER, RANGES, STATUSES, type Filter, type Range } from "./filter";
import { line } from "../values/text";
import { labelText, shortId } from "./words";

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
  const names = [...new Set([...flows, filter.flow])].filter(Boolean).sort();
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
        <Choice label="Flow" class="list-flows" value={filter.flow} onChange={(flow) => onChange({ flow })}
          options={[["", "All flows"], ...names.map((name) => [name, line(name, 80)] as const)]} />
        <Choice label="Started" class="list-range" value={filter.range} onChange={(range) => onChange({ range: range as Range })}
          options={Object.entries(RANGES).map(([range, { word }]) => [range, word] as const)} />
        {filter.labels.map(([name, value]) => (
          <Limit
            key={name} text={labelText(name, value)}
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

function Choice({ label, class: look, value, options, onChange }: {
  label: string; class: string; value: string; options: readonly (readonly [string, string])[]; onChange(value: string): void;
}) {
  return (
    <select class={`input ${look}`} aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map(([key, words]) => <option key={key} value={key}>{words}</option>)}
    </select>
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
  useEffect(() => setTyped(text), [text]); // it was changed elsewhere: by a link, or the history
  useEffect(() => {
    if (typed === text) return;
    const timer = setTimeout(() => onText(typed), PAUSE);
    return () => clearTimeout(timer);
  }, [typed]);
  return (
    <input
      class="input list-search" type="search" maxLength={500} value={typed} autocomplete="off" spellcheck={false}
      aria-label="Search by the beginning of an id or a label, or by a word of the error"
      placeholder="Id, label or word of the error" onInput={(event) => setTyped(event.currentTarget.value)}
    />
  );
}
