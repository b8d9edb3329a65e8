/** What a frame says, and where two executions part, in words. */
import { CHANGED } from "../model/causes";
import { line } from "../values/text";
import { same } from "../wire/json";
import { FINAL, LOOK, type Status } from "../status";
import type { DifferenceInfo, Frame } from "../wire/types";

/** Words with names between them, which are shown as such. */
export type Words = readonly (string | { name: string })[];

const named = (value: unknown): { name: string } => ({ name: line(value, 60) });

/** What a frame of each kind says, to be read after "has". Other kinds are named. */
const DID: Record<string, string> = {
  started: "started",
  completed: "completed {chunk}",
  failed: "failed in {chunk}",
  cancelled: "stopped {chunk}",
  emitted: "emitted {name}",
  state: "set the state key {key}",
  flow_data: "set the flow data key {key}",
  stream: "put an item into the stream",
  result: "set the result",
  paused: "asked {interrupt} of {chunk}",
  resumed: "got the answer to {interrupt}",
  withdrawn: "taken back the question {interrupt}",
  timer_fired: "come to the time of a timer of {chunk}",
  pulled: "read from the source of {chunk}",
  recovered: "gone on",
  retried: "been tried again after it had failed",
  cancel_requested: "been asked to cancel",
};
/** What has happened in a frame, to be read after "has": "completed `draft`". */
export function did(frame: Frame): Words {
  const record = frame.record ?? {};
  const chunk = chunkOf(frame);
  const said = DID[frame.kind] ?? `recorded ${frame.kind.replaceAll("_", " ")}`;
  const text = said.replace("set", CHANGED[String(record.op)] ?? "set");
  // every second piece is a name
  return text.split(/\{(\w+)\}/).map((it, at) => {
    return at % 2 === 0 ? it : it === "chunk" ? (chunk ? named(chunk) : "a step") : named(record[it] ?? "");
  });
}

/** The chunk of the run of a frame's record. */
function chunkOf({ record, runs = [] }: Frame): string {
  const own = runs.find((it) => it.run === record?.run);
  return own?.chunk ?? (record?.run === undefined && runs.length === 1 ? runs[0]!.chunk : "");
}

/** What its status has become with a frame, if that is the end. */
export function ending(frame: Frame): Status | null {
  return FINAL.has(frame.status) ? frame.status : null;
}

/** In one sentence, where two executions part. `frames`: of each, the frame in which they do; null: it has none. */
export function verdict(found: DifferenceInfo, frames: readonly [Frame | null, Frame | null]): Words {
  if (found.same) return [`Both are the same, in all ${found.frames[0].toLocaleString("en")} frames.`];
  if (found.parted === null) return ["Their frames are the same as far as both have them; what they hold is not."];
  const before = found.parted.number - 1;
  const start = before > 0
    ? `The same up to frame ${before.toLocaleString("en")}; then ` : "They differ from the first frame on: ";
  const [one, other] = [clause(found, frames, 0), clause(found, frames, 1)];
  if (one !== null && other !== null) {
    if (JSON.stringify(one) === JSON.stringify(other)) return [start, "both have ", ...one, ", with different values."];
    return [start, "one has ", ...one, ", the other has ", ...other, "."];
  }
  const [has, which, over] = one === null
    ? ["the other has ", "one", found.status[0]] as const : ["one has ", "the other", found.status[1]] as const;
  return [start, has, ...(one ?? other ?? []), `, ${which} has no more frames (it is ${LOOK[over].word}).`];
}

function clause(found: DifferenceInfo, frames: readonly [Frame | null, Frame | null], side: 0 | 1): Words | null {
  const { number, kinds, records } = found.parted!;
  const kind = kinds[side];
  if (kind === null) return null;
  const frame: Frame = frames[side] ?? { number, at: 0, kind, status: "running", record: records[side] ?? {} };
  const end = { failed: ", and failed with it", cancelled: ", and was cancelled", completed: ", and ended with it" };
  return [...did(frame), end[ending(frame) as keyof typeof end] ?? ""];
}

/** Of two lists of outcomes, those places that differ: the first ones, and how many more there are. */
export function differing(
  pair: readonly [readonly unknown[], readonly unknown[]], most: number,
): { places: number[]; more: number } {
  const places: number[] = [];
  let more = 0;
  for (let at = 0; at < Math.max(pair[0].length, pair[1].length); at++) {
    if (at < pair[0].length && at < pair[1].length && same(pair[0][at], pair[1][at])) continue;
    if (places.length < most) places.push(at);
    else more++;
  }
  return { places, more };
}
