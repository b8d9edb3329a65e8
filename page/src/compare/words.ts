/** What a frame says, and where two executions part, in words. */
import { line } from "../values/text";
import { LOOK, type Status } from "../status";
import type { DifferenceInfo, Frame } from "../wire/types";

/** Words with names between them, which are shown as such. */
export type Words = readonly (string | { name: string })[];

const named = (value: unknown): { name: string } => ({ name: line(value, 60) });

/** What has happened in a frame, to be read after "has": "completed `draft`". */
export function did(frame: Frame): Words {
  const record = frame.record ?? {};
  const chunk = chunkOf(frame);
  const of = chunk ? [" of ", named(chunk)] : [];
  const key = named(record.key ?? "");
  switch (frame.kind) {
    case "started":
      return ["started"];
    case "created":
      return ["been made, to be started later"];
    case "completed":
      return ["completed ", chunk ? named(chunk) : "a step"];
    case "failed": {
      const again = record.retry_in !== undefined && record.retry_in !== null;
      return [again ? "failed, to be tried again, in " : "failed in ", chunk ? named(chunk) : "a step"];
    }
    case "cancelled":
      return ["stopped ", chunk ? named(chunk) : "a step", ", which was cancelled"];
    case "emitted":
      return ["emitted ", named(record.name ?? "")];
    case "signals_cancelled":
      return ["cancelled the signals ", named(record.name ?? "")];
    case "state":
    case "flow_data": {
      const what = frame.kind === "state" ? "the state key " : "the flow data key ";
      if (record.op === "delete") return ["deleted ", what, key];
      return [record.op === "append" ? "appended to " : "set ", what, key];
    }
    case "stream":
      return ["put an item into the stream"];
    case "stream_stopped":
      return ["ended its stream"];
    case "result":
      return ["set the result"];
    case "result_checked":
      return ["checked the result"];
    case "result_rejected":
      return ["refused the result, which does not fit its type"];
    case "paused":
      return ["asked ", named(record.interrupt ?? "a question"), ...of];
    case "resumed":
      return ["got the answer to ", named(record.interrupt ?? "a question")];
    case "withdrawn":
      return ["taken back the question ", named(record.interrupt ?? "")];
    case "timer_fired":
      return ["come to the time of a timer", ...of];
    case "pulled":
      return ["read from a source", ...of];
    case "pull_failed":
      return ["failed to read from a source", ...of];
    case "items_given":
      return ["given on items", ...of];
    case "places_wanted":
      return ["asked for a permit", ...of];
    case "places_returned":
      return ["given back a permit", ...of];
    case "places_granted":
      return ["got a permit", ...of];
    case "parked":
      return ["begun to wait for something outside", ...of];
    case "unparked":
      return ["ended the wait for something outside", ...of];
    case "recovered":
      return record.lost ? ["gone on; what was not finished begins again"] : ["gone on"];
    case "suspended":
      return ["been given back to the store"];
    case "retried":
      return ["been tried again after it had failed"];
    case "cancel_requested":
      return ["been asked to cancel"];
    case "close_requested":
      return ["been asked to take no more signals"];
    case "moment":
      return ["an earlier part that was deleted"];
    default:
      return ["recorded ", named(frame.kind.replaceAll("_", " ")), ...of];
  }
}

/** The chunk of the run of a frame's record. */
export function chunkOf(frame: Frame): string {
  const number = frame.record?.run;
  const runs = frame.runs ?? [];
  if (typeof number === "number" || (typeof number === "object" && number !== null)) {
    const own = runs.find((it) => String(it.run) === String(number));
    if (own !== undefined) return own.chunk;
  }
  return number === undefined && runs.length === 1 ? runs[0]!.chunk : "";
}

/** What its status has become with a frame, if that is the end. */
export function ending(frame: Frame): Status | null {
  return ["completed", "failed", "cancelled"].includes(frame.status) ? frame.status : null;
}

/** In one sentence, where two executions part. `frames`: of each, the frame in which they do; null: it has none. */
export function verdict(found: DifferenceInfo, frames: readonly [Frame | null, Frame | null]): Words {
  if (found.same) {
    const many = found.frames[0];
    return [`Both are the same, in all ${many.toLocaleString("en")} frames.`];
  }
  if (found.parted === null) return ["Their frames are the same as far as both have them; what they hold is not."];
  const before = found.parted.number - 1;
  const start = before > 0
    ? `The same up to frame ${before.toLocaleString("en")}; then ` : "They differ from the first frame on: ";
  const [one, other] = [clause(found, frames, 0), clause(found, frames, 1)];
  if (one !== null && other !== null) {
    if (JSON.stringify(one) === JSON.stringify(other)) return [start, "both have ", ...one, ", with different values."];
    return [start, "one has ", ...one, ", the other has ", ...other, "."];
  }
  const which = one === null ? "one" : "the other";
  const over = LOOK[found.status[one === null ? 0 : 1]].word;
  const has = one === null ? "the other has " : "one has ";
  return [start, has, ...(one ?? other ?? []), `, ${which} has no more frames (it is ${over}).`];
}

function clause(found: DifferenceInfo, frames: readonly [Frame | null, Frame | null], side: 0 | 1): Words | null {
  const { number, kinds, records } = found.parted!;
  const kind = kinds[side];
  if (kind === null) return null;
  const frame: Frame = frames[side] ?? { number, at: 0, kind, status: "running", record: records[side] ?? {} };
  const end = ending(frame);
  const words = did(frame);
  if (end === null || end === "cancelled") return end === null ? words : [...words, ", and was cancelled"];
  return [...words, end === "failed" ? ", and failed with it" : ", and ended with it"];
}

/** Of two lists of outcomes, those places that differ: the first ones, and how many more there are. */
export function differing(
  pair: readonly [readonly unknown[], readonly unknown[]], most: number,
): { places: number[]; more: number } {
  const places: number[] = [];
  let more = 0;
  for (let at = 0; at < Math.max(pair[0].length, pair[1].length); at++) {
    if (at < pair[0].length && at < pair[1].length && equal(pair[0][at], pair[1][at])) continue;
    if (places.length < most) places.push(at);
    else more++;
  }
  return { places, more };
}

/** Whether two values of JSON are equal, whatever the order of their keys. */
export function equal(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const keys = Object.keys(one);
  if (keys.length !== Object.keys(other).length) return false;
  if (!keys.length) return String(one) === String(other);
  const [mine, its] = [one as Record<string, unknown>, other as Record<string, unknown>];
  return keys.every((key) => Object.hasOwn(its, key) && equal(mine[key], its[key]));
}
