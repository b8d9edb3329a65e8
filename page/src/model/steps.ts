/**
 * How the boxes of a drawing stand at a moment: the same states and counts as in the terminal (terminal/model.py).
 *
 * The frames tell of runs, and not of the items of a for_each: which run belongs to which item follows from what has
 * caused it, and from the way by which a value gets into the block.
 */
import { FINAL, WORST, type State } from "../status";
import type { DrawnBox, DrawnLine, Drawing, Frame, RunChange } from "../wire/types";
import { DOING, Versions } from "./fold";
import type { Moment, OperatorState, Track } from "./track";

/** Records whose value can start a for_each. */
const GIVES_VALUE = new Set(["started", "completed", "emitted", "resumed", "state", "flow_data"]);
/** Boxes that nothing runs in. */
const NO_STEP = new Set(["point", "start", "gate", "collect", "result", "signal", "data", "error", "timer"]);
/** Boxes through which a signal goes without a run. */
const NO_RUN = new Set(["point", "gate", "collect", "opener", "choice"]);

/** A box in which something can run; of a condition, which has none, the line that it stands on. */
interface Step {
  key: string; shape: string; block: string | null; operators: string[];
  /** The for_each of whose items each comes through here, and the one that this box opens. */
  each: Each | null; opens: Each | null;
  /** For the head of a block: the steps inside. */
  inside: Step[];
}

/** How the items of a for_each stand from some frame on. */
interface ItemCounts { begun: number; done: number; failed: number; total: number; open: number; exact: boolean }

/** A for_each: how many items it has, and how they have ended. */
class Each {
  total = 0;
  begun = 0;
  done = 0;
  failed = 0;
  /** Whether the lists are known with which it was entered, and the lazy sources among them. */
  known = true;
  readonly sources: Source[] = [];
  /** Whether each item of a for_each right around it is a list of its items; that for_each is not counted. */
  flat = false;
  open = 0;
  readonly openings = new Map<number | Source, Map<Item | null, Opening>>();
  /** For each operator that can be the first for an item, the way by which it is reached. */
  readonly entries = new Map<string, string>();
  /** The items that have begun with this frame. */
  fresh: Item[] = [];
  readonly counts = new Versions<ItemCounts>();
  constructor(readonly block: string, readonly box: string, public outer: Each | null) {}
  keep(frame: number): void {
    const { begun, done, failed, total, open } = this;
    this.counts.put(frame, { begun, done, failed, total, open, exact: this.known && this.sources.every((it) => it.done) });
  }
}

/** One time that a for_each was entered, with the list that it got, as far as that is known. */
interface Opening { values: unknown[]; parent: Item | null; begun: number }

/** What a lazy source has given so far, and the for_each that takes it, once that has begun with an item. */
interface Source { values: unknown[]; done: boolean; each: Each | null }

/** An item of a for_each that has begun. `number` counts from 1 in the order in which items begin. */
export interface Item { number: number; value: unknown; hasValue: boolean }

class Open implements Item {
  readonly number: number;
  readonly parent: Open | null;
  /** How many runs, questions and items of inner for_each blocks it has that are open. */
  runs = 0;
  failed = false;
  over = false;
  /** By which ways it has entered the block. */
  readonly entered = new Set<string>();
  constructor(readonly each: Each, readonly opening: Opening) {
    this.parent = opening.parent as Open | null;
    this.number = ++opening.begun;
  }
  get hasValue(): boolean {
    return this.opening.values.length >= this.number;
  }
  get value(): unknown {
    return this.opening.values[this.number - 1];
  }
}

/** What stands beside the name of a step: `4/7`, or `12` while nobody knows of how many; nothing for a single run. */
export function counted(state: OperatorState): string {
  if (state.more) return state.total ? state.ended.toLocaleString("en") : "";
  if (state.items ? !state.total : state.total < 2) return "";
  return `${state.ended.toLocaleString("en")}/${state.total.toLocaleString("en")}`;
}

