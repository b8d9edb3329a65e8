/** All about one run: what it got and gave, its attempts, and what has caused it. */
import "./run.css";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "../app/link";
import { clock, duration, exact } from "../app/time";
import { Mark, Trouble, useNow } from "../app/ui";
import { causesOf, type Cause } from "../model/causes";
import { attemptsOf, lengthOf, spanOf } from "../model/rows";
import type { Steps } from "../model/steps";
import type { Moment, Run, Segment, Track } from "../model/track";
import { FINAL, LOOK } from "../status";
import { line } from "../values/text";
import { Text, Value } from "../values/value";
import { get, isAbort, path, problemOf } from "../wire/http";
import type { Failed, Problem, StateInfo } from "../wire/types";

export interface RunDetailsProps {
  track: Track;
  moment: Moment;
  /** The number of the run. */
  run: number;
  onSelect(run: number): void;
  onMoment(moment: number): void;
  /** With it the item of a for_each is shown that the run belongs to. */
  steps?: Steps | null;
}

/** How many causes are shown before somebody asks for more. */
const CAUSES = 12;
/** How many attempts and waits are shown before somebody asks for more. */
const PARTS = 12;

export function RunDetails({ track, moment, run: id, onSelect, onMoment, steps }: RunDetailsProps) {
  const clockNow = useNow();
  const run = moment.runs.get(id);
  if (run === undefined) return <p class="empty">This run has not begun at this moment.</p>;
  const past = moment.number < track.last;
  const now = past || FINAL.has(moment.recorded) ? moment.at : Math.max(clockNow, track.until);
  const item = steps?.itemOf(id) ?? null;
  const { start, end } = spanOf(run);
  const last = track.at(track.last).runs.get(id);
  return (
    <article class="run" aria-label={`Run ${run.id} of ${run.chunk}`}>
      <header class="run-head">
        <h3 class="run-name">{line(run.chunk, 200) || "(no name)"}</h3>
        <Mark status={run.state} />
        {attemptsOf(run) > 1 && <span class="tag">attempt {run.attempt}</span>}
        {item !== null && <span class="tag">item {item.number}</span>}
      </header>
      <dl class="run-facts">
        <dt>Began</dt>
        <dd><time title={exact(start)}>{clock(start, now)}</time> <ToMoment number={run.began} onMoment={onMoment} /></dd>
        <dt>{end === null ? "Open for" : "Took"}</dt>
        <dd class="number">
          {duration(lengthOf(run, now))}
          {run.ended !== null && <> <ToMoment number={run.ended} onMoment={onMoment} /></>}
        </dd>
        {run.losses > 0 && <><dt>Lost</dt><dd>{run.losses === 1 ? "1 attempt" : `${run.losses} attempts`} ended with the process</dd></>}
        {run.subFlow !== null && <><dt>Sub-flow</dt><dd><SubFlows run={last ?? run} /></dd></>}
        <dt>Number</dt>
        <dd class="number">{run.id}</dd>
      </dl>
      {run.questions.length > 0 && <p class="run-asks"><Mark status="asking" word={false} /> It waits for an answer: <b>{run.questions.map((it) => line(it, 80)).join(", ")}</b></p>}
      {run.error !== null && <Wrong error={run.error} run={run} />}
      <Section title="Input"><Input track={track} run={run} item={item?.hasValue ? item.value : undefined} /></Section>
      <Section title="Output">
        {run.hasOutput ? <Value value={run.output} copy /> : <p class="muted">{whyNoOutput(run)}</p>}
      </Section>
      <Attempts run={run} now={now} />
      <Causes track={track} moment={moment} run={run} now={now} steps={steps} onSelect={onSelect} onMoment={onMoment} />
    </article>
  );
}

function Section({ title, children }: { title: string; children: ComponentChildren }) {
  return <section class="run-part"><h4>{title}</h4>{children}</section>;
}

function ToMoment({ number, onMoment }: { number: number; onMoment(moment: number): void }) {
  return (
    <button type="button" class="run-link" title="Show this moment" onClick={() => onMoment(number)}>
      frame {number.toLocaleString("en")}
    </button>
  );
}

