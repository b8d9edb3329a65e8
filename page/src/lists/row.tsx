/** One row of the list of runs. */
import { Component } from "preact";
import { Link } from "../app/link";
import { duration } from "../app/time";
import { Ago, Mark } from "../app/ui";
import { line } from "../values/text";
import type { ExecutionInfo } from "../wire/types";
import type { Filter } from "./filter";
import { labelsOf, labelText, shortId, taken, what } from "./words";

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
        <Link key={info.id} class="list-link" to={{ view: "execution", id: info.id }} tabIndex={tab} title={info.id.slice(0, 600)}>
          <span class="list-flow">{line(info.flow, 100)}</span> <span class="list-id">{shortId(info.id)}</span>
        </Link>
      </span>
      <span role="gridcell" class="list-what">
        {said.text && (
          <span class={`list-note ${said.tone}`} title={info.error?.slice(0, 2000)}>
            {said.tone === "ask" && <span aria-hidden="true">? </span>}
            {said.text}
          </span>
        )}
        {labels.slice(0, LABELS).map(([name, value]) => {
          const chosen = filter.labels.some(([key, it]) => key === name && it === value);
          return (
            <button
              key={name} type="button" class="list-label" data-chosen={chosen || undefined} tabIndex={tab}
              onClick={() => onLabel(name, value)} title={`Only runs with ${name}: ${value}`.slice(0, 600)}
            >
              {labelText(name, value)}
            </button>
          );
        })}
        {labels.length > LABELS && (
          <span class="list-more" title={line(Object.fromEntries(labels.slice(LABELS)), 600)}>+{labels.length - LABELS}</span>
        )}
      </span>
      <span role="gridcell" class="list-age"><Ago at={info.created} /></span>
      <span role="gridcell" class="list-took">{info.status === "created" ? "" : duration(taken(info, at))}</span>
    </div>
  );
}