/** The states of a drawing at all moments of a track. Frames that were added to the track are taken when it is asked. */
export class Steps {
  #steps: Step[] = [];
  /** By operator; conditions have steps of their own. */
  #of = new Map<string, Step>();
  #each = new Map<string, Each>();
  #parents = new Map<string, string | null>();
  #back = new Set<string>();
  #taken = 0;
  /** Of all runs in a for_each: the item and the step. */
  #items = new Map<number, { item: Open; step: Step }>();
  #open = new Set<number>();
  /** For runs of conditions: the frame whose value they look at, and the run behind it. */
  #behind = new Map<number, [number, number | null]>();
  /** Open questions: the item that asks, and whether its run has ended by asking, so that the question holds it open. */
  #asked = new Map<string, { item: Open | null; holds: boolean }>();
  #sources = new Map<unknown, Source>();
  #pulled = new Map<number, Source>();
  #touched: Open[] = [];
  #changed = new Set<Each>();
  #made: { moment: number; states: ReadonlyMap<string, OperatorState> } | undefined;

  constructor(readonly track: Track, readonly drawing: Drawing) {
    this.#draw(drawing);
  }

  /** The states by operator. Of a box that stands for several operators, the first has the state of the whole box. */
  at(moment: Moment): ReadonlyMap<string, OperatorState> {
    this.#take();
    if (this.#made?.moment === moment.number) return this.#made.states;
    const states = new Map<string, OperatorState>();
    const inside = new Map<Step, OperatorState>();
    for (const [operator, step] of this.#of) if (step.shape === "hidden") {
      const own = moment.operators.get(operator);
      if (own === undefined) continue;
      states.set(operator, own);
      if (own.failed) inside.set(step, own); // it is seen only if it fails
    }
    for (const step of this.#steps) {
      if (step.shape === "opener" || step.shape === "choice") continue;
      const state = this.#stateOf(step, moment);
      inside.set(step, state);
      if (state.total || state.state !== "idle") states.set(step.operators[0]!, state);
    }
    for (const step of this.#steps) {
      if (step.shape !== "opener" && step.shape !== "choice") continue;
      const [operator] = step.operators;
      if (operator !== undefined) states.set(operator, this.#headOf(step, moment, inside));
    }
    this.#made = { moment: moment.number, states };
    return states;
  }

  /** The item of a for_each that a run belongs to. */
  itemOf(run: number): Item | null {
    this.#take();
    return this.#items.get(run)?.item ?? null;
  }

  /** Whether an operator has a box. Conditions have none: they stand on the lines that go through them. */
  hasBox(operator: string): boolean {
    const step = this.#of.get(operator);
    return step !== undefined && step.shape !== "hidden";
  }

  /** The first operator of the box that an operator shares with others: `at` has the state of the box there. */
  boxOf(operator: string): string {
    return this.#of.get(operator)?.operators[0] ?? operator;
  }

  #stateOf(step: Step, moment: Moment): OperatorState {
    let whole: OperatorState | undefined;
    for (const operator of step.operators) {
      const one = moment.operators.get(operator);
      if (one === undefined) continue;
      whole = whole === undefined ? { ...one } : {
        state: worst(whole, one), total: whole.total + one.total, ended: whole.ended + one.ended,
        failed: whole.failed + one.failed, cancelled: whole.cancelled + one.cancelled, last: Math.max(whole.last, one.last),
      };
    }
    whole ??= { state: "idle", total: 0, ended: 0, failed: 0, cancelled: 0, last: 0 };
    if (step.each !== null) {
      if (whole.total > 1 && !isDoing(whole.state) && whole.failed + whole.cancelled) {
        whole.state = whole.failed ? "failed" : "cancelled";
      }
      whole.total = Math.max(whole.total, step.each.counts.at(moment.number)?.total ?? 0);
    }
    return whole;
  }

  /** The head of a block: its state is the worst of the steps inside, and a for_each counts its items. */
  #headOf(step: Step, moment: Moment, inside: ReadonlyMap<Step, OperatorState>): OperatorState {
    const counts = step.opens?.counts.at(moment.number);
    const among = new Set<State>();
    for (const it of step.inside) {
      const own = inside.get(it);
      if (own !== undefined) among.add(own.state);
    }
    let state: State | undefined;
    if (counts && !FINAL.has(moment.recorded) && (counts.open || (counts.exact && counts.done + counts.failed < counts.total))) {
      state = DOING.find((it) => among.has(it)) ?? "running";
    } else if (counts?.failed) state = "failed";
    state ??= WORST.find((it) => among.has(it)) ?? "idle";
    const { done = 0, failed = 0, total = 0, exact = true } = counts ?? {};
    const items = step.opens !== null;
    return { state, total, ended: done + failed, failed, cancelled: 0, last: 0, ...(items ? { items, more: !exact } : {}) };
  }

