/** Times, ids and causes as short words. */
import type { ExecutionInfo } from "../wire/types";
import { FINAL } from "../status";

/** The label that the server itself sets at a start with an `Idempotency-Key`: nobody gave it. */
const KEY_LABEL = "idempotency-key";
const UNITS: readonly [number, string][] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** A time span in its largest unit: "3 s", "12 min", "5 h", "9 d". */
export function span(seconds: number): string {
  for (const [size, name] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  return "0 s";
}

/** How long ago a moment was, or how long until it is there. Clocks differ a little: what has just happened is "now". */
export function age(moment: number, now: number): string {
  const passed = now - moment;
  if (Math.abs(passed) < 1) return "now";
  return passed > 0 ? `${span(passed)} ago` : `in ${span(-passed)}`;
}

/** A length of time: "0.3 s", "12 s", "3 min 5 s", "2 h 10 min", "3 d 4 h". */
export function duration(seconds: number): string {
  const length = Math.max(seconds, 0);
  if (length < 9.95) return length > 0 && length < 0.095 ? `${Math.round(length * 1000)} ms` : `${length.toFixed(1)} s`;
  const whole = Math.round(length);
  for (let at = 0; at < UNITS.length - 1; at++) {
    const [size, name] = UNITS[at]!;
    const [smaller, smallerName] = UNITS[at + 1]!;
    if (whole < size) continue;
    const rest = Math.floor((whole % size) / smaller);
    return rest ? `${Math.floor(whole / size)} ${name} ${rest} ${smallerName}` : `${Math.floor(whole / size)} ${name}`;
  }
  return `${whole} s`;
}

/** How long an execution has taken, or takes by now. */
export function taken(info: ExecutionInfo, now: number): number {
  return Math.max(0, (FINAL.has(info.status) ? info.updated : now) - info.created);
}

/** A moment in local time, to the second. */
export function exact(moment: number): string {
  return new Date(moment * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** An id as it is shown in a list: the ids that the engine makes are long, and differ in their first characters. */
export function shortId(id: string): string {
  const made = /^(k?)[0-9a-f]{8}[0-9a-f-]{16,}$/.exec(id);
  if (made) return id.slice(0, 8 + made[1]!.length);
  return id.length > 40 ? `${id.slice(0, 24)}…${id.slice(-12)}` : id;
}

/** The beginning of a text, on one line. */
export function oneLine(text: string, most = 200): string {
  const cut = text.length > most;
  const line = text.slice(0, most).replace(/\s+/g, " ").trim();
  return cut ? `${line} …` : line;
}

/** The labels that people have given. */
export function labelsOf(info: ExecutionInfo): [string, string][] {
  return Object.entries(info.labels).filter(([name]) => name !== KEY_LABEL);
}

export interface What { text: string; tone: "error" | "ask" | "wait" | "warn" | "" }

/** What there is to say about an execution beside its status: why it failed, what it waits for, that nobody runs it. */
export function what(info: ExecutionInfo, now: number): What {
  if (info.error) return { text: oneLine(info.error), tone: info.status === "cancelled" ? "" : "error" };
  if (info.questions) return { text: info.questions === 1 ? "1 question" : `${info.questions} questions`, tone: "ask" };
  if (info.due !== null && info.status === "waiting") {
    return { text: info.due > now ? `due in ${span(info.due - now)}` : "due", tone: "wait" };
  }
  if (info.status === "running" && !info.owned && now - info.updated > 5) {
    return { text: "no process works on it", tone: "warn" };
  }
  return { text: "", tone: "" };
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
