/** The rows of a list of executions: pages that come one after the other, and changes that come in between.
 *
 * The newest are at the top. A list is read by somebody, so nothing moves that is looked at: what is new at the top
 * waits in `waiting` until `show`, and a row that does not fit the filter any more stays where it is until then.
 * The list knows nothing of the screen: see runs.tsx.
 */
import { get, HttpError, now, path } from "../wire/http";
import type { ExecutionInfo, ExecutionPage } from "../wire/types";
import { matches, queryOf, type Filter } from "./filter";

export type Query = ReturnType<typeof queryOf>;
export interface Source {
  page(query: Query): Promise<ExecutionPage>;
  one(id: string): Promise<ExecutionInfo | null>;
  now(): number;
}

export const SERVER: Source = {
  page: (query) => get<ExecutionPage>("executions", query),
  one: (id) => get<ExecutionInfo>(path("executions", id)).catch((error: unknown) => {
    if (error instanceof HttpError && error.problem.status === 404) return null;
    throw error;
  }),
  now,
};

/** How many rows a page has; and one that is on the way to a far away place of the list. */
export const PAGE = 200;
export const LARGE_PAGE = 1000;
/** How many rows a list has at most: who wants older ones narrows the filter. */
export const MOST_ROWS = 100_000;
/** How many changed executions are asked for one by one; more are read as a part of the list. */
const FEW = 6;
/** Times of creation go through texts: a range of them is a little wider than its rows. */
const MARGIN = 0.001;

export class Rows {
  rows: ExecutionInfo[] = [];
  /** Rows that are not in the list any more, and are still shown. */
  readonly gone = new Set<string>();
  /** New ones that are not shown yet. */
  waiting: ExecutionInfo[] = [];
  /** There are more new ones than a page has: `show` reads the list anew. */
  overflow = false;
  /** undefined: nothing was read yet; null: this is all. */
  next: string | null | undefined = undefined;
  loading = false;
  problem: unknown = null;
  /** Where the list stood when it was left: the number of the first row in view, with a part of it as fraction; and
   * which row was chosen with the keyboard. */
  place = 0;
  active: string | null = null;

  readonly filter: Filter;
  readonly #source: Source;
  /** Called after every change. */
  onChange: () => void = () => {};
  #known = new Set<string>();
  /** Rows outside of the view whose values are old. */
  #stale = new Set<string>();
  /** What has changed and is in no row: it is new, or fits the filter only now. */
  #unknown = new Set<string>();
  /** Too much of that to ask for each: there may be more of it between rows that are not in view. */
  #gaps = false;
  #checked: readonly [number, number] = [0, -1];
  #wanted = 0;
  #era = 0;

  constructor(filter: Filter, source: Source) {
    this.filter = filter;
    this.#source = source;
  }

  /** Whether there are older ones than the last row. */
  get more(): boolean {
    return this.next !== null && this.rows.length < MOST_ROWS;
  }

  /** Read the list from the beginning. What is shown stays until it is there. */
  async reload(): Promise<void> {
    this.#era++;
    this.#wanted = 0;
    this.loading = false;
    await this.#load(true);
  }

