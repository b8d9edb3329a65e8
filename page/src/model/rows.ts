/** The rows of the timeline: the runs in the order in which they began, those of one box of the graph in one row that unfolds. */
import type { Axis } from "./axis";
import type { Steps } from "./steps";
import type { Run, Segment, Track } from "./track";

/** An execution whose runs are shown: the one that the page is about, or a sub-flow that was opened in place. */
export interface Shown { track: Track; steps?: Steps | null }

export interface Row {
  /** Stays the same whatever comes. */
  key: string;
  level: number;
  shown: Shown;
  /** One run, or all of a box. They are those of the newest moment, whichever moment is looked at. */
  runs: readonly Run[];
  group: boolean;
  /** Whether what is inside is shown below: the runs of a group, or those of a sub-flow. */
  open: boolean;
}

/**
 * All rows. `isOpen` says which rows are unfolded, `inside` has the sub-flows that are here, by what the run's `subFlow`
 * is. Conditions, which have no box in the drawing, are shown only if one has failed, as in the terminal.
 */
export function rowsOf(shown: Shown, isOpen: (key: string) => boolean, inside: (subFlow: string) => Shown | null): Row[] {
  const rows: Row[] = [];
  const add = (from: Shown, prefix: string, level: number): void => {
    const groups = new Map<string, Run[]>();
    for (const run of from.track.at(from.track.last).runs.values()) {
      const box = from.steps?.boxOf(run.operator) ?? run.operator, known = groups.get(box);
      if (known !== undefined) known.push(run);
      else if (!from.steps || from.steps.hasBox(run.operator) || run.state === "failed") groups.set(box, [run]);
    }
    const one = (run: Run, deep: number): void => {
      const key = `${prefix}r${run.id}`, open = run.subFlow !== null && isOpen(key);
      rows.push({ key, level: deep, shown: from, runs: [run], group: false, open });
      const child = open && level < 10 ? inside(run.subFlow!) : null;
      if (child !== null) add(child, `${key} `, deep + 1);
    };
    for (const [operator, runs] of groups) {
      if (runs.length === 1) {
        one(runs[0]!, level);
        continue;
      }
      const key = `${prefix}o${operator}`, open = isOpen(key);
      rows.push({ key, level, shown: from, runs, group: true, open });
      if (open) for (const run of runs) one(run, level + 1);
    }
  };
  add(shown, "", 1);
  return rows;
}

/** The seconds of a run without the times before its attempts; for an open one up to `now`. */
export function lengthOf(run: Run, now: number): number {
  return sum(run, now, (state) => state !== "queued" && state !== "backoff");
}

/** The seconds in which a run waited for its next attempt. */
export function waitOf(run: Run, now: number): number {
  return sum(run, now, (state) => state === "backoff");
}

function sum(run: Run, now: number, counts: (state: Segment["state"]) => boolean): number {
  return run.segments.reduce((sum, it) => sum + (counts(it.state) ? Math.max((it.end ?? now) - it.start, 0) : 0), 0);
}

/** The attempts of a run that have begun. */
export function attemptsOf(run: Run): number {
  return run.segments.reduce((most, it) => Math.max(most, it.state === "running" ? it.attempt : 0), 0);
}

/** When a run began and ended; `end` null while it is open. */
export function spanOf(run: Run): { start: number; end: number | null } {
  return { start: run.segments[0]?.start ?? 0, end: run.segments.at(-1)?.end ?? null };
}

/**
 * How many runs were at work on average in each of `columns` equal parts of an axis that is `whole` long, as a share of
 * `peak`. The peak grows by doubling, so that what is drawn does not change its height with each run.
 */
export function density(
  runs: readonly Run[], axis: Axis, whole: number, columns: number, now: number,
): { loads: Float32Array; peak: number } {
  const loads = new Float32Array(columns), whole_ = Math.max(whole, 1e-9), steps = new Float32Array(columns + 1);
  const put = (part: Segment): void => {
    const from = (axis.place(part.start) / whole_) * columns;
    // what is too short to be seen counts as a hundredth of a column
    const to = Math.min(Math.max((axis.place(part.seen ?? part.end ?? now) / whole_) * columns, from + 0.01), columns);
    const first = Math.min(Math.floor(from), columns - 1), last = Math.min(Math.floor(to), columns - 1);
    if (first === last) {
      loads[first]! += to - from;
      return;
    }
    loads[first]! += first + 1 - from;
    loads[last]! += to - last;
    steps[first + 1]! += 1;
    steps[last]! -= 1;
  };
  for (const run of runs) for (const part of run.segments) if (part.state === "running") put(part);
  let level = 0, most = 0;
  for (let column = 0; column < columns; column++) {
    level += steps[column]!;
    loads[column]! += level;
    most = Math.max(most, loads[column]!);
  }
  return { loads, peak: most > 0 ? 2 ** Math.ceil(Math.log2(most) - 1e-6) : 1 };
}
