/** How many executions there are, by flow and status, kept up to date. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { get, now, onForget } from "../wire/http";
import { sinceOf, NO_FILTER, type Counts, type Range } from "./filter";

/** Call something later, and not more often than every `pause` milliseconds. */
export function usePaced(run: () => Promise<void> | void, pause: number): () => void {
  const latest = useRef(run);
  latest.current = run;
  const it = useRef({ timer: 0, last: -Infinity, busy: false, again: false }).current;
  const start = (): void => {
    it.again = it.busy;
    if (it.busy) return;
    it.busy = true;
    it.timer = window.setTimeout(async () => {
      it.again = false;
      await latest.current();
      it.last = performance.now();
      it.busy = false;
      if (it.again) start();
    }, Math.max(50, it.last + pause - performance.now()));
  };
  useEffect(() => {
    it.busy = false;
    return () => {
      clearTimeout(it.timer);
      it.again = false;
    };
  }, []);
  return start;
}

const kept = new Map<Range, Counts>();
onForget(() => kept.clear());

/** null: not known yet. */
export function useCounts(range: Range): Counts | null {
  const [, draw] = useState(0);
  const read = async (): Promise<void> => {
    try {
      kept.set(range, await get<Counts>("counts", { since: sinceOf({ ...NO_FILTER, range }, now()) }));
      draw((it) => it + 1);
    } catch {
      // The list itself says what is wrong; these numbers come with the next change.
    }
  };
  const soon = usePaced(read, 2000);
  useEffect(() => void read(), [range]);
  useChanges(soon);
  return kept.get(range) ?? null;
}
