/**
 * The fold of frames to moments: what `Moment` in triggerflow/backend/moments.py is for Python, for all moments at once.
 *
 * Each frame is taken once. What it changes is kept with its number: a run, a key, a question has a list of versions, the
 * oldest first. A moment is then a view that looks up the versions of its number when somebody asks, so that it costs the
 * same whether there are fifty frames or fifty thousand, and stays as it is when more come.
 */
import { FINAL, type State, type Status } from "../status";
import type { Failed, Frame, Phase, RunChange, StateInfo } from "../wire/types";
import { Axis, upTo } from "./axis";
import type { Moment, OperatorState, Question, Run, RunMap, Segment, StreamItem, Track } from "./track";

type Doing = Segment["state"];
type Outcome = "done" | "failed" | "cancelled";
type Open = { -readonly [Key in keyof Segment]: Segment[Key] };

const PHASES: Record<Phase, Doing> = { ready: "queued", running: "running", waiting: "waiting", backoff: "backoff" };
/** What an operator does, if several of its runs do something. */
export const DOING: readonly Doing[] = ["running", "backoff", "asking", "waiting", "queued"];
const NONE: readonly string[] = [];
const NOTHING: ReadonlySet<string> = new Set();

/** The versions of one thing: what it was from which frame on. */
export class Versions<T> {
  readonly frames: number[] = [];
  readonly values: T[] = [];
  put(frame: number, value: T): void {
    const last = this.frames.length - 1;
    if (this.frames[last] === frame) this.values[last] = value;
    else this.values[this.frames.push(frame) - 1] = value;
  }
  at(frame: number): T | undefined {
    const last = this.frames.length - 1;
    return this.frames[last]! <= frame ? this.values[last] : this.values[upTo(this.frames, frame) - 1];
  }
  get last(): T | undefined {
    return this.values[this.values.length - 1];
  }
}

/** A value of the state. Appending costs the same for a long list: versions share a log, and know how much of it is theirs. */
class Value {
  #log: unknown[] | null = null;
  #length = 0;
  #list: unknown[] | undefined;
  /** `place`: keys are in the order of this number. */
  constructor(readonly place: number, private readonly value: unknown) {}
  get(): unknown {
    return this.#log === null ? this.value : (this.#list ??= this.#log.slice(0, this.#length));
  }
  append(item: unknown): Value {
    const next = new Value(this.place, null);
    next.#log = this.#log?.length === this.#length ? this.#log : [...(this.get() as unknown[])];
    next.#length = next.#log.push(item);
    return next;
  }
}

