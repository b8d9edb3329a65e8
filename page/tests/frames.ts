/** Frames of executions for tests, without a server. */
import type { Drawing, Frame, RunChange } from "../src/wire/types";

/** Frames one after the other; the time goes on by `step` seconds with each. */
export class Frames {
  readonly all: Frame[] = [];
  at = 1_700_000_000;
  constructor(readonly step = 0.1) {}
  put(kind: string, record: Record<string, unknown> = {}, more: Partial<Frame> = {}): number {
    const number = this.all.length + 1;
    this.at += this.step;
    this.all.push({ number, at: this.at, kind, record, status: "running", ...more });
    return number;
  }
  begin(run: number, operator: string, cause: number, more: Partial<RunChange> = {}): RunChange {
    return { run, phase: "running", operator, chunk: operator, cause, ...more };
  }
  end(run: number, operator: string, more: Partial<RunChange> = {}): RunChange {
    return { run, phase: "ended", operator, chunk: operator, ...more };
  }
}

/** A for_each of so many items with two chunks each, stream items, state, and here and there a retry: about 5 frames an item. */
export function large(items: number): Frame[] {
  const frames = new Frames(0.01);
  const started = frames.put("started", { value: items }, { definition: "d", runs: [frames.begin(1, "list", 1)] });
  const listed = frames.put("completed", { run: 1, value: Array.from({ length: items }, (_, it) => it) }, { runs: [frames.end(1, "list"), frames.begin(2, "fetch", started + 1, { by: 1 })] });
  let stream = 0;
  for (let item = 0; item < items; item++) {
    const run = 2 + item * 2;
    if (item % 10 === 3) {
      frames.put("failed", { run, error: { type: "Busy", message: "try again" }, retry_in: 0.1 }, { runs: [{ ...frames.begin(run, "fetch", listed), phase: "backoff" }] });
      frames.put("timer_fired", { timer: 1 }, { runs: [frames.begin(run, "fetch", listed, { attempt: 2 })] });
    }
    const fetched = frames.put("completed", { run, value: item }, { runs: [frames.end(run, "fetch"), frames.begin(run + 1, "parse", frames.all.length + 1, { by: run })] });
    frames.put("stream", { run: run + 1, item: { delta: `${item} ` } }, { item: ++stream });
    frames.put("state", { run: run + 1, op: "append", key: "seen", value: item });
    frames.put("state", { run: run + 1, op: "set", key: `key ${item % 100}`, value: fetched });
    const more = item + 1 < items ? [frames.begin(run + 2, "fetch", listed, { by: 1 })] : [];
    frames.put("completed", { run: run + 1, value: item }, { runs: [frames.end(run + 1, "parse"), ...more] });
  }
  frames.put("completed", {}, { status: "completed", has_result: true, result: items });
  return frames.all;
}

/** The drawing of `large`. */
export const LARGE: Drawing = {
  flow: "large", definition: "d",
  boxes: [
    { key: "n0", shape: "start", lines: ["start"], operators: [], block: null, flow: null },
    { key: "n1", shape: "chunk", lines: ["list"], operators: ["list"], block: null, flow: null },
    { key: "n2", shape: "opener", lines: ["for each item, 1 at once"], operators: ["each"], block: "b0", flow: null },
    { key: "n3", shape: "chunk", lines: ["fetch"], operators: ["fetch"], block: "b0", flow: null },
    { key: "n4", shape: "chunk", lines: ["parse"], operators: ["parse"], block: "b0", flow: null },
  ],
  blocks: [{ key: "b0", parent: null, operator: "each" }],
  lines: [["n0", "n1"], ["n1", "n2"], ["n2", "n3"], ["n3", "n4"]].map(([source, target]) => ({ source: source!, target: target!, label: "", style: "solid", operators: [] })),
};
