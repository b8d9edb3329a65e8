/** What counts now: the open question, else how it has ended, or what is at work. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Link } from "../app/link";
import { duration, exact } from "../app/time";
import { Mark, useNow } from "../app/ui";
import type { Moment, Run } from "../model/track";
import { FINAL } from "../status";
import { Value } from "../values/value";
import { get, path } from "../wire/http";
import type { ExecutionInfo } from "../wire/types";

/** How many runs are listed. */
const ROWS = 4;

/** `open`: the oldest ones that are open, `count`: how many are. */
interface Glance { open: Run[]; count: number; failed: Run | null; subFlows: ReadonlyMap<string, string> }

const glances = new WeakMap<Moment, Glance>();

/** What is looked for in all runs of a moment, in one pass: there may be tens of thousands. */
export function glance(moment: Moment): Glance {
  let found = glances.get(moment);
  if (found === undefined) {
    const open: Run[] = [];
    const subFlows = new Map<string, string>();
    let failed: Run | null = null;
    let count = 0;
    for (const run of moment.runs.values()) {
      if (run.subFlow !== null) subFlows.set(run.operator, run.subFlow);
      if (run.state === "failed" && run.chunk === moment.error?.chunk) failed = run;
      if (run.ended !== null || run.state === "asking") continue; // what is asked is shown above
      if (count++ < ROWS) open.push(run);
    }
    glances.set(moment, (found = { open, count, failed, subFlows }));
  }
  return found;
}

export function Overview({ info, moment, live, onRun }: { info: ExecutionInfo; moment: Moment; live: boolean; onRun(run: number): void }) {
  const { subFlows } = glance(moment);
  const due = live && info.due !== null ? info.due : null;
  return (
    <div class="exec-overview" key={moment.error ? "failed" : moment.hasResult ? "result" : moment.status === "cancelled" ? "cancelled" : ""}>
      {moment.error && <Failure moment={moment} onRun={onRun} />}
      {moment.status === "cancelled" && <p><Mark status="cancelled" /> {moment.reason}</p>}
      {moment.hasResult && <Part title="Result"><Value value={moment.result} open={2} copy /></Part>}
      {!moment.started && <p class="muted">It has not started yet.</p>}
      {moment.started && <Part title="Started with"><Value value={moment.input} /></Part>}
      {moment.started && !FINAL.has(moment.status) && <AtWork moment={moment} live={live} due={due} onRun={onRun} />}
      {subFlows.size > 0 && <p><Link class="button" to={{ view: "runs", parent: info.id }}>Sub-flows</Link></p>}
      {due !== null && <p class="muted small">Next by itself: {exact(due)}</p>}
      {live && moment.status === "running" && !info.owned && <NoWorker key={moment.number} info={info} />}
    </div>
  );
}

/** The runs that are open, in rows that stay where they are: one that has ended keeps its row until another one needs it. */
function AtWork({ moment, live, due, onRun }: { moment: Moment; live: boolean; due: number | null; onRun(run: number): void }) {
  const { open, count } = glance(moment);
  const rows = useRef<readonly number[]>([]);
  rows.current = place(rows.current, open.map((run) => run.id), ROWS);
  return (
    <section>
      <h3 class="exec-part">At work{count > ROWS && <span class="number"> ({ROWS} of {count.toLocaleString()}; the timeline has all)</span>}</h3>
      <ul class="exec-open exec-at-work">
        {open.length === 0 ? <li class="exec-nothing muted">{waits(moment, due)}</li> : rows.current.map((id, row) => {
          const run = moment.runs.get(id);
          return <li key={row} class="exec-row">{run !== undefined && <OpenRun key={id} run={run} at={live ? null : moment.at} onRun={onRun} />}</li>;
        })}
      </ul>
    </section>
  );
}

/** The new ones take free rows; a row is free if its run is not open any more. */
function place(rows: readonly number[], open: readonly number[], room: number): number[] {
  const found = [...rows];
  for (const id of open) {
    if (found.includes(id)) continue;
    const free = found.findIndex((it) => !open.includes(it));
    if (free >= 0) found[free] = id;
    else if (found.length < room) found.push(id);
  }
  return found;
}

function waits(moment: Moment, due: number | null): string {
  if (moment.questions.size > 0) return "Nothing: it waits for an answer.";
  if (moment.status === "waiting") return due === null ? "Nothing: it waits for a signal." : "Nothing: it waits for a signal or a time.";
  return "Nothing at this moment.";
}

/** Says that nobody runs it, if that is so for some seconds. */
function NoWorker({ info }: { info: ExecutionInfo }) {
  const [none, setNone] = useState(false);
  useEffect(() => {
    // nothing tells of a worker that has taken it: it is asked
    const look = (): void => {
      get<ExecutionInfo>(path("executions", info.id)).then((found) => setNone(found.status === "running" && !found.owned)).catch(() => undefined);
    };
    const timer = setInterval(look, 5000);
    return () => clearInterval(timer);
  }, [info.id]);
  return none ? <p class="muted">No worker has taken it. If that stays so, start one that has the code of {info.flow}.</p> : null;
}

function Part({ title, children }: { title: string; children: ComponentChildren }) {
  return <section><h3 class="exec-part">{title}</h3>{children}</section>;
}

function Failure({ moment, onRun }: { moment: Moment; onRun(run: number): void }) {
  const error = moment.error!;
  const run = glance(moment).failed;
  return (
    <div class="trouble">
      <p class="trouble-title"><span aria-hidden="true">✗ </span>{error.type}{error.chunk && ` in ${error.chunk}`}</p>
      {error.message && <p class="trouble-detail mono">{error.message.slice(0, 4000)}</p>}
      {run !== null && <button class="button" type="button" onClick={() => onRun(run.id)}>Show the run that failed</button>}
    </div>
  );
}

function OpenRun({ run, at, onRun }: { run: Run; at: number | null; onRun(run: number): void }) {
  const now = useNow();
  const begun = run.segments[0]?.start;
  return (
    <button class={`exec-choice ${run.ended === null ? "" : "muted"}`} type="button" onClick={() => onRun(run.id)}>
      <Mark status={run.state} /><span class="cut grow">{run.chunk}</span>
      {run.attempt > 1 && <span class="muted">attempt {run.attempt}</span>}
      <span class="muted number">{begun !== undefined && duration(((run.ended === null ? null : run.segments.at(-1)!.end) ?? at ?? now) - begun)}</span>
    </button>
  );
}