/** A run at a version of it. */
class View implements Run {
  readonly #all: Line;
  readonly #parts: number;
  readonly #over: boolean;
  #segments: readonly Segment[] | undefined;
  readonly id; readonly chunk; readonly operator; readonly cause; readonly by; readonly began;
  readonly state; readonly phase; readonly attempt; readonly losses; readonly ended; readonly output; readonly hasOutput;
  readonly error; readonly questions;
  constructor(all: Line) {
    this.#all = all;
    this.#parts = all.segments.length;
    this.#over = all.open === undefined;
    this.id = all.id; this.chunk = all.chunk; this.operator = all.operator;
    this.cause = all.cause; this.by = all.by; this.began = all.began;
    this.state = all.state; this.phase = all.phase; this.attempt = all.attempt; this.losses = all.losses;
    this.ended = all.ended; this.output = all.output; this.hasOutput = all.hasOutput;
    this.error = all.error; this.questions = all.questions;
  }
  // what is told of a run later holds for all of its versions
  get input(): unknown { return this.#all.input; }
  get hasInput(): boolean { return this.#all.hasInput; }
  get subFlow(): string | null { return this.#all.subFlow; }
  get segments(): readonly Segment[] {
    if (this.#segments === undefined) {
      const segments = this.#all.segments.slice(0, this.#parts), last = this.#parts - 1;
      if (!this.#over && last >= 0) segments[last] = { ...segments[last]!, end: null, mark: "" };
      this.#segments = segments;
    }
    return this.#segments;
  }
}

/** All that is known of a run. */
class Line {
  readonly segments: Open[] = [];
  readonly views = new Versions<View>();
  state: State = "idle";
  phase: Phase | "ended" = "ready";
  attempt = 1;
  losses = 0;
  ended: number | null = null;
  output: unknown = undefined;
  hasOutput = false;
  error: Failed | null = null;
  questions: readonly string[] = NONE;
  input: unknown = undefined;
  hasInput = false;
  subFlow: string | null = null;
  constructor(
    readonly id: number, readonly chunk: string, readonly operator: string, readonly cause: number,
    readonly by: number | null, readonly began: number,
  ) {}
  get open(): Open | undefined {
    const last = this.segments[this.segments.length - 1];
    return last?.end === null ? last : undefined;
  }
}

/** How many runs of an operator are in which state. */
class Counts {
  readonly of: Partial<Record<State, number>> = {};
  readonly views = new Versions<OperatorState>();
  total = 0;
  last: Outcome | null = null;
  #when = 0;
  move(from: State, to: State, frame: number): void {
    if (from === "idle") this.total++;
    else this.of[from]!--;
    this.of[to] = (this.of[to] ?? 0) + 1;
    if (to === "done" || to === "failed" || to === "cancelled") {
      this.last = to;
      this.#when = frame;
    }
    this.views.put(frame, this.#view());
  }
  #view(): OperatorState {
    const { done = 0, failed = 0, cancelled = 0 } = this.of;
    const state = DOING.find((it) => this.of[it]) ?? this.last ?? "idle";
    return { state, total: this.total, ended: done + failed + cancelled, failed, cancelled, last: this.#when };
  }
}

/** The runs up to a moment; nothing is made until it is asked for. */
class Runs implements RunMap {
  constructor(
    private readonly order: readonly Line[], private readonly lines: ReadonlyMap<number, Line>, readonly size: number,
    private readonly moment: number,
  ) {}
  get(id: number): Run | undefined {
    return this.lines.get(id)?.views.at(this.moment);
  }
  *values(): Generator<Run, undefined> {
    for (let place = 0; place < this.size; place++) yield this.order[place]!.views.at(this.moment)!;
  }
}

/** What an execution was before its first frame, and what holds for all its moments. */
class Before {
  readonly order: Line[] = [];
  /** The frames with which the runs in `order` began. */
  readonly begins: number[] = [];
  readonly lines = new Map<number, Line>();
  readonly operators = new Map<string, Counts>();
  readonly questions = new Map<string, Versions<Question | null>>();
  readonly keys = new Map<string, Versions<Value | null>>();
  readonly statuses = new Versions<Status>();
  readonly definitions = new Versions<string>();
  readonly starts = new Versions<{ started: boolean; input: unknown }>();
  readonly reasons = new Versions<string>();
  readonly items: StreamItem[] = [];
  /** Frames with items, and how many items there are from each on. */
  readonly counts = new Versions<number>();
}

class At implements Moment {
  #runs: Runs | undefined;
  #operators: Map<string, OperatorState> | undefined;
  #questions: Map<string, Question> | undefined;
  #state: Map<string, unknown> | undefined;
  constructor(private readonly all: Before, private readonly frame: Frame | undefined, readonly at: number) {}
  get number(): number { return this.frame?.number ?? 0; }
  get recorded(): Status { return this.frame?.status ?? "created"; }
  get status(): Status { return this.all.statuses.at(this.number) ?? "created"; }
  get definition(): string { return this.all.definitions.at(this.number) ?? ""; }
  get started(): boolean { return this.all.starts.at(this.number)?.started ?? false; }
  get input(): unknown { return this.all.starts.at(this.number)?.input; }
  get items(): number { return this.all.counts.at(this.number) ?? 0; }
  get hasResult(): boolean { return this.frame?.has_result ?? this.frame?.state?.has_result ?? false; }
  get result(): unknown { return this.hasResult ? (this.frame?.state ?? this.frame)?.result ?? null : null; }
  get error(): Failed | null { return this.frame?.error ?? this.frame?.state?.error ?? null; }
  get reason(): string { return this.all.reasons.at(this.number) ?? ""; }
  get changed(): ReadonlySet<string> {
    return this.frame?.kind === "state" ? new Set([String(this.frame.record?.key)]) : NOTHING;
  }
  get runs(): Runs {
    return (this.#runs ??= new Runs(this.all.order, this.all.lines, upTo(this.all.begins, this.number), this.number));
  }
  get operators(): ReadonlyMap<string, OperatorState> {
    return (this.#operators ??= there(this.all.operators, (it) => it.views.at(this.number)));
  }
  get questions(): ReadonlyMap<string, Question> {
    return (this.#questions ??= there(this.all.questions, (it) => it.at(this.number)));
  }
  get state(): ReadonlyMap<string, unknown> {
    if (this.#state === undefined) {
      const found = [...there(this.all.keys, (it) => it.at(this.number))].sort(([, one], [, other]) => one.place - other.place);
      this.#state = new Map(found.map(([key, value]) => [key, value.get()]));
    }
    return this.#state;
  }
}

/** A map of what there is of each of these. */
function there<T, V>(all: ReadonlyMap<string, T>, of: (it: T) => V | null | undefined): Map<string, V> {
  const found = new Map<string, V>();
  for (const [key, it] of all) {
    const value = of(it);
    if (value !== null && value !== undefined) found.set(key, value);
  }
  return found;
}

/** A track without frames. */
export function newTrack(id: string): Track {
  return new Fold(id);
}

/** The frames of one execution, folded. */
export class Fold implements Track {
  readonly frames: Frame[] = [];
  readonly axis = new Axis();
  #all = new Before();
  /** The times of the frames; where the clock was set back, that of the frame before. */
  #times: number[] = [];
  /** How many runs are at work, and how many have a question that their sub-flow asks. */
  #working = 0;
  #asking = 0;
  #busy = false;
  #restarted = false;
  /** The time of the frame before. */
  #before = 0;
  #places = 0;
  #made = new Map<number, Moment>();
  #shown: readonly StreamItem[] = [];

  constructor(readonly id: string) {}

  get first(): number {
    const frame = this.frames[0];
    return frame === undefined ? 0 : frame.state ? frame.number : frame.number - 1;
  }
  get last(): number { return this.frames.at(-1)?.number ?? 0; }
  get definition(): string { return this.#all.definitions.last ?? ""; }
  get began(): number { return this.#times[0] ?? 0; }
  get until(): number { return this.#times.at(-1) ?? 0; }

  add(frames: readonly Frame[]): void {
    for (const frame of frames) if (frame.number > this.last) this.#take(frame);
  }

  at(moment: number): Moment {
    const place = this.#place(moment);
    const frame = this.frames[place];
    const number = frame?.number ?? 0;
    let made = this.#made.get(number);
    if (made === undefined) {
      if (this.#made.size > 32) this.#made.clear();
      made = new At(this.#all, frame, frame?.at ?? this.began);
      this.#made.set(number, made);
    }
    return made;
  }

  frame(number: number): Frame | undefined {
    const frame = this.frames[this.#place(number)];
    return frame?.number === number ? frame : undefined;
  }

  momentAt(time: number): number {
    return this.frames[upTo(this.#times, time) - 1]?.number ?? this.first;
  }

  items(moment: number): readonly StreamItem[] {
    const all = this.#all.items;
    const count = upTo(all, moment, (it) => it.frame);
    if (this.#shown.length !== count || this.#shown[0] !== all[0]) this.#shown = all.slice(0, count);
    return this.#shown;
  }

  /** The place of the last frame up to this number; -1 before the first. */
  #place(number: number): number {
    const { frames } = this;
    if (!frames.length || number < frames[0]!.number) return frames[0]?.state ? 0 : -1;
    if (number >= this.last) return frames.length - 1;
    const direct = number - frames[0]!.number;
    if (frames[direct]?.number === number) return direct;
    return upTo(frames, number, (it) => it.number) - 1; // there is a hole where a compaction was faster than the reader
  }

  #take(frame: Frame): void {
    const all = this.#all, { number, kind } = frame, record = frame.record ?? {};
    const before = this.until, at = Math.max(frame.at, before);
    this.#before = before;
    const was = all.statuses.last ?? "created", wasRecorded = this.frames.at(-1)?.status ?? "created";
    if (!this.frames.length) {
      this.#made.clear();
      this.axis.turn(at, true);
      this.#busy = true;
    }
    if (frame.definition) all.definitions.put(number, frame.definition);
    const idle = this.#restarted || (kind === "recovered" && this.#isLoss(frame));
    if (idle && at > before && this.#busy && this.frames.length) {
      this.axis.turn(before, false); // nobody was at work, or nobody knows since when
      this.#busy = false;
    }
    this.frames.push(frame);
    this.#times.push(at);
    this.#restarted = frame.state !== undefined && frame.state !== null;
    if (frame.state) this.#restart(frame, frame.state, at);
    else {
      if (kind === "started") all.starts.put(number, { started: true, input: record.value });
      else if (kind === "cancel_requested") all.reasons.put(number, String(record.reason ?? ""));
      else if (kind === "retried") all.reasons.put(number, "");
      else if (kind === "state") this.#change(number, String(record.key), record.op, record.value ?? null);
      for (const change of frame.runs ?? []) if (change.phase === "ended") this.#run(frame, record, change, at);
      // a question comes after the end of the run that asks it, and before the begin of one that its answer starts
      for (const question of frame.questions ?? []) {
        if (question.open) this.#ask(frame, record, question.id, question.inside ?? false, at);
        else this.#close(frame, question.id, at);
      }
      for (const change of frame.runs ?? []) if (change.phase !== "ended") this.#run(frame, record, change, at);
      if (frame.item) {
        const run = typeof record.run === "number" ? record.run : null;
        all.items.push({ number: frame.item, frame: number, item: record.item ?? null, path: String(record.path ?? ""), run });
        all.counts.put(number, frame.item);
      }
    }
    if (FINAL.has(frame.status) && !FINAL.has(wasRecorded)) {
      for (const line of this.#open.values()) this.#finish(line, number, at, "cancelled", false);
    }
    const busy = this.#working > 0;
    if (busy !== this.#busy) {
      this.#busy = busy;
      this.axis.turn(at, busy);
    }
    const status = frame.status === "running" && !this.#working && this.#asking ? "waiting" : frame.status;
    if (status !== was) all.statuses.put(number, status);
  }

  /** The runs that are open: all but those that have ended, and those that have asked. */
  #open = new Map<number, Line>();

  #isLoss(frame: Frame): boolean {
    return (frame.runs ?? []).some((it) => (it.losses ?? 0) > (this.#open.get(it.run)?.losses ?? Infinity));
  }

  #change(frame: number, key: string, op: unknown, value: unknown): void {
    const keys = this.#all.keys;
    let versions = keys.get(key);
    if (versions === undefined) keys.set(key, (versions = new Versions()));
    const known = versions.last;
    if (op === "delete") versions.put(frame, null);
    else if (op === "append") versions.put(frame, (known ?? new Value(this.#places++, [])).append(value));
    else versions.put(frame, new Value(known?.place ?? this.#places++, value));
  }

  /** The frames before are gone: what is open now is all that is known. */
  #restart(frame: Frame, whole: StateInfo, at: number): void {
    const all = this.#all, { number } = frame;
    all.starts.put(number, { started: whole.started, input: whole.value });
    all.reasons.put(number, whole.reason);
    all.counts.put(number, whole.items);
    for (const [key, versions] of all.keys) if (versions.last && !Object.hasOwn(whole.state, key)) versions.put(number, null);
    for (const [key, value] of Object.entries(whole.state)) this.#change(number, key, "set", value);
    const asked = new Set(whole.questions.map((it) => it.id));
    for (const [id, versions] of all.questions) if (versions.last && !asked.has(id)) this.#close(frame, id, at);
    const open = new Set(whole.runs.map((it) => it.run));
    for (const line of [...this.#open.values()]) if (!open.has(line.id)) this.#finish(line, number, at, "cancelled", true);
    for (const run of whole.runs) {
      const { sub_flow: subFlow, ...rest } = run;
      this.#run(frame, {}, subFlow === null ? rest : { ...rest, sub_flow: subFlow }, at);
      const line = all.lines.get(run.run)!;
      line.input = run.value;
      line.hasInput = true;
    }
    for (const it of whole.questions) {
      const known = all.questions.get(it.id)?.last;
      if (known) continue;
      this.#question(number, {
        id: it.id, type: it.type, chunk: it.chunk, payload: it.payload, since: it.since ?? frame.at, run: null, inside: it.inside,
      });
    }
  }

  #run(frame: Frame, record: Record<string, unknown>, change: RunChange, at: number): void {
    const all = this.#all, own = record.run === change.run;
    let line = all.lines.get(change.run);
    if (change.phase === "ended") {
      if (line === undefined || !this.#open.has(line.id)) {
        if (line !== undefined && line.phase !== "ended") { // it was open when the execution ended
          line.phase = "ended";
          this.#keep(line, frame.number);
        }
        return;
      }
      const kind = own ? frame.kind : "";
      if (kind === "completed") {
        line.output = record.value ?? null;
        line.hasOutput = true;
        line.error = failed(record.failure);
      } else if (kind === "failed") line.error = failed(record.error);
      const outcome = kind === "failed" ? "failed" : kind === "completed" || kind === "paused" ? "done" : "cancelled";
      this.#finish(line, frame.number, at, outcome, true);
      return;
    }
    const attempt = change.attempt ?? 1, losses = change.losses ?? 0;
    if (line === undefined) {
      const by = change.by ?? this.frame(change.cause ?? 0)?.record?.run;
      line = new Line(
        change.run, change.chunk, change.operator, change.cause ?? 0, typeof by === "number" ? by : null, frame.number,
      );
      all.lines.set(line.id, line);
      all.order.push(line);
      all.begins.push(frame.number);
    } else if (losses > line.losses && this.#open.has(line.id)) {
      if (line.open) {
        line.open.mark = "lost";
        line.open.seen = Math.max(this.#before, line.open.start);
      }
    } else if (own && frame.kind === "failed") {
      line.error = failed(record.error);
      if (line.open) line.open.mark = "retry";
    }
    if (!this.#open.has(line.id)) { // new, or the execution had ended, and was retried
      this.#open.set(line.id, line);
      line.ended = null;
      line.output = undefined;
      line.hasOutput = false;
    }
    line.subFlow = change.sub_flow ?? line.subFlow;
    line.phase = change.phase;
    line.attempt = attempt;
    line.losses = losses;
    this.#do(line, attempt === 0 ? "queued" : line.questions.length ? "asking" : PHASES[change.phase], at, frame.number);
  }

  /** A run does something else from now on. */
  #do(line: Line, doing: Doing, at: number, frame: number): void {
    const part = line.open;
    if (part === undefined || part.state !== doing || part.mark || part.attempt !== line.attempt) {
      if (part !== undefined) part.end = at;
      line.segments.push({ state: doing, attempt: line.attempt, start: at, end: null, mark: "" });
    }
    this.#move(line, doing, frame);
  }

  #finish(line: Line, frame: number, at: number, outcome: Outcome, told: boolean): void {
    const part = line.open;
    if (part !== undefined) {
      part.end = at;
      part.mark = outcome;
    }
    if (told) line.phase = "ended";
    line.ended = frame;
    this.#move(line, outcome, frame);
    this.#open.delete(line.id);
  }

  #move(line: Line, to: State, frame: number): void {
    const from = line.state;
    if (from !== to) {
      if (this.#open.has(line.id)) {
        this.#working += Number(to === "running" || to === "queued") - Number(from === "running" || from === "queued");
        this.#asking += Number(to === "asking") - Number(from === "asking");
      }
      let counts = this.#all.operators.get(line.operator);
      if (counts === undefined) this.#all.operators.set(line.operator, (counts = new Counts()));
      counts.move(from, to, frame);
      line.state = to;
    }
    this.#keep(line, frame);
  }

  #keep(line: Line, frame: number): void {
    line.views.put(frame, new View(line));
  }

  #question(frame: number, question: Question): void {
    let versions = this.#all.questions.get(question.id);
    if (versions === undefined) this.#all.questions.set(question.id, (versions = new Versions()));
    versions.put(frame, question);
  }

  #ask(frame: Frame, record: Record<string, unknown>, id: string, inside: boolean, at: number): void {
    const all = this.#all, paused = frame.kind === "paused" && record.interrupt === id;
    const former = all.questions.get(id)?.values.findLast((it) => it !== null); // a retry opens it again
    const asks = paused ? record.run as number : frame.kind === "retried" && !inside ? former?.run ?? null : null;
    const line = asks === null ? undefined : all.lines.get(asks);
    this.#question(frame.number, {
      id, inside, since: frame.at, chunk: line?.chunk ?? former?.chunk ?? "",
      type: String(paused ? record.type ?? "pause" : former?.type ?? ""),
      payload: paused ? record.payload ?? null : former?.payload ?? null,
      run: line?.id ?? null,
    });
    if (line === undefined) return;
    line.questions = [...line.questions, id];
    if (this.#open.has(line.id)) this.#do(line, "asking", at, frame.number);
    else { // it has ended by asking
      line.ended = null;
      line.segments.push({ state: "asking", attempt: line.attempt, start: at, end: null, mark: "" });
      this.#move(line, "asking", frame.number);
    }
  }

  #close(frame: Frame, id: string, at: number): void {
    const all = this.#all, known = all.questions.get(id)?.last;
    if (!known) return;
    all.questions.get(id)!.put(frame.number, null);
    const line = known.run === null ? undefined : all.lines.get(known.run);
    if (line === undefined) return;
    line.questions = line.questions.filter((it) => it !== id);
    if (line.questions.length || line.state !== "asking") this.#keep(line, frame.number);
    else if (this.#open.has(line.id)) this.#do(line, "running", at, frame.number);
    else {
      const part = line.open;
      const outcome = frame.kind === "resumed" ? "done" : "cancelled"; // nobody has answered
      if (part !== undefined) {
        part.end = at;
        part.mark = outcome;
      }
      line.ended = frame.number;
      this.#move(line, outcome, frame.number);
    }
  }
}

function failed(error: unknown): Failed | null {
  if (error === null || typeof error !== "object") return null;
  const { type, message, chunk } = error as Record<string, unknown>;
  return { type: String(type ?? ""), message: String(message ?? ""), chunk: String(chunk ?? "") };
}
