/** One row of the list of runs. */
import { Component } from "preact";
import { useState } from "preact/hooks";
import { Link } from "../app/link";
import { ago, duration, exact } from "../app/time";
import { Mark } from "../app/ui";
import { line } from "../values/text";
import type { ExecutionInfo } from "../wire/types";
import type { Filter } from "./filter";
import { labelsOf, shortId, taken, what } from "./words";

interface RowProps {
  /** undefined: it is on its way. */
  info: ExecutionInfo | undefined;
  number: number;
  height: number;
  at: number;
  filter: Filter;
  active: boolean;
  gone: boolean;
  onLabel: (name: string, value: string) => void;
}

/** How many labels a row shows. */
const LABELS = 4;

/** Drawn anew only for other props: while one scrolls, most rows are the same. */
export class Row extends Component<RowProps> {
  shouldComponentUpdate(next: RowProps): boolean {
    return (Object.keys(next) as (keyof RowProps)[]).some((name) => next[name] !== this.props[name]);
  }
  render() {
    return <Drawn {...this.props} />;
  }
}

function Drawn({ info, number, height, at, filter, active, gone, onLabel }: RowProps) {
  const style = { height: `${height}px`, transform: `translateY(${number * height}px)` };
  if (info === undefined) {
    return (
      <div class="list-row list-skeleton" aria-hidden="true" style={style}>
        <span /><span /><span /><span /><span />
      </div>
    );
  }
  const said = what(info, at);
  const labels = labelsOf(info);
  const tab = active ? 0 : -1;
  return (
    <div
      id={`list-row-${number}`} role="row" aria-rowindex={number + 2} aria-selected={active} style={style}
      class={`list-row${active ? " list-active" : ""}${gone ? " list-gone" : ""}`}
      title={gone ? "It does not fit the filter any more" : undefined}
    >
      <span role="gridcell" class="list-status"><Mark status={info.status} /></span>
      <span role="gridcell" class="list-name">
        <Link class="list-link" to={{ view: "execution", id: info.id }} tabIndex={tab} title={info.id.slice(0, 600)}>
          <span class="list-flow">{line(info.flow, 100)}</span> <span class="list-id">{shortId(info.id)}</span>
        </Link>
        <Copy text={info.id} tab={tab} />
      </span>
      <span role="gridcell" class="list-what">
        {said.text && (
          <span class={`list-note ${said.tone}`} title={info.error ? info.error.slice(0, 2000) : undefined}>
            {said.tone === "ask" && <span aria-hidden="true">? </span>}
            {said.text}
          </span>
        )}
        {labels.slice(0, LABELS).map(([name, value]) => {
          const chosen = filter.labels.some(([key, it]) => key === name && it === value);
          const shown = `${line(name, 30)}: ${line(value, 40)}`;
          return chosen
            ? <span key={name} class="list-label" data-chosen>{shown}</span>
            : (
              <button
                key={name} type="button" class="list-label" tabIndex={tab} onClick={() => onLabel(name, value)}
                title={`Only runs with ${name}: ${value}`.slice(0, 600)}
              >{shown}</button>
            );
        })}
        {labels.length > LABELS && (
          <span class="list-more" title={labels.slice(LABELS).map((it) => it.join(": ")).join("\n").slice(0, 2000)}>
            +{labels.length - LABELS}
          </span>
        )}
      </span>
      <span role="gridcell" class="list-age">
        <time dateTime={new Date(info.created * 1000).toISOString()} title={exact(info.created)}>
          {ago(info.created, at)}
        </time>
      </span>
      <span role="gridcell" class="list-took">{info.status === "created" ? "" : duration(taken(info, at))}</span>
    </div>
  );
}

/** A button that copies a text. */
export function Copy({ text, tab = 0 }: { text: string; tab?: number }) {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    setDone(await copied(text));
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button
      type="button" class="list-copy" tabIndex={tab} aria-label={done ? "Copied" : "Copy the id"} title="Copy the id"
      onClick={copy}
    >
      {done ? <span aria-hidden="true">✓</span> : (
        <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true">
          <rect x="2.5" y="2.5" width="8" height="8" rx="1.5" /><path d="M13.5 5.5v6.5a1.5 1.5 0 0 1-1.5 1.5H5.5" />
        </svg>
      )}
    </button>
  );
}

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // without https, browsers have only the old way
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
