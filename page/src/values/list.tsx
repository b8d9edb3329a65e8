/**
 * A list of rows of unequal height of which only those in sight are made. What is being read stays where it is while rows
 * above it are measured or change; at its end, the list follows the end until somebody scrolls up.
 *
 * Rows are moved by `transform`, so that what comes in shifts nothing.
 */
import "./list.css";
import type { ComponentChildren } from "preact";
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Heights } from "./rows";

export interface RowListProps<T> {
  items: readonly T[];
  /** What stays the same of a row while it changes. */
  keyOf: (item: T) => string | number;
  /** About how many pixels a row takes in a list of this width. */
  estimate: (item: T, width: number) => number;
  row: (item: T) => ComponentChildren;
  label: string;
  /** Whether the end is followed as long as the list stands there. */
  follow?: boolean;
  /** How many rows have come below, in words for a button: "3 new below". */
  below?: (count: number) => string;
  class?: string;
  empty?: ComponentChildren;
  role?: "log" | "list";
}

/** How far out of sight rows are made, and how near the end counts as the end. */
const BEYOND = 300, NEAR = 12;

export function RowList<T>({ items, keyOf, estimate, row, label, follow = false, below, class: name = "", empty, role = "list" }: RowListProps<T>) {
  const heights = useMemo(() => new Heights<string | number>(), []);
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 400, width: 600, version: 0 });
  const atEnd = useRef(follow);
  const lastTop = useRef(0);
  const anchor = useRef<{ key: string | number; at: number; offset: number } | null>(null);
  /** A row that was unfolded a moment ago, to be seen whole. */
  const unfolded = useRef<string | number | null>(null);
  const focused = useRef<string | number | null>(null);
  /** How many rows there were when the reader left the end. */
  const [left, setLeft] = useState<number | null>(null);

  const keys = useMemo(() => items.map(keyOf), [items]);
  useMemo(() => heights.set(keys, (at) => estimate(items[at]!, view.width)), [keys, view.version, view.width]);

  const last = keys.length - 1;
  // at the end, the rows at the end are made, wherever the list stood before
  const top = follow && atEnd.current ? Math.max(heights.total - view.height, 0) : Math.min(view.top, Math.max(heights.total - view.height, 0));
  const from = heights.at(top - BEYOND), to = Math.min(heights.at(top + view.height + BEYOND), last);
  const shown: number[] = [];
  for (let at = from; at <= to; at++) shown.push(at);
  if (focused.current !== null) {
    const at = heights.find(focused.current, from);
    if (at >= 0 && at < from) shown.unshift(at);
    else if (at > to) shown.push(at);
  }

  const observer = useMemo(() => {
    if (typeof ResizeObserver === "undefined") return null;
    return new ResizeObserver((entries) => {
      let changed = false;
      for (const entry of entries) {
        const key = rowKeys.get(entry.target);
        if (key === undefined) continue;
        const height = entry.borderBoxSize?.[0]?.blockSize ?? (entry.target as HTMLElement).offsetHeight;
        if (height > 0) changed = heights.measure(key as string | number, height) || changed;
      }
      if (changed) setView((it) => ({ ...it, version: it.version + 1 }));
    });
  }, []);
  useLayoutEffect(() => () => observer?.disconnect(), []);

  useLayoutEffect(() => {
    const element = scroller.current!;
    const look = (): void => {
      if (element.clientHeight === 0) return; // it is not shown
      setView((it) => (it.height === element.clientHeight && it.width === element.clientWidth ? it
        : { ...it, height: element.clientHeight, width: element.clientWidth }));
    };
    look();
    const own = new ResizeObserver(look);
    own.observe(element);
    return () => own.disconnect();
  }, []);

  // after every change: the end, or what was being read, is where it was
  useLayoutEffect(() => {
    const element = scroller.current!;
    let wanted = element.scrollTop;
    if (follow && atEnd.current) wanted = Math.max(heights.total - element.clientHeight, 0);
    else if (anchor.current !== null) {
      const at = heights.find(anchor.current.key, anchor.current.at);
      if (at >= 0) wanted = heights.top(at) + anchor.current.offset;
    }
    const seen = unfolded.current === null ? -1 : heights.find(unfolded.current, 0);
    if (seen >= 0 && heights.top(seen + 1) > wanted + element.clientHeight)
      wanted = Math.max(wanted, Math.min(heights.top(seen), heights.top(seen + 1) - element.clientHeight));
    if (Math.abs(wanted - element.scrollTop) >= 1) {
      element.scrollTop = wanted;
      lastTop.current = element.scrollTop;
      if (Math.abs(view.top - element.scrollTop) > BEYOND / 2) setView((it) => ({ ...it, top: element.scrollTop }));
    }
    keepAnchor(element);
  });

  const keepAnchor = (element: HTMLElement): void => {
    const at = heights.at(element.scrollTop);
    const key = keys[at];
    // at the very beginning nothing holds the rows: what comes before the first is to be seen
    anchor.current = key === undefined || element.scrollTop <= 0 ? null : { key, at, offset: element.scrollTop - heights.top(at) };
  };

  const onScroll = (): void => {
    const element = scroller.current!;
    const now = element.scrollTop;
    const isEnd = now + element.clientHeight >= heights.total - NEAR;
    if (isEnd) {
      atEnd.current = true;
      if (left !== null) setLeft(null);
    } else if (now < lastTop.current - 1 || !atEnd.current) {
      atEnd.current = false;
      if (left === null) setLeft(items.length);
    }
    lastTop.current = now;
    keepAnchor(element);
    setView((it) => (it.top === now ? it : { ...it, top: now }));
  };

  /** What somebody unfolds stays where it is: from now on the end is not followed. */
  const hold = (event: Event): void => {
    const target = event.target as HTMLElement;
    const button = target.closest("[aria-expanded], .value-more");
    const row = button?.closest(".rows-row");
    const key = row == null ? undefined : (rowKeys.get(row) as string | number | undefined);
    const at = key === undefined ? -1 : heights.find(key, from);
    if (key === undefined || at < 0) return;
    const now = scroller.current!.scrollTop;
    anchor.current = { key, at, offset: now - heights.top(at) };
    if (button?.getAttribute("aria-expanded") === "false" && button.closest(".value") === null) {
      unfolded.current = key;
      setTimeout(() => (unfolded.current = null), 400);
    }
    if (follow && atEnd.current) {
      atEnd.current = false;
      setLeft(items.length);
    }
  };

  const toEnd = (): void => {
    atEnd.current = true;
    setLeft(null);
    setView((it) => ({ ...it, version: it.version + 1 }));
    scroller.current!.focus({ preventScroll: true });
  };

  const fresh = left === null ? 0 : Math.max(items.length - left, 0);
  return (
    <div class={`rows ${name}`}>
      <div
        ref={scroller} class="rows-scroll" tabIndex={0} role={role === "log" ? "log" : "region"} aria-live="off" aria-label={label} onScroll={onScroll} onClickCapture={hold}
        onFocusIn={(event: FocusEvent) => {
          const element = (event.target as HTMLElement).closest(".rows-row");
          focused.current = element === null ? null : (rowKeys.get(element) as string | number | undefined) ?? null;
        }}
        onFocusOut={() => {
          focused.current = null;
        }}
      >
        {items.length === 0 && empty}
        <div class="rows-all" role="list" style={{ height: `${heights.total}px` }}>
          {shown.map((at) => (
            <Row key={keys[at]} id={keys[at]!} top={heights.top(at)} place={at} count={items.length} observer={observer}>{row(items[at]!)}</Row>
          ))}
        </div>
      </div>
      {follow && left !== null && (
        <button type="button" class="button rows-below" onClick={toEnd}>
          <span aria-hidden="true">↓</span> {fresh > 0 ? (below?.(fresh) ?? `${fresh} new below`) : "To the end"}
        </button>
      )}
    </div>
  );
}

