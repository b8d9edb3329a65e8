/** The graph of a flow: its steps, how they stand, and what is inside of its sub-flows. Whoever looks moves it; nothing else does. */
import "./graph.css";
import { Component, type FunctionComponent } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { counted } from "../model/steps";
import type { State } from "../status";
import type { Drawing } from "../wire/types";
import { Block, Box, Frame, Line } from "./box";
import { digest, knownLayout, layoutOf } from "./client";
import { canvasMeasure, prepare, type Measure, type Prepared } from "./label";
import type { Rect, Scene } from "./layout";
import { standing, type Standing, type States } from "./standing";
import { useCamera } from "./view";

export type { States } from "./standing";

/** How an execution of a sub-flow stands. */
export interface InsideStates { states: States; subFlows?: ReadonlyMap<string, string>; hasResult?: boolean }

export interface GraphProps {
  /** Null while it is loading. */
  drawing: Drawing | null;
  /** How the runs stand, by operator (`Steps.at`); without them it is the drawing of a flow, and of no execution. */
  states?: States;
  /** The operators of what is selected. */
  selected?: ReadonlySet<string>;
  /** Somebody has chosen a box: its operators, and for one in a sub-flow the id of the execution of that, if it has begun. */
  onSelect?(operators: readonly string[], execution?: string): void;
  /** The newest execution of the sub-flow of an operator. */
  subFlows?: ReadonlyMap<string, string>;
  /** Whether the execution has a result. */
  hasResult?: boolean;
  /** Reads the drawing of a sub-flow, to open it in its place; without this, sub-flows stay closed. */
  drawingOf?(flow: string, execution: string | undefined): Promise<Drawing>;
  /** Follows an execution of a sub-flow that is open, and tells how it stands. */
  Inside?: FunctionComponent<{ execution: string; drawing: Drawing; onStates(states: InsideStates): void }>;
}

type Opened = { state: "open"; drawing: Drawing } | { state: "opening" } | { state: "failed" };
interface Shown { prepared: Prepared; scene: Scene; key: string }

const NOTHING: States = new Map();
const NO_STATES = standing({ flow: "", definition: "", boxes: [], blocks: [], lines: [] }, NOTHING);
/** A flow may be in itself. */
const DEEPEST = 6;
let measure: Measure | undefined;

