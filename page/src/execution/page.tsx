/** One execution, now or at a moment of its past. */
import "./page.css";
import { createContext, type ComponentChildren } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useAccess } from "../app/access";
import { Link } from "../app/link";
import { useExecution, useTrack, type Watched } from "../app/live";
import { go, hasMoved, type Route, type Tab } from "../app/route";
import { Tabs, type TabInfo } from "../app/tabs";
import { duration, exact } from "../app/time";
import { Ago, Loading, Mark, Panel, Trouble, useNow } from "../app/ui";
import { Graph, type InsideStates } from "../graph/graph";
import { Steps } from "../model/steps";
import type { Moment, Track } from "../model/track";
import { FINAL } from "../status";
import { visible } from "../values/text";
import { get, isAbort, onForget, path, problemOf } from "../wire/http";
import type { Drawing, ExecutionInfo, Problem } from "../wire/types";
import { Actions } from "./actions";
import { glance, Overview } from "./overview";
import { Questions } from "./questions";
import { RunDetails } from "./run";
import { Slider } from "./slider";
import { StatePanel } from "./state";
import { StreamPanel } from "./stream";
import { Timeline } from "./timeline";

export type ExecutionRoute = Extract<Route, { view: "execution" }>;

/** Labels that the server has set for itself. */
const OWN_LABELS = new Set(["idempotency-key"]);

export function ExecutionPage({ route }: { route: ExecutionRoute }) {
  const watched = useExecution(route.id);
  const { info, track, error } = watched;
  if (info === null) {
    if (error === null) return <div class="exec"><h1 class="exec-title cut">{visible(route.id)}</h1><Loading lines={20} /></div>;
    return (
      <div class="exec exec-missing">
        <h1 class="exec-title">{error.status === 404 ? "There is no such run" : "This run cannot be shown"}</h1>
        <p class="mono">{visible(route.id.slice(0, 300))}</p>
        {error.status === 404 ? <p class="muted">It was deleted, or the address has a mistake.</p> : <Trouble problem={error} />}
        <Link class="button" to={{ view: "runs" }}>All runs</Link>
      </div>
    );
  }
  return <Shown key={info.created} route={route} watched={watched} info={info} track={track} />;
}