/** What stands above such a list: a filter, and how many rows there are. */
export function ListHead({ wanted, onWanted, label, count, filter = true }: {
  wanted: string; onWanted: (wanted: string) => void; label: string; count: ComponentChildren; filter?: boolean;
}) {
  return (
    <div class="rows-head">
      {filter && <input class="input rows-filter" type="search" placeholder="Filter" aria-label={label} value={wanted} onInput={(event) => onWanted(event.currentTarget.value)} />}
      <span class="rows-count">{count}</span>
    </div>
  );
}

/** Which rows are unfolded, and what folds or unfolds one: always the same function. */
export function useFolds<K>(): [ReadonlySet<K>, (key: K) => void] {
  const [unfolded, setUnfolded] = useState<ReadonlySet<K>>(new Set());
  const fold = useCallback((key: K) => setUnfolded((it) => {
    const next = new Set(it);
    if (!next.delete(key)) next.add(key);
    return next;
  }), []);
  return [unfolded, fold];
}

const rowKeys = new WeakMap<Element, unknown>();

function Row({ id, top, place, count, observer, children }: {
  id: string | number; top: number; place: number; count: number; observer: ResizeObserver | null; children: ComponentChildren;
}) {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const own = element.current!;
    rowKeys.set(own, id);
    observer?.observe(own);
    return () => observer?.unobserve(own);
  }, [id, observer]);
  return (
    <div ref={element} class="rows-row" role="listitem" aria-posinset={place + 1} aria-setsize={count} style={{ transform: `translateY(${top}px)` }}>
      {children}
    </div>
  );
}
