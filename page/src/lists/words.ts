/** Ids and causes as short words. */
import { ago } from "../app/time";
import { FINAL } from "../status";
import { line, visible } from "../values/text";
import type { ExecutionInfo } from "../wire/types";

/** The label that the server itself sets at a start with an `Idempotency-Key`: nobody gave it. */
const KEY_LABEL = "idempotency-key";
/** How long an execution has taken, or takes by now. */
export function taken(info: ExecutionInfo, now: number): number {
  return Math.max(0, FINAL.has(info.status) ? info.updated - info.created : Math.floor(now - info.created));
}

/** An id as it is shown in a list: the ids that the engine makes are long, and differ in their first characters. */
export function shortId(id: string): string {
  const made = /^(k?)[0-9a-f]{8}[0-9a-f-]{8,}$/.exec(id);
  if (made) return id.slice(0, 8 + made[1]!.length);
  return visible(id.length > 40 ? `${id.slice(0, 24)}…${id.slice(-12)}` : id);
}

/** The labels that people have given. */
export function labelsOf(info: ExecutionInfo): [string, string][] {
  return Object.entries(info.labels).filter(([name]) => name !== KEY_LABEL);
}

/** A label as it is shown. */
export function labelText(name: string, value: string): string {
  return `${line(name, 30)}: ${line(value, 40)}`;
}

export interface What { text: string; tone: "error" | "ask" | "wait" | "warn" | "" }

/** What there is to say about an execution beside its status: why it failed, what it waits for, that nobody runs it. */
export function what(info: ExecutionInfo, now: number): What {
  if (info.error) return { text: line(info.error, 240), tone: info.status === "cancelled" ? "" : "error" };
  if (info.questions) return { text: count(info.questions, "question"), tone: "ask" };
  if (info.due !== null && info.status === "waiting") {
    return { text: info.due > now ? `due ${ago(info.due, now)}` : "due", tone: "wait" };
  }
  if (info.status === "running" && !info.owned && now - info.updated > 5) {
    return { text: "no process works on it", tone: "warn" };
  }
  return { text: "", tone: "" };
}

export function count(number: number, one: string): string {
  return `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;
}
