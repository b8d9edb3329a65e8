/** Why a run has begun: the chain of what has caused it, back to the start of the execution. */
import type { Frame } from "../wire/types";
import type { Moment, Track } from "./track";

/** One link of the chain, the nearest first. */
export interface Cause {
  /** The number of the frame. */
  frame: number;
  at: number;
  /** The run in whose name it was made; null for the caller or the engine. */
  run: number | null;
  /** What happened, after the name of the run if there is one: "returned", "emitted", "the execution was started". */
  words: string;
  /** The name of the signal, key or question, if it has one. */
  name: string;
  /** The value that went on from here. */
  value: unknown; hasValue: boolean;
  /** The frames before are gone, or do not say more. */
  open: boolean;
}

/** The chain of a run, at most so many links; `more` if it is longer. */
export function causesOf(track: Track, moment: Moment, run: number, most = 100): { chain: Cause[]; more: boolean } {
  const chain: Cause[] = [];
  const seen = new Set<number>();
  let number = moment.runs.get(run)?.cause ?? 0;
  while (number > 0 && !seen.has(number)) {
    if (chain.length === most) return { chain, more: true };
    seen.add(number);
    const frame = track.frame(number);
    if (frame === undefined || frame.state) {
      chain.push({ frame: number, at: frame?.at ?? 0, run: null, words: "the frames before are gone", name: "", value: null, hasValue: false, open: true });
      break;
    }
    const link = linkOf(frame);
    chain.push(link);
    number = before(track, moment, frame, link);
    if (number === 0 && frame.kind !== "started") link.open = link.run !== null || frame.kind === "pulled" || frame.kind === "timer_fired";
  }
  return { chain, more: false };
}

/** The frame that has caused a frame; 0 if that is the caller, or nobody knows. */
function before(track: Track, moment: Moment, frame: Frame, link: Cause): number {
  if (frame.kind === "resumed" || frame.kind === "withdrawn") return asked(track, frame);
  if (link.run !== null) return moment.runs.get(link.run)?.cause ?? 0;
  if (frame.follows) return frame.follows;
  return 0;
}

/** The frame that has asked the question which this one has answered. */
function asked(track: Track, frame: Frame): number {
  const { frames } = track;
  const id = frame.record?.interrupt;
  for (let place = frame.number - frames[0]!.number - 1; place >= 0; place--) {
    const it = frames[place]!;
    if (it.kind === "paused" && it.record?.interrupt === id) return it.number;
  }
  return 0;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

function linkOf(frame: Frame): Cause {
  const record = frame.record ?? {}, { number, at } = frame;
  const run = typeof record.run === "number" ? record.run : null;
  const link = (words: string, name = "", value: unknown = undefined): Cause =>
    ({ frame: number, at, run, words, name, value: value ?? null, hasValue: value !== undefined, open: false });
  const value = record.value === undefined ? null : record.value;
  switch (frame.kind) {
    case "started": return link("the execution was started", "", value);
    case "created": return link("the execution was made");
    case "completed": return link(record.failure ? "failed, and its fallback returned" : "returned", "", value);
    case "failed": return link("failed", "", `${text((record.error as { type?: string } | undefined)?.type)}: ${text((record.error as { message?: string } | undefined)?.message)}`);
    case "emitted": return link(run === null ? "a signal came from outside" : "emitted", text(record.name), value);
    case "state": {
      const how = record.op === "delete" ? "deleted the key" : record.op === "append" ? "appended to the key" : "set the key";
      return link(run === null ? `somebody ${how}` : how, text(record.key), record.op === "delete" ? undefined : value);
    }
    case "flow_data": return link(run === null ? "shared data was changed" : "changed shared data", text(record.key), value);
    case "paused": return link("asked", text(record.interrupt), record.payload ?? null);
    case "resumed": return link("the question was answered", text(record.interrupt), value);
    case "withdrawn": return link(record.expired ? "nobody answered in time" : "the question was closed", text(record.interrupt));
    case "timer_fired": return link("the time had come");
    case "pulled": return link("the source gave its next items", "", record.items ?? []);
    case "pull_failed": return link("the source of items failed");
    case "items_given": return link("gave items", "", record.items ?? []);
    case "retried": return link("the execution was retried");
    case "recovered": return link("another process took over");
    case "retracted": return link("took back a signal");
    case "confirmed": return link("confirmed a signal");
    case "result": return link(run === null ? "the result was set" : "set the result", "", value);
    case "cancelled": return link("was cancelled");
    default: return link(frame.kind.replaceAll("_", " "));
  }
}