function Shown({ route, watched, info, track }: { route: ExecutionRoute; watched: Watched; info: ExecutionInfo; track: Track }) {
  const wide = useWide();
  const { readOnly } = useAccess();
  const { version } = watched;
  const live = route.moment === undefined;
  const number = Math.min(Math.max(route.moment ?? track.last, track.first), track.last);
  const moment = useMemo(() => track.at(number), [track, number, live ? version : 0]);
  const before = useMemo(() => (number > track.first ? track.at(number - 1) : null), [track, number]);
  const items = useMemo(() => track.items(number), [track, number, live ? version : 0]);
  const drawing = useDrawing(info.flow, moment.definition || info.definition);
  const steps = useMemo(() => (drawing.found === null ? null : new Steps(track, drawing.found)), [track, drawing.found]);
  const states = useMemo(() => steps?.at(moment) ?? new Map(), [steps, moment]);

  // Whoever does something twice in one picture goes on from what was meant, not from what is drawn.
  const newest = useRef(route);
  newest.current = route;
  const move = useMemo(() => (to: number | undefined) => go({ ...newest.current, moment: to }, { replace: true }), []);
  const select = useMemo(() => (run: number | undefined) => go({ ...newest.current, run, tab: run === undefined ? undefined : "run" }, { replace: true }), []);
  const choose = useMemo(() => (tab: Tab | "now") => go({ ...newest.current, tab: tab === "now" ? undefined : tab }, { replace: true }), []);

  const run = route.run !== undefined && moment.runs.get(route.run) ? route.run : undefined;
  const operator = run === undefined ? undefined : moment.runs.get(run)!.operator;
  const selected = useMemo(() => new Set(operator === undefined ? [] : [operator]), [operator]);
  const subFlows = glance(moment).subFlows;
  const chooseBox = useMemo(() => (operators: readonly string[], execution?: string) => {
    if (execution !== undefined) return go({ view: "execution", id: execution });
    const found = newestRun(momentRef.current, operators);
    if (found !== undefined) select(found);
  }, []);
  const momentRef = useRef(moment);
  momentRef.current = moment;

  const ready = watched.complete || track.frames.length > 0;
  const onStreamMoment = move;

  const graph = useMemo(() => (
    <Panel title="Graph" class="exec-graph">
      {drawing.problem !== null ? <Trouble problem={drawing.problem} /> : (
        <Time.Provider value={live ? null : moment.at}>
          <Graph drawing={drawing.found} states={states} selected={selected} onSelect={chooseBox} subFlows={subFlows} hasResult={moment.hasResult}
            drawingOf={drawingOf} Inside={Inside} />
        </Time.Provider>
      )}
    </Panel>
  ), [drawing.found, drawing.problem, states, selected, subFlows, live, moment]);
  const timeline = useMemo(() => (
    <Panel title="Timeline" class="exec-time">
      {ready ? <Timeline track={track} version={version} moment={moment} live={live} selected={run} onSelect={select} steps={steps} owned={info.owned} /> : <Loading lines={6} />}
    </Panel>
  ), [ready, track, version, moment, live, run, steps, info.owned]);
  const now = (
    <Questions info={info} moment={moment} live={live} readOnly={readOnly} onRun={select}>
      <Overview info={info} moment={moment} live={live} onRun={select} />
    </Questions>
  );
  const details = run === undefined
    ? <p class="empty">{route.run === undefined ? "Choose a step in the graph or the timeline." : "This run has not begun at this moment."}</p>
    : <RunDetails track={track} moment={moment} run={run} onSelect={select} onMoment={move} steps={steps} />;
  const stream = useMemo(() => <StreamPanel items={items} live={live} onMoment={onStreamMoment} timeOf={(frame) => track.frame(frame)?.at} />, [items, live]);
  const state = useMemo(() => <StatePanel moment={moment} before={before} />, [moment, before]);

  const asks = moment.questions.size;
  const chosen: Tab | "now" = route.tab === "stream" || route.tab === "state" || route.tab === "run" ? route.tab : "now";
  const tabs: TabInfo<Tab | "now">[] = [
    { key: "now", words: asks > 0 ? (asks === 1 ? "Question" : "Questions") : "Overview", extra: asks > 0 ? <Count sign="?" number={asks} /> : undefined },
    { key: "run", words: "Step", extra: run !== undefined && <span class="tab-count cut">{visible(moment.runs.get(run)!.chunk)}</span> },
    { key: "stream", words: "Stream", extra: <span class="tab-count">{items.length.toLocaleString()}</span> },
    { key: "state", words: "State", extra: <span class="tab-count">{moment.state.size.toLocaleString()}</span> },
  ];
  const bodies: Record<string, ComponentChildren> = { now, run: details, stream, state };

  return (
    <div class="exec">
      <Header info={info} moment={moment} live={live} />
      {track.frames.length > 0
        ? <Slider track={track} moment={moment} live={live} ended={FINAL.has(info.status)} onMove={move} />
        : <div class="exec-moment muted">{info.frames > 0 ? "Loading its frames" : "Nothing has happened yet."}</div>}
      <Progress watched={watched} />
      {wide ? (
        <div class="exec-grid">
          {graph}
          {timeline}
          <div class="card exec-tabs">
            <Tabs name="Details" tabs={tabs} chosen={chosen} onChoose={choose} class="exec-tabbed">{bodies[chosen]}</Tabs>
          </div>
        </div>
      ) : (
        <div class="exec-stack">
          <Panel title={asks > 0 ? (asks === 1 ? "Question" : "Questions") : "Overview"} class="exec-now">{now}</Panel>
          {graph}
          {timeline}
          <Panel title="Stream" class="exec-stream" inner extra={<span class="muted number">{items.length.toLocaleString()}</span>}>{stream}</Panel>
          <Panel title="State" class="exec-state" inner>{state}</Panel>
          {route.tab === "run" && route.run !== undefined && <Sheet onClose={() => select(undefined)}>{details}</Sheet>}
        </div>
      )}
    </div>
  );
}

function Count({ sign, number }: { sign: string; number: number }) {
  return <span class="exec-asks"><span aria-hidden="true">{sign}</span> {number}</span>;
}

// -- header ---------------------------------------------------------------------------------------------------------------

function Header({ info, moment, live }: { info: ExecutionInfo; moment: Moment; live: boolean }) {
  const labels = Object.entries(info.labels).filter(([name]) => !OWN_LABELS.has(name));
  const status = live ? info.status : moment.status;
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (hasMoved() && document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
  }, []);
  return (
    <header class="exec-head">
      <div class="exec-line">
        <h1 class="exec-title cut" ref={heading} tabIndex={-1}><Link to={{ view: "flow", flow: info.flow }}>{visible(info.flow)}</Link> <span class="exec-id" title={visible(info.id)}>{visible(info.id)}</span></h1>
        <span class={`badge is-${status}`}><Mark status={status} /></span>
        {!live && <span class="exec-past">in the past</span>}
        <Actions info={info} moment={moment} live={live} />
      </div>
      <div class="exec-line exec-facts muted small">
        <span class="exec-since">started <Ago at={info.created} /></span>
        <span class="exec-took">{FINAL.has(info.status) ? "took" : "for"} <Taken info={info} /></span>
        {info.parent !== null && <span class="cut">part of <Link to={{ view: "execution", id: info.parent }}>{visible(info.parent)}</Link></span>}
        {info.forked_from !== null && (
          <span class="cut">fork of <Link to={{ view: "execution", id: info.forked_from[0], moment: info.forked_from[1] }}>{visible(info.forked_from[0])}</Link> at {info.forked_from[1].toLocaleString()} · <Link
            to={{ view: "compare", one: info.forked_from[0], other: info.id }}>compare</Link></span>
        )}
        {labels.map(([name, value]) => (
          <Link key={name} class="tag" to={{ view: "runs", label: `${name}:${value}` }} title={visible(`Runs with the label ${name}: ${value}`)}>{visible(`${name}: ${value}`)}</Link>
        ))}
      </div>
    </header>
  );
}

