/** How each state is shown: a sign, a word, and the class of a colour and a line. Never by colour alone. */

/** The status of an execution. */
export type Status = "created" | "running" | "waiting" | "completed" | "failed" | "cancelled";
/** What a run, a step of the graph or a part of a run is in. */
export type State = "idle" | "queued" | "running" | "waiting" | "backoff" | "asking" | "done" | "failed" | "cancelled" | "lost";

export interface Look {
  sign: string;
  word: string;
}

/** The same signs and words as in the terminal view. */
export const LOOK: Record<State | Status, Look> = {
  idle: { sign: "·", word: "not reached" },
  queued: { sign: "◌", word: "queued" },
  running: { sign: "►", word: "running" },
  waiting: { sign: "◷", word: "waiting" },
  backoff: { sign: "↻", word: "retrying" },
  asking: { sign: "?", word: "asks" },
  done: { sign: "✓", word: "done" },
  failed: { sign: "✗", word: "failed" },
  cancelled: { sign: "⊘", word: "cancelled" },
  lost: { sign: "↯", word: "lost" },
  created: { sign: "·", word: "not started" },
  completed: { sign: "✓", word: "completed" },
};

/** The order in which the states of several runs count: a step shows the first of these that one of its runs has. */
export const WORST: readonly State[] = ["running", "backoff", "asking", "waiting", "queued", "failed", "cancelled", "done", "idle"];
/** The statuses after which nothing more happens. */
export const FINAL: ReadonlySet<Status> = new Set(["completed", "failed", "cancelled"]);