function whyNoOutput(run: Run): string {
  switch (run.state) {
    case "failed": return "None: it failed.";
    case "cancelled": return "None: it was cancelled.";
    case "asking": return run.phase === "ended" ? "None yet: it has asked, and the answer goes on in its place." : "Not yet.";
    case "done": return "None: it ended by asking, and the answer went on in its place.";
    default: return "Not yet.";
  }
}

function Wrong({ error, run }: { error: Failed; run: Run }) {
  const title = run.hasOutput ? "It failed, and its fallback stood in" : run.state === "failed" ? "It failed" : "Its last attempt failed";
  return (
    <section class="run-part run-wrong" aria-label={title}>
      <h4>{title}</h4>
      <p class="run-error"><b>{line(error.type, 200)}</b>{error.message !== "" && <>: <Text text={error.message} /></>}</p>
      {error.chunk !== "" && error.chunk !== run.chunk && <p class="muted">in {line(error.chunk, 200)}</p>}
    </section>
  );
}

// -- input --------------------------------------------------------------------------------------------------------------

type Asked = { run: number; value: unknown } | { run: number; problem: Problem } | null;

/** What the server has told of inputs: they never change. */
const inputs = new WeakMap<Track, Map<number, unknown>>();

/** The frames do not have it: the state at the moment in which the run began has. */
function Input({ track, run, item }: { track: Track; run: Run; item: unknown }) {
  const [asked, setAsked] = useState<Asked>(null);
  const [again, setAgain] = useState(0);
  const known = inputs.get(track)?.get(run.id);
  const has = run.hasInput || known !== undefined;
  useEffect(() => {
    if (has) return;
    const stop = new AbortController();
    setAsked(null);
    get<StateInfo>(path("executions", track.id, "state"), { at: run.began }, stop.signal).then(
      (state) => {
        const found = state.runs.find((it) => it.run === run.id);
        const all = inputs.get(track) ?? new Map<number, unknown>();
        if (found !== undefined) inputs.set(track, all.set(run.id, found.value));
        setAsked(found !== undefined ? { run: run.id, value: found.value } : {
          run: run.id, problem: { title: "The server does not have it any more", status: 404, code: "gone" },
        });
      },
      (error: unknown) => {
        if (!isAbort(error)) setAsked({ run: run.id, problem: problemOf(error) });
      },
    );
    return () => stop.abort();
  }, [track, run.id, has, again]);
  if (run.hasInput) return <Value value={run.input} copy />;
  if (known !== undefined) return <Value value={known} copy />;
  const mine = asked?.run === run.id ? asked : null;
  if (mine !== null && "problem" in mine) return <Trouble problem={mine.problem} onAgain={mine.problem.code === "gone" ? undefined : () => setAgain(again + 1)} />;
  if (item !== undefined) return <Value value={item} copy />;
  return <p class="muted run-loading" role="status">Loading</p>;
}

// -- attempts -------------------------------------------------------------------------------------------------------------

function Attempts({ run, now }: { run: Run; now: number }) {
  const [all, setAll] = useState(false);
  const parts = run.segments;
  const shown = all ? parts : parts.slice(-PARTS);
  return (
    <Section title={attemptsOf(run) > 1 ? "Attempts" : "Course"}>
      <ol class="run-parts">
        {shown.length < parts.length && (
          <li class="run-all"><button type="button" class="run-link" onClick={() => setAll(true)}>Show all {parts.length.toLocaleString("en")}</button></li>
        )}
        {shown.map((part, place) => <Part key={parts.length - shown.length + place} part={part} now={now} />)}
      </ol>
    </Section>
  );
}

function Part({ part, now }: { part: Segment; now: number }) {
  const state = part.end === null ? part.state : outcomeOf(part);
  const words = part.state === "running" ? `attempt ${part.attempt}` : LOOK[part.state].word;
  return (
    <li class={`run-line is-${state}`}>
      <span class="mark-sign" aria-hidden="true">{LOOK[state].sign}</span>
      <span class="run-what">{words}{part.end === null ? "" : endOf(part)}</span>
      <time class="muted number" title={exact(part.start)}>{clock(part.start, now)}</time>
      <span class="number run-took">{duration((part.end ?? now) - part.start)}</span>
    </li>
  );
}

