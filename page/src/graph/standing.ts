/** How the parts of a drawing stand. Frames tell of runs; what has none is passed if what is behind it has begun. */
import type { OperatorState } from "../model/track";
import type { DrawnBox, Drawing } from "../wire/types";

export type States = ReadonlyMap<string, OperatorState>;

export interface Standing {
  /** By the keys of boxes that have runs: how these stand. */
  boxes: ReadonlyMap<string, OperatorState>;
  /** The keys of all boxes that something has reached. */
  reached: ReadonlySet<string>;
  /** For each line, in the order of the drawing. */
  lines: readonly ("" | "passed" | "failed")[];
}

/** Boxes that have runs, or stand for those inside of their block. */
const OWN = new Set(["chunk", "flow", "opener", "choice"]);

/** Boxes for what comes from outside of the steps. */
const OUTSIDE = new Set(["signal", "data", "error", "timer"]);

export function stateOf(box: DrawnBox, states: States): OperatorState | undefined {
  for (const operator of box.operators) {
    const found = states.get(operator);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** `hasResult`: whether the execution has one. */
export function standing(drawing: Drawing, states: States, hasResult = false): Standing {
  const boxes = new Map<string, OperatorState>(), reached = new Set<string>(), byKey = new Map(drawing.boxes.map((it) => [it.key, it]));
  for (const box of drawing.boxes) {
    const state = OWN.has(box.shape) ? stateOf(box, states) : undefined;
    if (state === undefined) continue;
    boxes.set(box.key, state);
    if (state.state !== "idle") reached.add(box.key);
  }
  const gone = (key: string): boolean => {
    const state = boxes.get(key);
    return state === undefined ? reached.has(key) : state.ended > 0 || state.state === "done" || state.state === "failed";
  };
  const before = new Map<string, string[]>();
  for (const { source, target } of drawing.lines) before.set(target, [...(before.get(target) ?? []), source]);
  for (const box of drawing.boxes) {
    if (box.shape === "result" && hasResult && (before.get(box.key) ?? []).some((it) => gone(it) || !OWN.has(byKey.get(it)!.shape))) reached.add(box.key);
  }
  // against the lines, through boxes that have no runs
  const hasOwn = (key: string): boolean => OWN.has(byKey.get(key)?.shape ?? "");
  const canHave = (key: string): boolean => (before.get(key) ?? []).some((it) => gone(it) || !hasOwn(it));
  const stack = [...reached];
  while (stack.length) {
    const target = stack.pop()!;
    for (const source of before.get(target) ?? []) {
      if (reached.has(source) || hasOwn(source)) continue;
      const { shape } = byKey.get(source)!, others = before.get(target)!.filter((it) => it !== source);
      if (shape !== "start" && before.has(source) && !canHave(source)) continue;
      // what could as well have come another way tells nothing of a signal
      if (OUTSIDE.has(shape) && others.some((it) => gone(it) || !hasOwn(it))) continue;
      reached.add(source);
      stack.push(source);
    }
  }
  const lines = drawing.lines.map(({ source, target, operators }) => {
    const own = operators.map((it) => states.get(it)).find((it) => it !== undefined);
    if (own?.state === "failed") return "failed";
    return gone(source) || heads(byKey.get(source), reached) ? (reached.has(target) ? "passed" : "") : "";
  });
  return { boxes, reached, lines };
}

/** The head of a block is passed as soon as something inside has begun. */
function heads(box: DrawnBox | undefined, reached: ReadonlySet<string>): boolean {
  return box !== undefined && (box.shape === "opener" || box.shape === "choice") && reached.has(box.key);
}
