/** How the boxes, blocks and lines of a drawing stand at a moment: the same states and counts as in the terminal. */
import type { State } from "../status";

/** A box: its state, and how many of its runs (for the head of a for_each: of its items) have ended and failed. */
export interface StepState {
  state: State;
  ended: number;
  /** Without `exact` there may be more than these. */
  total: number; exact: boolean;
  failed: number;
  /** What stands beside the name: `4/7`, `12`, or nothing for a single run. */
  count: string;
  /** The newest run, if there is one, and of a sub-flow what the ids of its executions begin with. */
  run: number | null;
  subFlow: string | null;
}

export interface Drawn {
  /** By the keys of boxes and blocks. */
  boxes: ReadonlyMap<string, StepState>;
  blocks: ReadonlyMap<string, StepState>;
  /** For each line of the drawing, in its order: whether a value has gone along it. */
  lines: readonly boolean[];
}
