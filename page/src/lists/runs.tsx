/** The list of runs: what there is, how it stands, and what it waits for. */
import "./lists.css";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Link } from "../app/link";
import { useChanges, useConnection } from "../app/live";
import { currentRoute, go, type RunsRoute } from "../app/route";
import { Trouble, useNow } from "../app/ui";
import { onForget, problemOf } from "../wire/http";
import { useCounts, usePaced } from "./counts";
import { countable, countsOf, filterOf, keyOf, NO_FILTER, STATUSES, wordsOf, type Filter } from "./filter";
import { Filters } from "./filters";
import { Row } from "./row";
import { MOST_ROWS, Rows, SERVER } from "./rows";
import { useRowHeight, useWindow } from "./window";
import { count } from "./words";

/** The list that was looked at last: who comes back finds it as it was. */
let kept: Rows | null = null;
/** After a movement of the pointer over the list, nothing in it moves for so long. */
const STILL = 1500;
/** How many rows beyond those that are drawn are read before somebody gets there. */
const AHEAD = 100;
/** How many rows a list without a known length seems to have below those that are here. */
const BELOW = 30;

// Another token may see other runs.
onForget(() => (kept = null));

function rowsOf(filter: Filter): Rows {
  if (kept === null || keyOf(kept.filter) !== keyOf(filter)) kept = new Rows(filter, SERVER);
  return kept;
}