function outcomeOf({ state, mark }: Segment): "queued" | "waiting" | "backoff" | "asking" | "done" | "failed" | "cancelled" | "lost" {
  if (mark === "lost" || mark === "failed" || mark === "cancelled") return mark;
  if (mark === "retry") return "failed";
  return state === "running" || mark === "done" ? "done" : state;
}

function endOf({ state, mark }: Segment): string {
  switch (mark) {
    case "retry": return ": failed";
    case "lost": return ": its process ended";
    case "failed": return ": failed";
    case "cancelled": return state === "asking" ? ": nobody answered" : ": cancelled";
    case "done": return state === "asking" ? ": answered" : ": done";
    default: return "";
  }
}

/** The executions of a sub-flow: an attempt after a failure makes a new one, one after a crash goes on with the old one. */
function SubFlows({ run }: { run: Run }) {
  const { subFlow, attempt } = run;
  const [found, setFound] = useState<readonly number[]>([1]);
  useEffect(() => {
    setFound([1]);
    if (attempt < 2) return;
    const stop = new AbortController();
    const numbers = Array.from({ length: Math.min(attempt - 1, 5) }, (_, place) => attempt - place).reverse();
    void Promise.all(numbers.map((it) => get(path("executions", `${subFlow}.${it}`), {}, stop.signal).then(() => it, () => 0))).then((all) => {
      if (!stop.signal.aborted) setFound([1, ...all.filter((it) => it > 0)]);
    });
    return () => stop.abort();
  }, [subFlow, attempt]);
  return (
    <span class="run-flows">
      {found.map((it) => (
        <Link key={it} to={{ view: "execution", id: it === 1 ? subFlow! : `${subFlow}.${it}` }}>{found.length === 1 ? "Open its run" : `run ${it}`}</Link>
      ))}
    </span>
  );
}

// -- causes ---------------------------------------------------------------------------------------------------------------

function Causes({ track, moment, run, now, steps, onSelect, onMoment }: {
  track: Track; moment: Moment; run: Run; now: number; steps?: Steps | null; onSelect(run: number): void; onMoment(moment: number): void;
}) {
  const [most, setMost] = useState(CAUSES);
  useEffect(() => setMost(CAUSES), [run.id]);
  const { chain, more } = useMemo(() => causesOf(track, moment, run.id, most), [track, run.id, run.cause, most]);
  return (
    <Section title="What caused it">
      <ol class="run-causes">
        {chain.map((cause) => (
          <CauseLine key={cause.frame} cause={cause} moment={moment} now={now} steps={steps} onSelect={onSelect} onMoment={onMoment} />
        ))}
        {more && (
          <li><button type="button" class="run-link" onClick={() => setMost(most * 10)}>Show more of what came before</button></li>
        )}
        {chain.length === 0 && <li class="muted">The frames do not say.</li>}
      </ol>
    </Section>
  );
}

function CauseLine({ cause, moment, now, steps, onSelect, onMoment }: {
  cause: Cause; moment: Moment; now: number; steps?: Steps | null; onSelect(run: number): void; onMoment(moment: number): void;
}) {
  const by = cause.run === null ? undefined : moment.runs.get(cause.run);
  const item = cause.run === null ? null : steps?.itemOf(cause.run) ?? null;
  return (
    <li class="run-cause">
      <div class="run-cause-head">
        {by !== undefined && (
          <button type="button" class="run-link run-by" onClick={() => onSelect(by.id)}>{line(by.chunk, 100) || `run ${by.id}`}</button>
        )}
        {item !== null && <span class="muted" title={item.hasValue ? line(item.value, 400) : undefined}>#{item.number}</span>}
        {cause.run !== null && by === undefined && <span>a run </span>}
        <span>{by === undefined && cause.run === null ? upper(cause.words) : cause.words}</span>
        {cause.name !== "" && <b class="run-signal">{line(cause.name, 100)}</b>}
        <span class="run-when muted">
          {cause.at > 0 && <time title={exact(cause.at)}>{clock(cause.at, now)}</time>} <ToMoment number={cause.frame} onMoment={onMoment} />
        </span>
      </div>
      {cause.hasValue && cause.value !== null && <p class="run-value mono cut" title={line(cause.value, 400)}>{line(cause.value, 200)}</p>}
      {cause.open && cause.words !== "the frames before are gone" && <p class="muted">The frames do not say more.</p>}
    </li>
  );
}

function upper(words: string): string {
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}