  /** Have rows up to this number, if there are so many. */
  async need(last: number): Promise<void> {
    this.#wanted = Math.max(this.#wanted, Math.min(last, MOST_ROWS - 1));
    if (this.loading || this.problem) return;
    while (this.more && this.rows.length <= this.#wanted) {
      const before = this.rows.length;
      const ahead = this.#wanted - before;
      if (!(await this.#load(false, ahead > PAGE ? LARGE_PAGE : PAGE))) return;
    }
  }

  /** Try again what has failed. */
  async again(): Promise<void> {
    this.problem = null;
    if (this.next === undefined) await this.reload();
    else await this.need(Math.max(this.#wanted, this.rows.length));
  }

  async #load(anew: boolean, limit = PAGE): Promise<boolean> {
    const era = this.#era;
    this.loading = true;
    this.onChange();
    try {
      const after = anew ? undefined : (this.next ?? undefined);
      const page = await this.#after(after, limit);
      if (era !== this.#era) return false;
      this.problem = null;
      if (anew) {
        this.rows = page.executions;
        this.#known = new Set(this.rows.map((row) => row.id));
        this.gone.clear();
        this.#stale.clear();
        this.waiting = [];
        this.overflow = this.#gaps = false;
        this.#unknown.clear();
      } else {
        const fresh = page.executions.filter((row) => !this.#known.has(row.id));
        for (const row of fresh) this.#known.add(row.id);
        this.rows = this.rows.concat(fresh);
      }
      this.next = page.next;
      return true;
    } catch (error) {
      if (era === this.#era) this.problem = error;
      return false;
    } finally {
      if (era === this.#era) {
        this.loading = false;
        this.onChange();
      }
    }
  }

  /** A page. If the execution after which it begins was deleted, it begins at the time of the last row. */
  async #after(after: string | undefined, limit: number): Promise<ExecutionPage> {
    try {
      return await this.#source.page(queryOf(this.filter, this.#source.now(), { after, limit }));
    } catch (error) {
      const last = this.rows.at(-1);
      if (after === undefined || last === undefined || !isUnknown(error)) throw error;
      return this.#source.page(queryOf(this.filter, this.#source.now(), { until: last.created + MARGIN, limit }));
    }
  }

  /** These have changed; null: perhaps all. */
  changed(ids: readonly string[] | null): void {
    if (ids === null) {
      for (const row of this.rows) this.#stale.add(row.id);
      this.#gaps = true;
      this.#checked = [0, -1];
      return;
    }
    for (const id of ids) (this.#known.has(id) ? this.#stale : this.#unknown).add(id);
  }

  /** Whether something has changed that concerns the rows from `first` to `last`. */
  dirty(first: number, last: number): boolean {
    if (this.next === undefined) return false;
    if (this.#unknown.size || this.#unchecked(first, last)) return true;
    return this.#stale.size > 0 && this.rows.slice(first, last + 1).some((row) => this.#stale.has(row.id));
  }

  #unchecked(first: number, last: number): boolean {
    return this.#gaps && (first < this.#checked[0] || last > this.#checked[1]);
  }

  /** Read again what has changed of the rows from `first` to `last`, and what is new at the top.
   *
   * `calm`: nobody reads the top of the list, or points at it, so that new rows may come and old ones leave.
   * Returns by how many rows what was in view has moved.
   */
  async refresh(first: number, last: number, calm: boolean): Promise<number> {
    const era = this.#era;
    const now = this.#source.now();
    const anchor = this.rows[first]?.id;
    const old = this.rows.slice(first, last + 1).map((row) => row.id).filter((id) => this.#stale.delete(id));
    const unknown = [...this.#unknown];
    const gaps = this.#unchecked(first, last);
    this.#unknown.clear();
    // Only where rows come into a list late can there be some between the others.
    const late = this.filter.status.length > 0 || this.filter.text.trim() !== "";
    try {
      const [head] = await Promise.all([
        unknown.length || gaps ? this.#source.page(queryOf(this.filter, now, { limit: PAGE })) : null,
        old.length > FEW || gaps ? this.#readPart(first, last, now) : this.#readOnes(old, now),
      ]);
      if (era !== this.#era) return 0;
      if (head !== null) this.#takeHead(head);
      if (late && unknown.length) {
        const seen = new Set(head?.executions.map((row) => row.id));
        const others = unknown.filter((id) => !seen.has(id));
        if (others.length <= FEW) await this.#readOnes(others, now);
        else {
          this.#gaps = true;
          this.#checked = [first, last];
        }
      }
      if (era !== this.#era) return 0;
      if (calm) this.show();
    } catch (error) {
      for (const id of unknown) this.#unknown.add(id);
      for (const id of old) this.#stale.add(id);
      throw error;
    } finally {
      this.onChange();
    }
    if (anchor === undefined) return 0;
    const place = this.rows.findIndex((row) => row.id === anchor);
    return place < 0 ? 0 : place - first;
  }

  /** Read executions one by one. */
  async #readOnes(ids: readonly string[], now: number): Promise<void> {
    const era = this.#era;
    await Promise.all(ids.map(async (id) => {
      const info = await this.#source.one(id);
      if (era === this.#era) this.#set(id, info, now);
    }));
  }

  /** Read what the list has now between two of its rows. */
  async #readPart(first: number, last: number, now: number): Promise<void> {
    const era = this.#era;
    const [newest, oldest] = [this.rows[first], this.rows.slice(first, last + 1).at(-1)];
    if (newest === undefined || oldest === undefined) return;
    const until = newest.created + MARGIN;
    const query = queryOf(this.filter, now, { since: oldest.created, until, limit: LARGE_PAGE });
    const { executions, next } = await this.#source.page(query);
    if (era !== this.#era) return;
    this.#checked = [first, last];
    const from = next === null ? oldest.created : executions.at(-1)!.created;
    const found = new Set(executions.map((row) => row.id));
    const left = this.rows.filter((row) => row.created >= from && row.created < until && !found.has(row.id) && !this.gone.has(row.id));
    for (const row of executions) {
      this.#stale.delete(row.id);
      this.#set(row.id, row, now);
    }
    await this.#readOnes(left.slice(0, 100).map((row) => row.id), now); // they do not fit any more, or are deleted
  }

  #insert(row: ExecutionInfo, now: number): void {
    if (!matches(row, this.filter, now)) return;
    if (this.#known.has(row.id) || this.waiting.some((it) => it.id === row.id)) return;
    const place = this.rows.findIndex((it) => it.created < row.created);
    if (place < 0 && this.more) return; // it comes with a later page
    this.#known.add(row.id);
    this.rows = this.rows.toSpliced(place < 0 ? this.rows.length : place, 0, row);
  }

  /** An execution as it is now; null: it was deleted. */
  #set(id: string, info: ExecutionInfo | null, now: number): void {
    const place = this.rows.findIndex((row) => row.id === id);
    if (place < 0) return void (info !== null && this.#insert(info, now));
    if (info !== null) this.rows = this.rows.with(place, info);
    if (info !== null && matches(info, this.filter, now)) this.gone.delete(id);
    else this.gone.add(id);
  }

  #takeHead(head: ExecutionPage): void {
    const now = new Map(head.executions.map((row) => [row.id, row]));
    const fresh = head.executions.filter((row) => !this.#known.has(row.id));
    this.rows = this.rows.map((row) => now.get(row.id) ?? row);
    for (const id of now.keys()) this.gone.delete(id);
    const end = head.next === null ? -Infinity : head.executions.at(-1)!.created;
    this.overflow = head.next !== null && fresh.length === head.executions.length && this.rows.length > 0;
    const last = this.more ? (this.rows.at(-1)?.created ?? -Infinity) : -Infinity;
    this.waiting = [...fresh, ...this.waiting.filter((row) => row.created < end)].filter((row) => row.created >= last);
  }

  /** Show what is new, and drop what has gone. Returns whether the list has to be read anew for that. */
  show(): boolean {
    if (this.overflow) {
      void this.reload();
      return true;
    }
    const fresh = this.waiting;
    this.waiting = [];
    for (const row of fresh) this.#known.add(row.id);
    for (const id of this.gone) this.#known.delete(id);
    if (fresh.length || this.gone.size) {
      const left = this.rows.filter((row) => !this.gone.has(row.id));
      this.rows = [...fresh, ...left].sort((one, other) => other.created - one.created);
    }
    this.gone.clear();
    this.onChange();
    return false;
  }
}

function isUnknown(error: unknown): boolean {
  return (error as { problem?: { code?: string } } | null)?.problem?.code === "unknown_execution";
}
