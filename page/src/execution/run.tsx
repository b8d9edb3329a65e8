/** All about one run: what it got and gave, its attempts, and what has caused it. */
import "./run.css";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "../app/link";
import { clock, duration, exact } from "../app/time";
import { Mark, Trouble, useNow } from "../app/ui";
import { causesOf } from "../model/causes";
import { attemptsOf, lengthOf, spanOf, waitOf } from "../model/rows";
import type { Steps } from "../model/steps";
import type { Moment, Run, Segment, Track } from "../model/track";
import { FINAL, LOOK, type State } from "../status";
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

/** How many causes, attempts and waits are shown. */
const MOST = 30;

export function RunDetails(props: RunDetailsProps) {
  const { track, moment, run: id, onMoment, steps } = props;
  const clockNow = useNow();
  const run = moment.runs.get(id);
  if (run === undefined) return <p class="empty">This run has not begun at this moment.</p>;
  const past = moment.number < track.last;
  const now = past || FINAL.has(moment.recorded) ? moment.at : Math.max(clockNow, track.until);
  const item = steps?.itemOf(id) ?? null;
  const { start, end } = spanOf(run);
  const last = track.at(track.last).runs.get(id);
  const waited = waitOf(run, now);
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
          {duration(lengthOf(run, now))}{waited > 0 && <span class="muted">, and {duration(waited)} between its attempts</span>}
          {run.ended !== null && <> <ToMoment number={run.ended} onMoment={onMoment} /></>}
        </dd>
        {run.subFlow !== null && <><dt>Sub-flow</dt><dd><SubFlows run={last ?? run} of={track.id} /></dd></>}
      </dl>
      {run.questions.length > 0 && <p class="run-asks"><Mark status="asking" word={false} /> It waits for an answer: <b>{run.questions.map((it) => line(it, 80)).join(", ")}</b></p>}
      {run.error !== null && <Wrong error={run.error} run={run} />}
      <Section title="Output">
        {run.hasOutput ? <Value value={run.output} copy /> : <p class="muted">{whyNoOutput(run)}</p>}
      </Section>
      <Section title={attemptsOf(run) > 1 ? "Attempts" : "Course"}>
        <ol class="run-parts">
          {run.segments.map((part, at) => <Part key={at} part={part} now={now} />).slice(-MOST)}
        </ol>
      </Section>
      <Section title="What caused it"><Causes {...props} now={now} /></Section>
      {/* the last part, as it may have to be read: nothing below it moves */}
      <Section title="Input"><Input track={track} run={run} item={item?.hasValue ? item.value : undefined} /></Section>
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

function whyNoOutput({ state, phase, segments }: Run): string {
  if (state === "failed") return "None: it failed.";
  if (state === "cancelled" && segments.at(-1)?.state === "asking") return "None: it has asked, and nobody has answered.";
  if (state === "cancelled") return "None: it was cancelled.";
  return phase === "ended" ? "None: it has asked, and the answer goes on in its place." : "Not yet.";
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

/** What the server has told of inputs: they never change. */
const inputs = new WeakMap<Track, Map<number, unknown>>();

/** The frames do not have it: the state at the moment in which the run began has. */
function Input({ track, run, item }: { track: Track; run: Run; item: unknown }) {
  let known = inputs.get(track);
  if (known === undefined) inputs.set(track, (known = new Map<number, unknown>()));
  const [problem, setProblem] = useState<Problem | null>(null);
  const [tries, setTries] = useState(0);
  const has = run.hasInput || known.has(run.id);
  useEffect(() => {
    setProblem(null);
    if (has) return;
    const stop = new AbortController();
    get<StateInfo>(path("executions", track.id, "state"), { at: run.began }, stop.signal).then(
      ({ runs }) => {
        const found = runs.find((it) => it.run === run.id);
        if (found === undefined) return setProblem({ title: "The server does not have it any more", status: 404, code: "gone" });
        known.set(run.id, found.value);
        setTries(tries + 1);
      },
      (error: unknown) => !isAbort(error) && setProblem(problemOf(error)),
    );
    return () => stop.abort();
  }, [track, run.id, has, tries]);
  if (has) return <Value value={run.hasInput ? run.input : known.get(run.id)} copy />;
  if (item !== undefined) return <Value value={item} copy />;
  if (problem !== null) return <Trouble problem={problem} onAgain={() => setTries(tries + 1)} />;
  return <p class="muted run-loading" role="status">Loading</p>;
}

// -- attempts -------------------------------------------------------------------------------------------------------------

function Part({ part, now }: { part: Segment; now: number }) {
  const [state, ended] = part.end === null ? [part.state, ""] as const : endOf(part);
  const words = part.state === "running" ? `attempt ${part.attempt}` : LOOK[part.state].word;
  return (
    <li class={`run-line is-${state}`}>
      <span class="mark-sign" aria-hidden="true">{LOOK[state].sign}</span>
      <span class="run-what">{words}{ended}</span>
      <time class="muted number" title={exact(part.start)}>{clock(part.start, now)}</time>
      <span class="number run-took">{duration((part.end ?? now) - part.start)}</span>
    </li>
  );
}

/** How a part has ended: what state that is, and in words. */
function endOf({ state, mark }: Segment): [State, string] {
  switch (mark) {
    case "retry": case "failed": return ["failed", ": failed"];
    case "lost": return ["lost", ": its process ended"];
    case "cancelled": return ["cancelled", state === "asking" ? ": nobody answered" : ": cancelled"];
    case "done": return ["done", state === "asking" ? ": answered" : ": done"];
    default: return [state === "running" ? "done" : state, ""];
  }
}

/** An attempt after a failure may have made another execution of the sub-flow: then they are listed. */
function SubFlows({ run: { subFlow, attempt }, of }: { run: Run; of: string }) {
  if (attempt > 1) return <Link to={{ view: "runs", parent: of, text: subFlow! }}>Its runs</Link>;
  return <Link to={{ view: "execution", id: subFlow! }}>Open its run</Link>;
}

// -- causes ---------------------------------------------------------------------------------------------------------------

function Causes({ track, moment, run, now, steps, onSelect, onMoment }: RunDetailsProps & { now: number }) {
  const { chain, more } = useMemo(() => causesOf(track, moment, run, MOST), [track, run, moment.runs.get(run)?.cause]);
  return (
    <ol class="run-causes">
      {chain.map((cause) => {
        const by = cause.run === null ? undefined : moment.runs.get(cause.run);
        const item = cause.run === null ? null : steps?.itemOf(cause.run);
        return (
          <li key={cause.frame} class="run-cause">
            <div class="run-cause-head">
              {by && <button type="button" class="run-link run-by" onClick={() => onSelect(by.id)}>{line(by.chunk, 100) || `run ${by.id}`}</button>}
              {item && <span class="muted" title={item.hasValue ? line(item.value, 400) : undefined}>#{item.number}</span>}
              <span>{by ? cause.words : upper(cause.words)}</span>
              {cause.name !== "" && <b class="run-signal">{line(cause.name, 100)}</b>}
              <span class="run-when muted">
                {cause.at > 0 && <time title={exact(cause.at)}>{clock(cause.at, now)}</time>} <ToMoment number={cause.frame} onMoment={onMoment} />
              </span>
            </div>
            {cause.hasValue && cause.value !== null && <p class="run-value mono cut" title={line(cause.value, 400)}>{line(cause.value, 200)}</p>}
          </li>
        );
      })}
      {more && <li class="muted">and more before: choose one of these</li>}
      {chain.length === 0 && <li class="muted">The frames do not say.</li>}
    </ol>
  );
}

function upper(words: string): string {
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}