function Taken({ info }: { info: ExecutionInfo }) {
  const now = useNow();
  const ended = FINAL.has(info.status);
  return <span class="number" title={ended ? exact(info.updated) : undefined}>{duration((ended ? info.updated : now) - info.created)}</span>;
}

/** While many frames are read; without room of its own, so that nothing moves when they are here. */
function Progress({ watched }: { watched: Watched }) {
  const { info, track, complete, error } = watched;
  const first = useRef(true); // what comes later is not loading, but news
  if (complete) first.current = false;
  if (error !== null) return <div class="exec-progress" role="alert">This run is not followed any more: {error.detail || error.title}</div>;
  if (!first.current || info === null || info.frames === 0) return null;
  return (
    <progress class="exec-bar" max={info.frames} value={track.last} aria-label="Frames that are here" />
  );
}

/** On a phone: over the page, from below. */
function Sheet({ children, onClose }: { children: ComponentChildren; onClose(): void }) {
  const element = useRef<HTMLElement>(null);
  useEffect(() => {
    element.current?.focus();
    const close = (event: KeyboardEvent): void => void (event.key === "Escape" && !event.defaultPrevented && onClose());
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, []);
  return (
    <section class="exec-sheet" aria-label="Step" ref={element} tabIndex={-1}>
      <div class="card-head"><h2>Step</h2><button class="button" type="button" onClick={onClose}>Close</button></div>
      <div class="exec-sheet-body">{children}</div>
    </section>
  );
}

// -- helpers --------------------------------------------------------------------------------------------------------------

const WIDE = "(min-width: 1000px)";

function useWide(): boolean {
  const query = useMemo(() => matchMedia(WIDE), []);
  const [wide, setWide] = useState(query.matches);
  useEffect(() => {
    const look = (): void => setWide(query.matches);
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, []);
  return wide;
}

/** Drawings never change: what was read once is kept. */
const drawings = new Map<string, Drawing>();
onForget(() => drawings.clear());

async function readDrawing(flow: string, definition: string, signal?: AbortSignal): Promise<Drawing> {
  const key = `${flow} ${definition}`;
  let found = drawings.get(key);
  if (found === undefined) {
    found = await get<Drawing>(path("flows", flow, "drawing"), { definition }, signal);
    if (drawings.size > 50) drawings.clear();
    drawings.set(key, found);
  }
  return found;
}

function useDrawing(flow: string, definition: string): { found: Drawing | null; problem: Problem | null } {
  const key = `${flow} ${definition}`;
  const [problem, setProblem] = useState<{ key: string; problem: Problem } | null>(null);
  const [, draw] = useState({});
  useEffect(() => {
    if (definition === "" || drawings.has(key)) return;
    const abort = new AbortController();
    readDrawing(flow, definition, abort.signal)
      .then(() => draw({}))
      .catch((error: unknown) => !isAbort(error) && setProblem({ key, problem: problemOf(error) }));
    return () => abort.abort();
  }, [key]);
  return { found: drawings.get(key) ?? null, problem: problem?.key === key ? problem.problem : null };
}

/** The drawing of a sub-flow: as its execution was recorded, or as it is now while it has none. */
async function drawingOf(flow: string, execution: string | undefined): Promise<Drawing> {
  const info = execution === undefined ? null : await get<ExecutionInfo>(path("executions", execution));
  return readDrawing(flow, info?.definition ?? "");
}

/** The time of day that is shown; null: now. */
const Time = createContext<number | null>(null);

/** Follows an execution of a sub-flow that is open in the graph. */
function Inside({ execution, drawing, onStates }: { execution: string; drawing: Drawing; onStates(states: InsideStates): void }) {
  const { track, version } = useTrack(execution);
  const time = useContext(Time);
  const steps = useMemo(() => new Steps(track, drawing), [track, drawing]);
  const moment = track.at(time === null ? track.last : track.momentAt(time));
  useEffect(() => {
    onStates({ states: steps.at(moment), subFlows: glance(moment).subFlows, hasResult: moment.hasResult });
  }, [steps, moment, time === null ? version : 0]);
  return null;
}

/** The run to show for a step: one that is open, else one that has failed, else the newest. */
function newestRun(moment: Moment, operators: readonly string[]): number | undefined {
  const wanted = new Set(operators);
  let newest: number | undefined, failed: number | undefined, open: number | undefined;
  for (const run of moment.runs.values()) {
    if (!wanted.has(run.operator)) continue;
    newest = run.id;
    if (run.state === "failed") failed = run.id;
    if (run.ended === null) open = run.id;
  }
  return open ?? failed ?? newest;
}