export function Graph({ drawing, states, selected, onSelect, subFlows, hasResult, drawingOf, Inside }: GraphProps) {
  const [opened, setOpened] = useState<ReadonlyMap<string, Opened>>(new Map());
  const [inside, setInside] = useState<ReadonlyMap<string, InsideStates>>(new Map());
  const [shown, trouble] = useShown(drawing, opened);
  const camera = useCamera(shown?.scene ?? null);
  const hasStates = states !== undefined;

  const executionOf = useCallback((key: string): string | undefined => {
    const part = shown?.prepared.parts.get(key);
    if (part === undefined) return undefined;
    const known = part.inside === "" ? subFlows : inside.get(part.inside)?.subFlows;
    return part.box.operators.map((it) => known?.get(it)).find((it) => it !== undefined);
  }, [shown, subFlows, inside]);

  const toggle = (key: string): void => {
    const flow = shown?.prepared.parts.get(key)?.box.flow;
    if (!flow || drawingOf === undefined) return;
    const set = (value: Opened | null): void => setOpened((before) => {
      const next = new Map(before);
      if (value === null) for (const it of before.keys()) if (it === key || it.startsWith(`${key}/`)) next.delete(it);
      if (value !== null) next.set(key, value);
      return next;
    });
    const now = opened.get(key)?.state;
    if (now === "opening") return;
    camera.hold(key);
    if (now === "open") {
      set(null);
      return;
    }
    set({ state: "opening" });
    drawingOf(flow, executionOf(key)).then(
      (found) => set({ state: "open", drawing: found }),
      () => set({ state: "failed" }),
    );
  };
  const choose = (key: string): void => {
    const part = shown?.prepared.parts.get(key);
    if (part === undefined || onSelect === undefined || part.box.operators.length === 0) return;
    if (part.inside === "") onSelect(part.box.operators);
    else {
      const execution = executionOf(part.inside);
      if (execution !== undefined) onSelect(part.box.operators, execution);
    }
  };
  const press = (target: EventTarget | null): boolean => {
    if (!(target instanceof Element)) return false;
    const control = target.closest("[data-opens]"), box = target.closest('[data-key][role="button"]');
    if (control !== null) toggle(control.getAttribute("data-opens")!);
    else if (box !== null) choose(box.getAttribute("data-key")!);
    return control !== null || box !== null;
  };

  const name = drawing === null ? "Graph" : `Graph of ${drawing.flow.slice(0, 100)}`;
  return (
    <div class="graph" role="group" aria-label={name}>
      <div class="graph-tools">
        <button class="button icon" type="button" aria-label="Zoom out" title="Zoom out" onClick={() => camera.zoom(1 / 1.3)} disabled={!shown}>−</button>
        <button class="button icon" type="button" aria-label="Zoom in" title="Zoom in" onClick={() => camera.zoom(1.3)} disabled={!shown}>+</button>
        <button class="button" type="button" title="Show all of it" onClick={camera.fit} disabled={!shown}>Fit</button>
      </div>
      <div
        class="graph-view" ref={camera.view} tabIndex={0} role="group" aria-label="Steps. The arrow keys move the picture or go from step to step; plus and minus zoom."
        onKeyDown={(event) => {
          if ((event.key === "Enter" || event.key === " ") && press(event.target)) event.preventDefault();
          else camera.onKey(event);
        }}
        onClick={(event) => camera.isClick() && press(event.target)}
        onFocusIn={camera.onFocus}
      >
        <div class="graph-world" ref={camera.world}>
          {shown && (
            <Picture
              shown={shown} drawing={drawing!} opened={opened} states={states ?? NOTHING} hasStates={hasStates} hasResult={hasResult} inside={inside}
              selected={selected} live={onSelect !== undefined} executionOf={executionOf} opens={drawingOf !== undefined}
            />
          )}
        </div>
        {shown === null && <p class="graph-wait loading" role="status">{trouble || <span class="loading-text">Drawing the graph</span>}</p>}
      </div>
      {Inside && [...opened].map(([key, it]) => {
        const execution = executionOf(key);
        return it.state === "open" && execution !== undefined && (
          <Inside
            key={`${key} ${execution}`} execution={execution} drawing={it.drawing}
            onStates={(found) => setInside((before) => (before.get(key) === found ? before : new Map(before).set(key, found)))}
          />
        );
      })}
    </div>
  );
}

/** The picture of a drawing; while the next one is laid out, the last one. */
function useShown(drawing: Drawing | null, opened: ReadonlyMap<string, Opened>): [Shown | null, string] {
  const [, draw] = useState({});
  const [trouble, setTrouble] = useState("");
  const last = useRef<Shown | null>(null);
  const wanted = useMemo(() => {
    if (drawing === null) return null;
    measure ??= canvasMeasure(getComputedStyle(document.body).fontFamily);
    const open = new Map([...opened].flatMap(([key, it]) => (it.state === "open" && key.split("/").length <= DEEPEST ? [[key, it.drawing] as const] : [])));
    const prepared = prepare(drawing, open, measure), key = digest(JSON.stringify(prepared.graph));
    return { prepared, key };
  }, [drawing, opened]);
  const scene = wanted === null ? undefined : last.current?.key === wanted.key ? last.current.scene : knownLayout(wanted.key);
  if (wanted !== null && scene !== undefined && last.current?.prepared !== wanted.prepared) last.current = { ...wanted, scene };
  useEffect(() => {
    if (wanted === null || scene !== undefined) return;
    let there = true;
    layoutOf(wanted.prepared.graph, wanted.key).then(
      () => there && draw({}),
      () => there && setTrouble("This graph cannot be drawn."),
    );
    return () => {
      there = false;
    };
  }, [wanted?.key, scene === undefined]);
  return [last.current, trouble];
}

interface PictureProps {
  shown: Shown; drawing: Drawing; opened: ReadonlyMap<string, Opened>; states: States; hasStates: boolean; hasResult?: boolean;
  inside: ReadonlyMap<string, InsideStates>; selected?: ReadonlySet<string>; live: boolean; opens: boolean; executionOf(key: string): string | undefined;
}

class Picture extends Component<PictureProps> {
  private standings = new Map<string, { drawing: Drawing; states: States; hasResult: boolean; made: Standing }>();