export function Runs({ route }: { route: RunsRoute }) {
  const key = keyOf(filterOf(route));
  const filter = useMemo(() => filterOf(route), [key]);
  const list = useMemo(() => rowsOf(filter), [filter]);
  const [, draw] = useState(0);
  const counts = useCounts(filter.range);
  const at = useNow();

  const sums = counts === null ? null : countsOf(counts, filter.flow);
  const chosen = filter.status.length ? filter.status : STATUSES;
  const known = sums !== null && countable(filter) ? chosen.reduce((sum, status) => sum + sums[status], 0) : null;
  const here = list.rows.length;
  const total = !list.more ? here : known !== null ? Math.max(known, here + 1) : null;
  const shown = Math.min(total ?? here + BELOW, MOST_ROWS);

  const height = useRowHeight(2.5, 4.25);
  const space = useRef<HTMLDivElement>(null);
  const grid = useRef<HTMLDivElement>(null);
  const pointed = useRef(-Infinity);
  const pending = useRef(0);
  const place = useRef(true);

  const view = useWindow(space, shown, height, () => {
    if (currentRoute().view !== "runs") return; // on the way to another view
    list.place = view.place();
    soon();
  });
  const { first, last } = view.span;

  const refresh = async (): Promise<void> => {
    const { first, last } = view.span;
    const calm = isCalm();
    if (!list.dirty(first, last) && !(calm && (list.waiting.length || list.gone.size))) return;
    try {
      const moved = await list.refresh(first, last, calm);
      if (moved && list.place > 0) pending.current += moved;
      draw((it) => it + 1);
    } catch {
      // Without a connection the notice of the page says so; what is old is read with the next change.
    }
  };
  const soon = usePaced(refresh, 700);

  const isCalm = (): boolean =>
    list.place < 0.5 && performance.now() - pointed.current > STILL && !grid.current?.contains(document.activeElement);

  useEffect(() => {
    list.onChange = () => draw((it) => it + 1);
    draw((it) => it + 1);
    if (list.next === undefined) void list.again();
    else {
      list.changed(null); // nobody has listened for it
      soon();
    }
    return () => {
      list.onChange = () => {};
    };
  }, [list]);

  useEffect(() => void list.need(last + AHEAD), [list, last, list.loading]);

  // The same place as before, for who comes back; the top for another filter.
  useLayoutEffect(() => {
    if (place.current && list.place > 0) view.scrollTo(list.place);
    else if (!place.current && view.place() > 0) scrollTo(0, 0);
    place.current = false;
  }, [list]);

  // Rows have come or gone above what is read: it stays where it is.
  useLayoutEffect(() => {
    if (!pending.current) return;
    view.scrollBy(pending.current);
    pending.current = 0;
  });

  // What could not be read is read when the server is there again.
  const { connection } = useConnection();
  useEffect(() => {
    if (connection === "open" && list.problem !== null) void list.again();
  }, [connection]);

  useChanges((executions, resync) => {
    list.changed(resync ? null : executions);
    soon();
  });

  const change = (next: Partial<Filter>, replace = false): void => {
    go({ view: "runs", ...wordsOf({ ...filter, ...next }) }, { replace });
  };
  const onLabel = useCallback((name: string, value: string) => {
    change({ labels: [...filter.labels.filter(([it]) => it !== name), [name, value]] });
  }, [filter]);
  const showNew = (): void => {
    list.show();
    scrollTo(0, 0);
  };

  const active = list.active === null ? -1 : list.rows.findIndex((row) => row.id === list.active);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== grid.current || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && list.active !== null) go({ view: "execution", id: list.active });
    const start = Math.ceil(view.place());
    const moves: Record<string, number> = {
      ArrowDown: active < 0 ? start : active + 1, ArrowUp: active < 0 ? start : active - 1, Home: 0, End: here - 1,
    };
    const wanted = moves[event.key];
    if (wanted === undefined || !here) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(wanted, here - 1));
    list.active = list.rows[row]!.id;
    if (row < first || row > last) view.scrollTo(row - 1);
    document.getElementById(`list-row-${row}`)?.scrollIntoView({ block: "nearest" });
    draw((it) => it + 1);
  };

  const rows = [];
  for (let row = first; row <= last; row++) {
    const info = list.rows[row];
    rows.push(
      <Row
        key={info?.id ?? row} info={info} number={row} height={height} at={at} filter={filter}
        active={row === active} gone={info !== undefined && list.gone.has(info.id)} onLabel={onLabel}
      />,
    );
  }
  const nothing = list.next === null && !here;
  const failed = list.problem !== null && !here;
  const waiting = list.waiting.length;
  const news = waiting ? `↑ ${waiting}${list.overflow ? "+" : ""} new` : list.gone.size ? `↻ ${list.gone.size} changed` : "";

  return (
    <section class="list-page" aria-labelledby="list-title">
      <div class="page-head">
        <h1 id="list-title">Runs</h1>
        <p class="muted number" role="status">
          {total !== null ? count(total, "run") : here ? `more than ${count(here, "run")}` : ""}
        </p>
      </div>
      <Filters filter={filter} sums={countable(filter) ? sums : null} flows={Object.keys(counts ?? {})} onChange={change} />
      {failed ? (
        <Trouble problem={problemOf(list.problem)} onAgain={() => void list.again()} />
      ) : nothing ? (
        <div class="list-empty">
          {keyOf(filter) !== keyOf(NO_FILTER) ? (
            <><h2>No runs match</h2><p>Take more statuses, a wider time or fewer words.</p></>
          ) : (
            <>
              <h2>No runs yet</h2>
              <p>A run appears here as soon as it is started, from wherever.</p>
              <Link class="button" to={{ view: "flows" }}>Start one</Link>
            </>
          )}
        </div>
      ) : (
        <div class="list-frame">
          <div class="list-news">
            {list.problem !== null ? (
              <button type="button" class="list-new wrong" onClick={() => void list.again()}>
                ✗ Not all could be read: try again
              </button>
            ) : news && <button type="button" class="list-new" onClick={showNew}>{news}</button>}
          </div>
          <div
            ref={grid} class="list-grid" role="grid" tabIndex={0}
            aria-label="Runs. Arrow keys choose a run, Enter opens it."
            aria-rowcount={total === null ? -1 : total + 1} aria-busy={list.loading && !here} aria-colcount={5}
            aria-activedescendant={active >= first && active <= last ? `list-row-${active}` : undefined}
            onKeyDown={onKeyDown}
            onPointerMove={() => { pointed.current = performance.now(); }}
            onPointerLeave={soon}
          >
            <div class="list-columns" role="row" aria-rowindex={1}>
              {["Status", "Run", "What", "Started", "Took"].map((it, at) => (
                <span key={it} role="columnheader" class={at > 2 ? "list-right" : ""}>{it}</span>
              ))}
            </div>
            <div ref={space} class="list-space" role="rowgroup" style={{ height: `${shown * height}px` }}>{rows}</div>
          </div>
        </div>
      )}
      {here >= MOST_ROWS && <p class="list-end">Narrow the filter to see older ones.</p>}
    </section>
  );
}
