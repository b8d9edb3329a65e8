/** The axis of time: where a moment is on it. Long times in which nothing is at work are shortened, as in the terminal. */

/** An idle time takes at most this part of the axis before it, and `LEAST` seconds where there is little before it. */
export const SHARE = 0.125;
export const LEAST = 2;
const TICKS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200,
  14400, 28800, 43200, 86400,
];

/** An idle time that is shortened: where it is on the axis, and how long it was, in seconds. */
export interface Gap { start: number; end: number; seconds: number }

/** How many of the ascending `values` are at most `value`; `of` says what counts of each. */
export function upTo<T = number>(values: readonly T[], value: number, of: (it: T) => number = Number): number {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(values[middle]!) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Places times (seconds since the epoch) on an axis (seconds since the start, without what idle times are shortened by).
 * Times are given in order: what was placed stays where it is, whatever comes.
 */
export class Axis {
  readonly gaps: Gap[] = [];
  /** Moments at which something began or ended to be at work, their places, and how far the axis goes on from there. */
  #times: number[] = [];
  #places: number[] = [];
  #limits: number[] = [];

  /** From this time on something is at work, or nothing is. */
  turn(at: number, busy: boolean): void {
    const place = this.place(at), last = this.#times.length - 1;
    if (last >= 0 && this.#limits[last] !== Infinity) {
      const waited = at - this.#times[last]!;
      if (waited > this.#limits[last]!) this.gaps.push({ start: this.#places[last]!, end: place, seconds: waited });
    }
    const limit = busy ? Infinity : Math.max(LEAST, place * SHARE);
    if (last >= 0 && this.#times[last]! >= at) {
      this.#limits[last] = limit;
      return;
    }
    this.#times.push(at);
    this.#places.push(place);
    this.#limits.push(limit);
  }

  /** Where a time is. */
  place(at: number): number {
    const known = upTo(this.#times, at) - 1;
    return known < 0 ? 0 : this.#places[known]! + Math.min(at - this.#times[known]!, this.#limits[known]!);
  }

  /** The time at a place; within a shortened idle time, that of its beginning. */
  time(place: number): number {
    const known = Math.max(upTo(this.#places, place + 1e-9) - 1, 0);
    return this.#times.length ? this.#times[known]! + place - this.#places[known]! : 0;
  }

  /** The idle time that has not ended, if it is shortened by now. */
  gapUntil(now: number): Gap | null {
    const last = this.#times.length - 1;
    if (last < 0 || now - this.#times[last]! <= this.#limits[last]!) return null;
    const start = this.#places[last]!;
    return { start, end: start + this.#limits[last]!, seconds: now - this.#times[last]! };
  }
}

/** The gaps to mark: those that are much shorter than the time was, and of very many the newest. */
export function marked(axis: Axis, now: number): Gap[] {
  const live = axis.gapUntil(now);
  const all = live ? [...axis.gaps, live] : axis.gaps;
  return all.filter((it) => it.seconds > 1.2 * (it.end - it.start)).slice(-100);
}

/** How many seconds an axis shows on which this place has to be, while more comes: it grows by steps only, so that nothing jumps. */
export function span(seconds: number): number {
  let whole = 2;
  while (whole < seconds) whole *= 1.5;
  return whole;
}

/** How many seconds are between two labels, of which so many have room. */
export function tick(whole: number, labels: number): number {
  return TICKS.find((it) => whole / it <= Math.max(labels, 1)) ?? whole;
}

/** Labels below the axis: where, and the seconds since the start, or those of an idle time that was shortened. */
export interface Label { place: number; seconds: number; gap: boolean }

/** Round times and shortened gaps on an axis of `whole` seconds, so that none is nearer than `room` to the next. */
export function labels(axis: Axis, began: number, whole: number, now: number, count: number): Label[] {
  const room = whole / Math.max(count, 1);
  const live = axis.gapUntil(now);
  const gaps = marked(axis, now);
  const found: Label[] = [];
  const put = (label: Label): void => {
    const free = found.every((it) => Math.abs(it.place - label.place) >= room);
    if (label.place <= whole - room / 2 && free) found.push(label);
  };
  for (const gap of gaps) put({ place: gap.start, seconds: gap.seconds, gap: true });
  const step = tick(whole, count);
  let begin = 0;
  for (const gap of [...gaps, { start: whole, end: whole, seconds: 0 }]) {
    // between two gaps the axis goes as the clock does
    const past = axis.time(begin) - began;
    const first = Math.ceil(past / step - 1e-6), end = (past + gap.start - begin) / step;
    for (let number = first; number < end + 1e-6 && number - first < 200; number++) {
      put({ place: begin + number * step - past, seconds: number * step, gap: false });
    }
    begin = gap.end;
    if (live !== null && gap.start === live.start) break;
  }
  return found.sort((one, other) => one.place - other.place);
}