  shouldComponentUpdate(next: PictureProps): boolean {
    return (Object.keys(next) as (keyof PictureProps)[]).some((name) => next[name] !== this.props[name]);
  }

  /** How the parts of a drawing stand: the outermost one, or of a box that is open. */
  private standing(inside: string): Standing {
    const { drawing, states, hasResult = false, opened, inside: others, hasStates } = this.props;
    if (!hasStates) return NO_STATES;
    const it = inside === "" ? undefined : opened.get(inside);
    const own = inside === "" ? drawing : it?.state === "open" ? it.drawing : undefined;
    if (own === undefined) return NO_STATES;
    const theirs = others.get(inside), wanted = inside === "" ? { states, hasResult } : { states: theirs?.states ?? NOTHING, hasResult: theirs?.hasResult ?? false };
    const known = this.standings.get(inside);
    if (known !== undefined && known.drawing === own && known.states === wanted.states && known.hasResult === wanted.hasResult) return known.made;
    const made = standing(own, wanted.states, wanted.hasResult);
    this.standings.set(inside, { drawing: own, ...wanted, made });
    return made;
  }

  render() {
    const { shown: { prepared, scene }, opened, hasStates, selected, live, opens, executionOf } = this.props;
    const blockHeads = new Map<string, string>();
    for (const { key, box, inside } of prepared.parts.values()) {
      if (box.block !== null && (box.shape === "opener" || box.shape === "choice")) blockHeads.set(inside === "" ? box.block : `${inside}/${box.block}`, key);
    }
    const stateOf = (key: string | undefined): State | "" => {
      const part = key === undefined ? undefined : prepared.parts.get(key);
      if (part === undefined || !hasStates) return "";
      return this.standing(part.inside).boxes.get(part.box.key)?.state ?? (part.box.shape === "chunk" || part.box.shape === "flow" ? "idle" : "");
    };
    const isOpen = (key: string): boolean => opened.get(key)?.state === "open" && scene.boxes.some((it) => it.key.startsWith(`${key}/`));
    const frames = [...opened.keys()].filter(isOpen).flatMap((key) => scene.boxes.filter((it) => it.key === key));
    const depth = (rect: Rect): number => rect.key.split("/").length;
    const grounds = [
      ...scene.blocks.map((rect) => ({ rect, place: 2 * depth(rect), drawn: <Block key={`b ${rect.key}`} rect={rect} state={stateOf(blockHeads.get(rect.key))} /> })),
      ...frames.map((rect) => ({ rect, place: 2 * depth(rect) + 1, drawn: <Frame key={`f ${rect.key}`} rect={rect} state={stateOf(rect.key)} /> })),
    ].sort((one, other) => one.place - other.place);
    return (
      <svg class="graph-svg" width={scene.width} height={scene.height}>
        <g aria-hidden="true">{grounds.map((it) => it.drawn)}</g>
        <g aria-hidden="true">
          {scene.lines.map((line) => {
            const wire = prepared.wires.get(line.key);
            return wire && <Line key={line.key} line={line} wire={wire} passed={this.standing(wire.inside).lines[wire.number] ?? ""} hasStates={hasStates} />;
          })}
        </g>
        <g>
          {scene.boxes.map((rect) => {
            const part = prepared.parts.get(rect.key);
            if (part === undefined) return null;
            const { box, inside } = part, standing = this.standing(inside), own = standing.boxes.get(box.key);
            const has = box.operators.length > 0 && box.shape !== "point";
            const at = opened.get(rect.key)?.state;
            return (
              <Box
                key={rect.key} rect={rect} part={part} hasStates={hasStates} state={stateOf(rect.key)} count={own === undefined ? "" : counted(own)}
                failed={own?.failed ?? 0} ended={own?.ended ?? 0} total={own === undefined || own.more ? 0 : own.total} reached={standing.reached.has(box.key)}
                selected={inside === "" && has && selected !== undefined && box.operators.some((it) => selected.has(it))}
                live={live && has && (inside === "" || executionOf(inside) !== undefined)}
                inside={!opens || box.flow === null || depth(rect) > DEEPEST ? "" : at === "open" ? (isOpen(rect.key) ? "open" : "opening") : (at ?? "closed")}
              />
            );
          })}
        </g>
      </svg>
    );
  }
}

