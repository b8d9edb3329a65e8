/** How executions of a flow are related. */
import type { ExecutionInfo } from "../wire/types";

export type Kin = "origin" | "fork" | "sibling" | "";

export function kinOf(one: ExecutionInfo, other: ExecutionInfo): Kin {
  const [mine, its] = [one.forked_from?.[0], other.forked_from?.[0]];
  if (mine === other.id) return "origin";
  if (its === one.id) return "fork";
  return mine !== undefined && mine === its ? "sibling" : "";
}

const ORDER: readonly Kin[] = ["origin", "fork", "sibling", ""];

/** The others, the nearest kin first; otherwise as they come. `origin` may be too old to be among them. */
export function order(
  one: ExecutionInfo, others: readonly ExecutionInfo[], origin: ExecutionInfo | null,
): { info: ExecutionInfo; kin: Kin }[] {
  const known = new Map([...(origin ? [origin] : []), ...others].map((info) => [info.id, info]));
  known.delete(one.id);
  return [...known.values()]
    .map((info) => ({ info, kin: kinOf(one, info) }))
    .sort((a, b) => ORDER.indexOf(a.kin) - ORDER.indexOf(b.kin));
}
