/** The parts of the picture. Each is drawn anew only if it has changed: there may be hundreds. */
import { Component } from "preact";
import { LOOK, type State } from "../status";
import { CONTROL, hasSign, HEAD, LARGE, SIGN, SMALL, type Part, type Wire } from "./label";
import type { LineOut, Rect } from "./layout";
import { inner, outline } from "./shapes";

export interface BoxProps {
  rect: Rect;
  part: Part;
  /** "" in a drawing without an execution. */
  state: State | "";
  /** `4/7`, and how many failed. */
  count: string;
  failed: number;
  ended: number; total: number;
  /** For a box that has no runs: whether something has come through it. */
  reached: boolean;
  selected: boolean;
  /** Whether it can be chosen. */
  live: boolean;
  /** Of the step of a sub-flow that can be opened. */
  inside: "" | "closed" | "opening" | "open" | "failed";
}

abstract class Unchanging<P extends object> extends Component<P> {
  shouldComponentUpdate(next: P): boolean {
    for (const name of Object.keys(next) as (keyof P)[]) if (next[name] !== this.props[name]) return true;
    return false;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  flow: "sub-flow", gate: "waits for", collect: "", signal: "signal", timer: "timer", opener: "block", choice: "choice", case: "case",
};

/** What a screen reader says of a box. */
export function nameOf({ part, state, total, ended, failed, reached }: BoxProps, hasStates: boolean): string {
  const { box } = part, name = (part.whole || part.lines.join("\n")).replace(/\n/g, ", ");
  const words = [[KINDS[box.shape] ?? "", name].filter(Boolean).join(" ")];
  if (state) words.push(LOOK[state].word);
  else if (hasStates) words.push(reached ? "passed" : "not reached");
  if (total > 1 || (total > 0 && hasSign(box.shape) && box.shape !== "chunk" && box.shape !== "flow")) words.push(`${ended} of ${total}`);
  if (failed > 0 && total > 1) words.push(`${failed} failed`);
  return words.join(", ");
}

export class Box extends Unchanging<BoxProps & { hasStates: boolean }> {
  render() {
    const { rect, part, state, count, failed, ended, total, reached, selected, live, inside, hasStates } = this.props;
    const { box, lines } = part, { shape } = box, { width } = rect;
    if (shape === "point") {
      return <circle class={`graph-point ${reached ? "graph-reached" : ""}`} cx={rect.x + width / 2} cy={rect.y + rect.height / 2} r={width / 2} />;
    }
    const height = inside === "open" ? HEAD : rect.height;
    const label = nameOf(this.props, hasStates), large = shape === "chunk" || shape === "flow";
    const sign = state && hasSign(shape) ? state : "", middle = (width - (inside ? CONTROL : 0)) / 2;
    const first = lines.length > 1 ? height / 2 - (lines.length - 1) * 7.5 : height / 2;
    const shown = `${count}${failed > 0 && total > 1 ? ` ${failed.toLocaleString("en")}✗` : ""}`;
    const badge = shown.length * 6.5 + 12;
    const extra = live
      ? { role: "button" as const, tabindex: 0, "aria-pressed": selected }
      : { role: "img" as const };
    return (
      <g transform={`translate(${rect.x} ${rect.y})`}>
        <title>{`${part.whole ? `${part.whole}\n` : ""}${label}${live && part.inside ? "\nOpens the run of this sub-flow" : ""}`}</title>
        <g
          class={`graph-box graph-${shape} ${state ? `is-${state} graph-has-state` : reached ? "graph-reached" : ""} ${selected ? "graph-selected" : ""} ${hasStates ? "" : "graph-plain"}`}
          data-key={rect.key} aria-label={label} {...extra}
        >
          <rect class="graph-ring" x={-4} y={-4} width={width + 8} height={height + 8} rx={12} />
          {state === "running" && <path class="graph-pulse" d={outline(shape, width, height)} />}
          <path class="graph-shape" d={outline(shape, width, height)} />
          {shape === "data" && <path class="graph-inner" d={inner(shape, width, height)} />}
          {total > 1 && <rect class="graph-rail" x={8} y={height - 5} width={width - 16} height={2.5} rx={1.25} />}
          {total > 1 && ended > 0 && <rect class="graph-done" x={8} y={height - 5} width={(width - 16) * Math.min(1, ended / total)} height={2.5} rx={1.25} />}
          {sign && <text class="graph-sign" x={middle - part.wide / 2 - 2} y={first} aria-hidden="true">{LOOK[sign].sign}</text>}
          {lines.map((it, number) => (
            <text key={number} class={large && !number ? "graph-name" : "graph-small"} x={middle + (sign && !number ? SIGN / 2 : 0)} y={first + number * 15} font-size={large && !number ? LARGE : SMALL}>{it}</text>
          ))}
        </g>
        {shown && (
          <g class={`graph-count ${state ? `is-${state}` : ""}`} aria-hidden="true">
            <rect x={width - 14} y={-9} width={badge} height={18} rx={9} />
            <text x={width - 14 + badge / 2} y={0.5}>{shown}</text>
          </g>
        )}
        {inside && (
          <g>
            <title>{TITLES[inside]}</title>
            <g
              class="graph-control" role="button" tabindex={0} data-opens={rect.key} aria-expanded={inside === "open"} aria-busy={inside === "opening"}
              aria-label={`Inside of ${lines[0] ?? "this sub-flow"}${inside === "failed" ? ", it could not be read" : ""}`}
            >
              <rect x={width - CONTROL} y={height / 2 - 12} width={24} height={24} rx={6} />
              {inside === "opening" ? <text x={width - 16} y={height / 2 - 2} aria-hidden="true">…</text>
                : inside === "failed" ? <text x={width - 16} y={height / 2 + 1} aria-hidden="true">!</text>
                : <path d={`M${width - 21} ${height / 2}h10${inside === "open" ? "" : `M${width - 16} ${height / 2 - 5}v10`}`} />}
            </g>
          </g>
        )}
      </g>
    );
  }
}

const TITLES = { closed: "Show what is inside", opening: "Loading", open: "Hide what is inside", failed: "It could not be read. Try again" };

/** The frame of a sub-flow that is open, with its box as the head. */
export function Frame({ rect, state }: { rect: Rect; state: State | "" }) {
  return <rect class={`graph-frame ${state ? `is-${state} graph-has-state` : ""}`} x={rect.x} y={rect.y} width={rect.width} height={rect.height} rx={8} />;
}

export function Block({ rect, state }: { rect: Rect; state: State | "" }) {
  return <rect class={`graph-block ${state ? `is-${state} graph-has-state` : ""}`} x={rect.x} y={rect.y} width={rect.width} height={rect.height} rx={12} />;
}

export class Line extends Unchanging<{ line: LineOut; wire: Wire; passed: "" | "passed" | "failed"; hasStates: boolean }> {
  render() {
    const { line, wire, passed, hasStates } = this.props;
    const name = `graph-line graph-${wire.style} ${passed ? `graph-${passed}` : ""} ${hasStates ? "" : "graph-plain"}`;
    return (
      <g class={name}>
        <path class="graph-path" d={line.path} />
        <path class="graph-arrow" d="M0 0L-7.5 -3.6L-6 0L-7.5 3.6Z" transform={`translate(${line.tip.x} ${line.tip.y}) rotate(${line.turn})`} />
        {line.label && (
          <text class="graph-wire" x={line.label.x} y={line.label.y}>
            {wire.whole && <title>{wire.whole}</title>}
            {wire.label}
          </text>
        )}
      </g>
    );
  }
}
