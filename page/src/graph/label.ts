/** How large each box is, and what stands in it: names that are too long are cut, and their whole text is a title. */
import type { Drawing, DrawnBox } from "../wire/types";
import { begin, visible } from "../values/text";
import type { BoxIn, GraphIn } from "./layout";

/** The width of a text of this size in pixels. */
export type Measure = (text: string, size: number, bold?: boolean) => number;

/** A box of the drawing or of a sub-flow that is open in it, by its key: "n3/n0" is in what n3 has opened. */
export interface Part {
  key: string;
  box: DrawnBox;
  /** What is drawn of its label. */
  lines: string[];
  /** The whole label, if that is not what is drawn. */
  whole: string;
  /** The width of the first line. */
  wide: number;
  /** In which drawing it is: "" for the outermost, else the key of the box that has opened it. */
  inside: string;
}
/** A line with a label, by its key: "n3/7". */
export interface Wire { key: string; style: string; label: string; whole: string; inside: string; number: number }
export interface Prepared { graph: GraphIn; parts: ReadonlyMap<string, Part>; wires: ReadonlyMap<string, Wire> }

/** The size of names, and of all other text. */
export const LARGE = 13, SMALL = 11.5;
/** The height of the row with the name of a sub-flow that is open. */
export const HEAD = 38;
/** The room for the sign of a state, and for the control of a sub-flow. */
export const SIGN = 19, CONTROL = 28;
const WIDEST = 210, WIDEST_WIRE = 130, MOST_LINES = 7, ROW = 15;

/** Boxes that have runs: their state stands in them. */
const RUNS = new Set(["chunk", "flow"]);
/** Boxes for what comes from outside of the steps. */
const OUTSIDE = new Set(["signal", "data", "error", "timer"]);
/** Boxes with a line to the side of them that is not upright, and how much room that takes. */
const SLANT: Readonly<Record<string, number>> = { gate: 14, collect: 14, choice: 14, signal: 14, case: 12, error: 12, timer: 8 };

/** Whether the state of a box is told by a sign in it. */
export function hasSign(shape: string): boolean {
  return RUNS.has(shape) || shape === "opener" || shape === "choice";
}

/** The boxes, with those of the sub-flows that are open: `open` has their drawings by the keys of their boxes. */
export function prepare(drawing: Drawing, open: ReadonlyMap<string, Drawing>, measure: Measure): Prepared {
  const parts = new Map<string, Part>(), wires = new Map<string, Wire>();
  const graph = inside(drawing, open, measure, "", parts, wires);
  return { graph, parts, wires };
}

function inside(
  drawing: Drawing, open: ReadonlyMap<string, Drawing>, measure: Measure, opened: string, parts: Map<string, Part>, wires: Map<string, Wire>,
): GraphIn {
  const prefix = opened && `${opened}/`;
  const boxes = drawing.boxes.map((box): BoxIn => {
    const key = prefix + box.key, part = { key, box, inside: opened, ...labelOf(box, measure) };
    parts.set(key, part);
    const made: BoxIn = { key: box.key, ...sizeOf(part, measure), block: box.block, role: "" };
    if (box.block !== null) made.role = box.shape === "opener" || box.shape === "choice" ? "head" : box.shape === "point" ? "tail" : "";
    const within = box.flow === null ? undefined : open.get(key);
    if (within !== undefined) made.inside = { head: HEAD, graph: inside(within, open, measure, key, parts, wires) };
    return made;
  });
  const outside = new Set(drawing.boxes.filter((it) => OUTSIDE.has(it.shape)).map((it) => it.key));
  const lines = drawing.lines.map(({ source, target, label, style }, number) => {
    const whole = visible(begin(label, 300)), shown = cut(whole, WIDEST_WIRE, (text) => measure(text, SMALL)), key = prefix + number;
    wires.set(key, { key, style, label: shown, whole: shown === whole ? "" : whole, inside: opened, number });
    return { source, target, width: shown ? Math.ceil(measure(shown, SMALL)) + 8 : 0, height: shown ? 16 : 0, weight: style !== "solid" ? 1 : outside.has(source) ? 4 : 8 };
  });
  return { boxes, blocks: drawing.blocks.map(({ key, parent }) => ({ key, parent })), lines };
}

function labelOf(box: DrawnBox, measure: Measure): { lines: string[]; whole: string; wide: number } {
  const whole = box.lines.map((it) => visible(begin(it, 300)).replace(/\s+/g, " ").trim()).filter(Boolean);
  const large = RUNS.has(box.shape);
  const lines = whole.slice(0, MOST_LINES).map((it, number) => cut(it, WIDEST, (text) => measure(text, large && !number ? LARGE : SMALL, large && !number)));
  if (whole.length > MOST_LINES) lines[MOST_LINES - 1] = "…";
  const wide = lines.length ? measure(lines[0]!, large ? LARGE : SMALL, large) : 0;
  return { lines, wide, whole: lines.join("\n") === whole.join("\n") ? "" : whole.join("\n") };
}

function sizeOf({ box, lines }: { box: DrawnBox; lines: string[] }, measure: Measure): { width: number; height: number } {
  if (box.shape === "point") return { width: 10, height: 10 };
  const large = RUNS.has(box.shape), head = box.shape === "opener" || box.shape === "choice";
  const widest = Math.max(0, ...lines.map((it, number) => measure(it, large && !number ? LARGE : SMALL, large && !number)));
  let width = widest + 2 * (SLANT[box.shape] ?? 0) + (large ? 28 : 24) + (hasSign(box.shape) ? SIGN : 0);
  if (box.flow !== null) width += CONTROL;
  const least = large ? 92 : box.shape === "gate" ? 44 : 64;
  // an even width: half of it is a whole number, and edges are sharp
  return { width: 2 * Math.ceil(Math.max(width, least) / 2), height: (large ? 38 : head ? 26 : 30) + ROW * Math.max(0, lines.length - 1) };
}

/** The beginning of a text that is not wider than this, with "…" if it is not the whole. */
export function cut(text: string, widest: number, measure: (text: string) => number): string {
  if (text.length < widest / 14 || measure(text) <= widest) return text;
  let least = 0, most = Math.min(text.length, 400);
  while (most - least > 1) {
    const middle = (least + most) >> 1;
    if (measure(`${text.slice(0, middle)}…`) <= widest) least = middle;
    else most = middle;
  }
  return `${begin(text, least).trimEnd()}…`;
}

/** About the width of a text, where there is no canvas to measure it. */
export const estimate: Measure = (text, size, bold = false) => {
  let width = 0;
  for (const character of text) width += /[iljtf.,:;'|! ()[\]]/.test(character) ? 0.34 : /[A-Zmw@%]/.test(character) ? 0.76 : character > "ⁿ" ? 1.05 : 0.56;
  return width * size * (bold ? 1.05 : 1);
};

/** Measures texts in the font of the page. */
export function canvasMeasure(family: string): Measure {
  const context = document.createElement("canvas").getContext("2d");
  if (context === null) return estimate;
  const known = new Map<string, number>();
  return (text, size, bold = false) => {
    const key = `${bold ? "b" : ""}${size} ${text}`;
    let width = known.get(key);
    if (width === undefined) {
      context.font = `${bold ? "600 " : ""}${size}px ${family}`;
      known.set(key, (width = context.measureText(text).width));
    }
    return width;
  };
}