  // -- the drawing -----------------------------------------------------------------------------------------------------

  #draw(drawing: Drawing): void {
    for (const block of drawing.blocks) this.#parents.set(block.key, block.parent);
    const boxes = new Map(drawing.boxes.map((it) => [it.key, it]));
    const byKey = new Map<string, Step>();
    const openers = new Map<string, DrawnBox>();
    for (const box of drawing.boxes) {
      if (box.shape === "opener") for (const operator of box.operators) openers.set(operator, box);
      if (NO_STEP.has(box.shape) || !box.lines.length) continue;
      const { key, shape, block, operators } = box;
      const step: Step = { key, shape, block, operators, each: null, opens: null, inside: [] };
      this.#steps.push(step);
      byKey.set(key, step);
      for (const operator of operators) this.#of.set(operator, step);
    }
    for (const block of drawing.blocks) {
      const opener = openers.get(block.operator);
      if (!opener?.lines[0]?.startsWith("for each")) continue;
      const each = new Each(block.key, opener.key, this.#around(block.parent));
      this.#each.set(block.key, each);
      byKey.get(opener.key)!.opens = each;
    }
    const order = new Map(drawing.boxes.map((it, place) => [it.key, place]));
    const leaving = new Map<string, DrawnLine[]>();
    for (const line of drawing.lines) {
      leaving.set(line.source, [...(leaving.get(line.source) ?? []), line]);
      for (const operator of line.operators) {
        if (this.#of.has(operator)) continue;
        const block = boxes.get(line.source)?.block ?? null;
        this.#of.set(operator, { key: operator, shape: "hidden", block, operators: [operator], each: null, opens: null, inside: [] });
      }
      if (order.get(line.target)! <= order.get(line.source)!) this.#back.add(`${line.source} ${line.target}`);
    }
    for (const each of [...this.#each.values()]) {
      const { outer } = each;
      if (outer === null || !(leaving.get(outer.box) ?? []).some((it) => boxes.get(it.target)?.shape === "opener")) continue;
      byKey.get(outer.box)!.opens = null;
      this.#each.delete(outer.block);
      each.flat = true;
      each.outer = outer.outer;
    }
    for (const step of this.#steps) {
      step.each = step.opens === null ? (this.#each.get(step.block ?? "") ?? null) : null;
      if (step.opens !== null) this.#findEntries(step.opens, boxes.get(step.key)!, "", boxes, leaving, new Set());
      if (step.shape !== "opener" && step.shape !== "choice") continue;
      const blocks = this.#blocksIn(step.block);
      step.inside = [...new Set(this.#of.values())].filter((it) => it.block !== null && blocks.has(it.block) && it.shape !== "opener" && it.shape !== "choice");
    }
  }

  #blocksIn(block: string | null): Set<string> {
    const found = new Set(block === null ? [] : [block]);
    for (const [key, parent] of this.#parents) if (parent !== null && found.has(parent)) found.add(key);
    return found;
  }

  /** The innermost for_each around a block, or that block itself. */
  #around(block: string | null): Each | null {
    let at = block;
    while (at !== null && !this.#each.has(at)) at = this.#parents.get(at) ?? null;
    return at === null ? null : this.#each.get(at)!;
  }

  /** The operators that can be the first for an item. Branches of which one is taken are one way. */
  #findEntries(
    each: Each, box: DrawnBox, way: string, boxes: ReadonlyMap<string, DrawnBox>, leaving: ReadonlyMap<string, DrawnLine[]>,
    seen: Set<string>,
  ): void {
    seen.add(box.key);
    const known = box.shape === "choice" && box.lines[0]?.startsWith("first") ? way || box.key : way;
    const put = (operator: string, by: string): void => {
      if (!each.entries.has(operator)) each.entries.set(operator, by);
    };
    for (const line of leaving.get(box.key) ?? []) {
      const target = boxes.get(line.target);
      if (target === undefined || this.#back.has(`${line.source} ${line.target}`) || seen.has(target.key)) continue;
      for (const operator of line.operators) put(operator, operator);
      if (NO_RUN.has(target.shape)) this.#findEntries(each, target, known, boxes, leaving, seen);
      for (const operator of target.operators) put(operator, known || operator);
    }
  }

  // -- the frames ------------------------------------------------------------------------------------------------------

  #take(): void {
    const { frames } = this.track;
    if (this.#taken === frames.length) return;
    if (this.#each.size) while (this.#taken < frames.length) this.#takeOne(frames[this.#taken++]!, frames[this.#taken - 2]);
    this.#taken = frames.length;
  }

  #takeOne(frame: Frame, before: Frame | undefined): void {
    const record = frame.record ?? {}, { number } = frame;
    if (frame.state) {
      for (const run of [...this.#open]) this.#finish(run, false);
      this.#asked.clear();
      for (const run of frame.state.runs) this.#begin(frame, { ...run, sub_flow: undefined });
      for (const question of frame.state.questions) this.#asked.set(question.id, { item: null, holds: false });
    } else if (frame.kind === "pulled") this.#pull(number, record);
    for (const change of frame.runs ?? []) {
      if (change.phase !== "ended") {
        if (!this.#open.has(change.run)) this.#begin(frame, change);
      } else if (this.#open.has(change.run)) this.#finish(change.run, frame.kind === "failed" && record.run === change.run);
    }
    for (const question of frame.questions ?? []) {
      if (question.open) {
        const run = frame.kind === "paused" && record.interrupt === question.id ? (record.run as number) : -1;
        const item = this.#items.get(run)?.item ?? null;
        const holds = item !== null && !this.#open.has(run);
        if (holds) this.#hold(item);
        this.#asked.set(question.id, { item, holds });
      } else {
        const asked = this.#asked.get(question.id);
        this.#asked.delete(question.id);
        if (asked?.item && asked.holds) this.#release(asked.item);
      }
    }
    if (FINAL.has(frame.status) && !FINAL.has(before?.status ?? "created")) {
      for (const run of [...this.#open]) this.#finish(run, false);
    }
    if (this.#touched.length) this.#settle();
    for (const each of this.#changed) each.keep(number);
    this.#changed.clear();
  }

  #begin(frame: Frame, change: RunChange): void {
    this.#open.add(change.run);
    const step = this.#of.get(change.operator);
    if (step === undefined || step.shape === "hidden") this.#behind.set(change.run, [change.cause ?? 0, change.by ?? null]);
    if (step === undefined) return;
    const item = this.#itemOf(frame, change, step);
    if (item === null) return;
    this.#items.set(change.run, { item, step });
    this.#hold(item);
  }

  #finish(run: number, failed: boolean): void {
    this.#open.delete(run);
    const item = this.#items.get(run)?.item;
    if (item === undefined) return;
    item.failed ||= failed;
    this.#release(item);
  }

  /** The item that a new run belongs to, which may begin with it. */
  #itemOf(frame: Frame, change: RunChange, step: Step): Open | null {
    const known = this.#items.get(change.run);
    if (known !== undefined) return known.item;
    const from = change.by === undefined || change.by === null ? undefined : this.#items.get(change.by);
    let origin = from?.item ?? null;
    if (frame.kind === "resumed") {
      const asked = this.#asked.get(String(frame.record?.interrupt));
      if (asked !== undefined) origin = asked.item;
    }
    const each = this.#around(step.block);
    if (each === null) return null;
    const again = from !== undefined && this.#back.has(`${from.step.key} ${step.key}`);
    return this.#place(each, change, origin, again);
  }

  #place(each: Each, change: RunChange, origin: Open | null, again: boolean): Open | null {
    const way = each.entries.get(change.operator);
    let same = origin;
    while (same !== null && same.each !== each) same = same.parent;
    if (same !== null && (way === undefined || again || !same.entered.has(way))) {
      if (way !== undefined) same.entered.add(way);
      return same;
    }
    if (way === undefined) return null;
    for (const item of each.fresh as Open[]) {
      if (item.entered.has(way)) continue;
      item.entered.add(way);
      return item;
    }
    let opening: Opening;
    if (same !== null) opening = same.opening;
    else {
      const parent = each.outer === null ? null : this.#place(each.outer, change, origin, again);
      opening = this.#opening(each, change, parent);
    }
    each.begun++;
    each.total = Math.max(each.total, each.begun);
    const item = new Open(each, opening);
    item.entered.add(way);
    each.open++;
    each.fresh.push(item);
    this.#changed.add(each);
    this.#touched.push(item);
    if (item.parent !== null) this.#hold(item.parent);
    return item;
  }

  /** The opening that a new item belongs to: the one that the same frame has caused. */
  #opening(each: Each, change: RunChange, parent: Open | null): Opening {
    let cause = change.cause ?? 0, by = change.by ?? null;
    while (by !== null && this.#behind.has(by)) [cause, by] = this.#behind.get(by)!; // a condition has let the value through
    const source = this.#pulled.get(cause), key = source ?? cause;
    let openings = each.openings.get(key);
    if (openings === undefined) each.openings.set(key, (openings = new Map()));
    const known = openings.get(parent);
    if (known !== undefined) return known;
    let values = source === undefined ? this.#listOf(cause) : source.values;
    if (source !== undefined) {
      source.each = each;
      each.sources.push(source);
    }
    if (values !== undefined && each.flat) values = values.flatMap((it) => (Array.isArray(it) ? it : []));
    const made: Opening = { values: values ?? [], parent, begun: 0 };
    openings.set(parent, made);
    each.known &&= values !== undefined;
    each.total += made.values.length;
    return made;
  }

  /** The list that a frame has given. */
  #listOf(number: number): unknown[] | undefined {
    const frame = this.track.frame(number), record = frame?.record ?? {};
    if (frame === undefined || frame.state) return undefined;
    if (frame.kind === "items_given") return (record.items as unknown[] | undefined) ?? [];
    return GIVES_VALUE.has(frame.kind) && Array.isArray(record.value) ? record.value : undefined;
  }

  /** A lazy source has given items. */
  #pull(number: number, record: Record<string, unknown>): void {
    let source = this.#sources.get(record.opening);
    if (source === undefined) this.#sources.set(record.opening, (source = { values: [], done: false, each: null }));
    this.#pulled.set(number, source);
    const items = (record.items as unknown[] | undefined) ?? [];
    for (const item of items) source.values.push(item);
    source.done = Boolean(record.done);
    if (source.each === null) return;
    source.each.total = Math.max(source.each.total + items.length, source.each.begun);
    this.#changed.add(source.each);
  }

  #hold(item: Open): void {
    item.runs++;
    if (!item.over) return;
    item.over = false; // it goes on: after a retry, or with a signal that came late
    if (item.failed) item.each.failed--;
    else item.each.done--;
    item.failed = false;
    item.each.open++;
    this.#changed.add(item.each);
    if (item.parent !== null) this.#hold(item.parent);
  }

  #release(item: Open): void {
    item.runs--;
    this.#touched.push(item);
  }

  /** After a frame: items of which nothing is open have ended. */
  #settle(): void {
    for (const item of this.#touched) { // grows meanwhile
      const { each } = item;
      each.fresh = [];
      if (item.runs || item.over) continue;
      item.over = true;
      each.open--;
      if (item.failed) each.failed++;
      else each.done++;
      this.#changed.add(each);
      if (item.parent !== null) this.#release(item.parent);
    }
    this.#touched = [];
  }
}

function isDoing(state: State): boolean {
  return (DOING as readonly State[]).includes(state);
}

/** What one of two does, the worst first; if none does anything, how the later one has ended. */
function worst(one: OperatorState, other: OperatorState): State {
  const doing = DOING.find((it) => it === one.state || it === other.state);
  return doing ?? (other.last >= one.last ? other.state : one.state);
}
