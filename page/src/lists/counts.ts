/** How many executions there are, by flow and status, kept up to date. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { get } from "../wire/http";
import { sinceOf, NO_FILTER, type Counts, type Range } from "./filter";

/** Call something later, and not more often than every `pause` milliseconds. It waits while the page is hidden. */
export function usePaced(run: () => Promise<void> | void, pause: number): () => void {
  const latest = useRef(run);
  latest.current = run;
  const state = useRef({
    timer: undefined as ReturnType<typeof setTimeout> | undefined, last: -Infinity, busy: false, again: false, over: false,
  });
  const start = useRef(() => {
    const it = state.current;
    if (it.timer !== undefined || it.over) return;
    if (it.busy) {
      it.again = true;
      return;
    }
    const wait = Math.max(50, it.last + pause - performance.now());
    it.timer = setTimeout(async () => {
      it.timer = undefined;
      it.busy = true;
      it.again = false;
      try {
        await latest.current();
      } finally {
        it.busy = false;
        it.last = performance.now();
        if (it.again) start.current();
      }
    }, wait);
  });
  useEffect(() => {
    state.current.over = false;
    return () => {
      state.current.over = true;
      clearTimeout(state.current.timer);
      state.current.timer = undefined;
    };
  }, []);
  return start.current;
}

const kept = new Map<Range, Counts>();

/** null: not known yet. */
export function useCounts(range: Range): Counts | null {
  const [, draw] = useState(0);
  const read = async (): Promise<void> => {
    try {
      kept.set(range, await get<Counts>("counts", { since: sinceOf({ ...NO_FILTER, range }, Date.now() / 1000) }));
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
