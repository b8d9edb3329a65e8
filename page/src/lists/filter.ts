/** What a list of executions is limited to, as it stands in the address, and as the server is asked for it. */
import type { ExecutionInfo } from "../wire/types";
import type { Status } from "../status";

/** In the order in which they are shown: what somebody may have to look after comes first. */
export const STATUSES: readonly Status[] = ["running", "waiting", "failed", "completed", "cancelled", "created"];
export type Range = "hour" | "day" | "week" | "";
export const RANGES: Record<Range, { word: string; seconds: number }> = {
  hour: { word: "Last hour", seconds: 3600 },
  day: { word: "Last day", seconds: 86400 },
  week: { word: "Last week", seconds: 7 * 86400 },
  "": { word: "All time", seconds: Infinity },
};

export interface Filter {
  flow: string;
  status: readonly Status[];
  text: string;
  labels: readonly (readonly [string, string])[];
  range: Range;
  parent: string;
}

/** The same in words: how a filter stands in the address. What is empty or not there does not limit. */
export interface FilterWords {
  flow?: string; status?: string; text?: string; label?: string; range?: string; parent?: string;
}

export const NO_FILTER: Filter = { flow: "", status: [], text: "", labels: [], range: "", parent: "" };

/** Reads the words of an address. What makes no sense there does not limit. */
export function filterOf(words: FilterWords): Filter {
  const status = new Set(words.status?.split(","));
  return {
    flow: words.flow ?? "",
    status: STATUSES.filter((it) => status.has(it)),
    text: words.text ?? "",
    labels: readLabels(words.label ?? ""),
    range: words.range !== undefined && Object.hasOwn(RANGES, words.range) ? (words.range as Range) : "",
    parent: words.parent ?? "",
  };
}

export function wordsOf(filter: Filter): FilterWords {
  const { flow, status, text, labels, range, parent } = filter;
  const label = labels.map((pair) => pair.map((it) => it.replace(/[\\,:]/g, "\\$&")).join(":")).join(",");
  return { flow, status: status.join(","), text, label, range, parent };
}

/** A filter as one text: lists of the same filter are the same list. */
export function keyOf(filter: Filter): string {
  return JSON.stringify(wordsOf(filter));
}

/** Labels are "name:value", several with commas between; a comma, a colon or "\" in one has a "\" before it. */
function readLabels(text: string): [string, string][] {
  const pairs = text.matchAll(/((?:[^\\,:]|\\.)+):((?:[^\\,]|\\.)*)/gs);
  return [...pairs].map(([, name, value]) => [plain(name!), plain(value!)]);
}

function plain(text: string): string {
  return text.replace(/\\(.)/gs, "$1");
}

/** The query of `GET executions`. `since` and `until` limit the times of creation more than the filter does. */
export function queryOf(
  filter: Filter, now: number, more: { since?: number; until?: number; after?: string; limit?: number } = {},
): Record<string, string | number | string[] | undefined> {
  const since = Math.max(sinceOf(filter, now) ?? 0, more.since ?? 0);
  return {
    ...more,
    since: since > 0 ? since : undefined,
    flow: filter.flow,
    status: [...filter.status],
    text: filter.text.trim().slice(0, 500),
    label: filter.labels.map(([name, value]) => `${name}:${value}`),
    parent: filter.parent,
  };
}

/** From when on the filter wants executions; whole minutes, so that a list and its counts agree. */
export function sinceOf(filter: Filter, now: number): number | null {
  return filter.range ? Math.floor((now - RANGES[filter.range].seconds) / 60) * 60 : null;
}

/** Whether an execution is in the list of a filter, as the server decides it (apart from its limits on long texts). */
export function matches(info: ExecutionInfo, filter: Filter, now: number): boolean {
  if (filter.parent ? info.parent !== filter.parent : info.parent !== null) return false;
  if (filter.flow && info.flow !== filter.flow) return false;
  if (filter.status.length && !filter.status.includes(info.status)) return false;
  const since = sinceOf(filter, now);
  if (since !== null && info.created < since) return false;
  const { labels } = info;
  if (!filter.labels.every(([name, value]) => Object.hasOwn(labels, name) && labels[name] === value)) return false;
  return !filter.text.trim() || found(info, filter.text.trim());
}

function found(info: ExecutionInfo, text: string): boolean {
  const folded = text.toLowerCase();
  if (info.id.startsWith(text)) return true;
  if (Object.values(info.labels).some((value) => value.toLowerCase().startsWith(folded))) return true;
  const wanted = wordsIn(text);
  const there = wordsIn(info.error ?? "");
  return wanted.length > 0 && wanted.every((word) => there.some((each) => each.startsWith(word)));
}

function wordsIn(text: string): string[] {
  return text.slice(0, 5000).toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
}

/** Whether `GET counts` can say how many executions a filter finds: it knows flows, statuses and times. */
export function countable(filter: Filter): boolean {
  return !filter.text.trim() && !filter.labels.length && !filter.parent;
}

export type Counts = Record<string, Partial<Record<Status, number>>>;

/** How many executions of a flow ("": all) have each status. */
export function countsOf(counts: Counts, flow: string): Record<Status, number> {
  const sums = Object.fromEntries(STATUSES.map((status) => [status, 0])) as Record<Status, number>;
  for (const [name, numbers] of Object.entries(counts)) {
    if (flow && name !== flow) continue;
    for (const status of STATUSES) sums[status] += numbers[status] ?? 0;
  }
  return sums;
}
