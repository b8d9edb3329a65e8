/** What the frames of an execution come to: the contract between the fold and the views. See fold.ts for the fold. */
import type { Failed, Frame, Phase, StateInfo } from "../wire/types";
import type { State, Status } from "../status";
import type { Axis } from "./axis";

/** A part of a run: an attempt, or a wait before, in or after one. Times are seconds since the epoch; `end` null: open. */
export interface Segment {
  state: "queued" | "running" | "waiting" | "backoff" | "asking";
  attempt: number; start: number; end: number | null;
  /** What has ended it: a failed attempt, a process that died, or the end of the run. */
  mark: "" | "retry" | "lost" | "done" | "failed" | "cancelled";
  /** For a lost one: the last time at which its process was known to be at work. */
  seen?: number;
}

export interface Run {
  id: number; chunk: string; operator: string; attempt: number; losses: number;
  state: State;
  /** As the last frame about it has told. A run that has asked has ended, and its state is "asking" up to the answer. */
  phase: Phase | "ended";
  segments: readonly Segment[];
  /** The frame that has caused it, and the run in whose name that frame was made; null for an outside caller. */
  cause: number; by: number | null;
  /** The numbers of the frames with which it began and ended; `ended` null while it is open. */
  began: number; ended: number | null;
  /** The frames do not tell with what a run began, except one that was open at a compaction: ask `state?at=began`. */
  input: unknown; hasInput: boolean; output: unknown; hasOutput: boolean;
  /** Why it, or its last attempt that failed, has failed. With an output: what its fallback has stood in for. */
  error: Failed | null;
  /** What the ids of the executions of its sub-flow begin with: the first has this id, later ones `.2`, `.3` behind it. */
  subFlow: string | null;
  /** The questions of this run that are open. */
  questions: readonly string[];
}

/**
 * How the runs of one operator stand: what one of them does, else how the last one has ended. `ended`/`total` makes
 * `4/7`. Who knows the drawing asks `Steps` (steps.ts): it knows for_each blocks, and counts as the terminal does.
 */
export interface OperatorState {
  state: State; total: number; ended: number; failed: number; cancelled: number;
  /** The frame with which the last of them ended; 0 if none has. */
  last: number;
  /** For the head of a for_each, whose items are counted: whether there may be more than `total`. */
  more?: boolean;
  /** Whether items of a for_each are counted, and not runs. */
  items?: boolean;
}

export interface Question { id: string; type: string; chunk: string; payload: unknown; since: number; run: number | null; inside: boolean }

/** Runs by their number, in the order in which they began. */
export type RunMap = Pick<ReadonlyMap<number, Run>, "get" | "values" | "size">;

/** The execution at one moment. A moment is not changed after it was made; what is asked of it is made when asked. */
export interface Moment {
  number: number; at: number;
  /** As lists show it: "waiting", too, where only sub-flows are open, and they wait. */
  status: Status;
  /** As the frame has it. */
  recorded: Status;
  definition: string;
  started: boolean; input: unknown;
  /** All runs up to here, in the order in which they began. */
  runs: RunMap;
  operators: ReadonlyMap<string, OperatorState>;
  questions: ReadonlyMap<string, Question>;
  state: ReadonlyMap<string, unknown>;
  /** The keys of the state that the last frame has changed. */
  changed: ReadonlySet<string>;
  items: number;
  hasResult: boolean; result: unknown; error: Failed | null; reason: string;
}

/** All frames of an execution that are here, and any moment of it. */
export interface Track {
  readonly id: string;
  readonly frames: readonly Frame[];
  /** The number of the first moment that can be shown (more than 0 after a compaction), and of the last one. */
  readonly first: number;
  readonly last: number;
  /** The fingerprint of the definition at the last moment. */
  readonly definition: string;
  /** The axis of time of all frames that are here. */
  readonly axis: Axis;
  /** The times of the first and of the newest frame; 0 without frames. */
  readonly began: number;
  readonly until: number;
  add(frames: readonly Frame[]): void;
  at(moment: number): Moment;
  /** The frame of this number, if it is here. */
  frame(number: number): Frame | undefined;
  /** The last moment at or before a time of day. */
  momentAt(time: number): number;
  /** The items of the stream up to a moment. */
  items(moment: number): readonly StreamItem[];
}
/** `run`: which put it; null for a caller from outside. */
export interface StreamItem { number: number; frame: number; item: unknown; path: string; run: number | null }
export type { StateInfo };
