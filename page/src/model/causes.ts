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
      chain.push(linkOf({ number, at: frame?.at ?? 0, kind: "the frames before are gone" } as Frame));
      break;
    }
    const link = linkOf(frame);
    chain.push(link);
    number = before(track, moment, frame, link);
  }
  return { chain, more: false };
}

/** The frame that has caused a frame; 0 if that is the caller, or nobody knows. */
function before(track: Track, moment: Moment, frame: Frame, link: Cause): number {
  if (frame.kind === "resumed" || frame.kind === "withdrawn") return asked(track, frame);
  if (link.run !== null) return moment.runs.get(link.run)?.cause ?? 0;
  return frame.follows ?? 0;
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

/** What frames are called here, after the name of the run if there is one; others by their kind. */
const WORDS: Record<string, string> = {
  started: "the execution was started", created: "the execution was made", completed: "returned", paused: "asked",
  resumed: "the question was answered", withdrawn: "the question was closed", timer_fired: "the time had come",
  pulled: "the source gave its next items", items_given: "gave items", retried: "the execution was retried",
  recovered: "another process took over", state: "set the key", flow_data: "set the shared key", result: "set the result",
};

/** What is said of a change of a key that does not set it. */
export const CHANGED: Record<string, string> = { delete: "deleted", append: "appended to" };

function linkOf({ number, at, kind, record = {} }: Frame): Cause {
  const run = typeof record.run === "number" ? record.run : null;
  const name = record.name ?? record.key ?? record.interrupt ?? "";
  const value = record.value ?? record.payload ?? record.items ?? record.error;
  const words = (WORDS[kind] ?? kind.replaceAll("_", " ")).replace("set", CHANGED[String(record.op)] ?? "set");
  return { frame: number, at, run, words, name: String(name), value: value ?? null, hasValue: value !== undefined };
}
