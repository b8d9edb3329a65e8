/** What the frames of an execution come to: the contract between the fold and the views. See fold.ts for the fold. */
import type { Failed, Frame, StateInfo } from "../wire/types";
import type { State, Status } from "../status";

/** A part of a run: an attempt, or a wait before, in or after one. Times are seconds since the epoch; `end` null: open. */
export interface Segment {
  state: "queued" | "running" | "waiting" | "backoff" | "asking";
  attempt: number; start: number; end: number | null;
  /** What has ended it: a failed attempt, a process that died, or the end of the run. */
  mark: "" | "retry" | "lost" | "done" | "failed" | "cancelled";
}

export interface Run {
  id: number; chunk: string; operator: string; attempt: number; losses: number;
  state: State;
  segments: readonly Segment[];
  /** The frame that has caused it, and the run in whose name that frame was made; null for an outside caller. */
  cause: number; by: number | null;
  /** The first and the last frame that changed it; `ended` null while it is open. */
  began: number; ended: number | null;
  input: unknown; hasInput: boolean; output: unknown; hasOutput: boolean; error: Failed | null;
  /** The id of the newest execution of its sub-flow. */
  subFlow: string | null;
  /** The questions of this run that are open. */
  questions: readonly string[];
}

/** How the runs of one operator stand. `state` is the worst of them (status.ts), `ended`/`total` makes `4/7`. */
export interface OperatorState { state: State; total: number; ended: number; failed: number }

export interface Question { id: string; type: string; chunk: string; payload: unknown; since: number; run: number | null; inside: boolean }

/** The execution at one moment. A moment is not changed after it was made. */
export interface Moment {
  number: number; at: number; status: Status;
  started: boolean; input: unknown;
  /** All runs up to here, in the order in which they began. */
  runs: ReadonlyMap<number, Run>;
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
  add(frames: readonly Frame[]): void;
  at(moment: number): Moment;
  /** The items of the stream up to a moment: [number, frame number, item]. */
  items(moment: number): readonly StreamItem[];
}
export interface StreamItem { number: number; frame: number; item: unknown; path: string }
export type { StateInfo };
