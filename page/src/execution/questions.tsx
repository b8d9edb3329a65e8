/**
 * The open questions of the execution, and of its sub-flows: one at a time, in a place of its own above everything else.
 * The place has one height while it is closed and one while it is open, so that nothing below moves when a question comes,
 * is answered here or is answered elsewhere.
 */
import "./questions.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { ago, exact } from "../app/time";
import { Loading, Trouble, useNow } from "../app/ui";
import { SchemaForm } from "../forms/form";
import { says } from "../forms/problem";
import { answer, idOf, usePayload } from "../forms/question";
import type { Moment, Question } from "../model/track";
import { FINAL } from "../status";
import { line } from "../values/text";
import { Value } from "../values/value";
import { get, isAbort, problemOf } from "../wire/http";
import type { ExecutionInfo, Problem, QuestionInfo, QuestionPage } from "../wire/types";

// -- which questions are open -------------------------------------------------------------------------------------------

export interface OpenQuestions {
  /** The open questions, the oldest first; null until they were read. */
  questions: readonly QuestionInfo[] | null;
  more: boolean;
  problem: Problem | null;
  /** Read them again. */
  again(): void;
}

const MOST = 100;

/** The open questions of an execution and its sub-flows. They are read again when it changes, and with `version`. */
export function useOpenQuestions(execution: string, version: unknown = 0): OpenQuestions {
  const [read, setRead] = useState<{ of: string; page: QuestionPage | null; problem: Problem | null } | null>(null);
  const [turn, setTurn] = useState(0);
  const again = (): void => setTurn((it) => it + 1);
  useEffect(() => {
    const giveUp = new AbortController();
    get<QuestionPage>("questions", { execution, limit: MOST }, giveUp.signal)
      .then((page) => setRead({ of: execution, page, problem: null }))
      .catch((error: unknown) => {
        if (!isAbort(error) && !giveUp.signal.aborted) setRead((it) => ({ of: execution, page: it?.of === execution ? it.page : null, problem: problemOf(error) }));
      });
    return () => giveUp.abort();
  }, [execution, version, turn]);
  useChanges((executions, resync) => {
    if (resync || executions.some((it) => it === execution || it.startsWith(`${execution}/`))) again();
  });
  const found = read?.of === execution ? read : null;
  return { questions: found?.page?.questions ?? null, more: found?.page?.next != null, problem: found?.problem ?? null, again };
}

// -- the panel ----------------------------------------------------------------------------------------------------------

export interface QuestionsProps {
  info: ExecutionInfo;
  /** The moment that is shown, and whether that is the newest one: questions of the past cannot be answered. */
  moment: Moment;
  live: boolean;
  /** Why nothing can be answered; "" if it can. */
  readOnly: string;
  /** Somebody wants to see the run that asks. */
  onRun?(run: number): void;
}

/** A question that was on the screen, and what has become of it: "" while it is open. */
interface Shown { question: QuestionInfo; over: string; mine: boolean }

export function Questions(props: QuestionsProps) {
  return <Panel key={props.info.id} {...props} />;
}

function Panel({ info, moment, live, readOnly, onRun }: QuestionsProps) {
  const { questions, more, problem, again } = useOpenQuestions(info.id, live ? [...moment.questions.keys()].join("\n") : "");
  const [shown, setShown] = useState<Shown | null>(null);
  const [open, setOpen] = useState<boolean | null>(null);
  const [large, setLarge] = useState(false);
  const answered = useRef(new Set<string>());
  const body = useRef<HTMLDivElement>(null);
  // An execution that asks nothing and has ended has no place for questions; one that runs keeps the place to its end.
  const [needed, setNeeded] = useState(false);
  const isNeeded = needed || !FINAL.has(info.status) || moment.questions.size > 0;
  useEffect(() => {
    if (isNeeded && !needed) setNeeded(true);
  }, [isNeeded]);

  const all = (questions ?? []).filter((it) => !answered.current.has(idOf(it)));
  const at = shown === null ? -1 : all.findIndex((it) => idOf(it) === idOf(shown.question));
  useEffect(() => {
    if (questions === null) return;
    if (shown === null) {
      if (all.length > 0) setShown({ question: all[0]!, over: "", mine: false });
    } else if (at >= 0) {
      if (shown.over !== "" || shown.question !== all[at]) setShown({ question: all[at]!, over: "", mine: false });
    } else if (shown.over === "") {
      // nobody looks at it: then there is nothing to tell
      if (open === false) setShown(all.length > 0 ? { question: all[0]!, over: "", mine: false } : null);
      else setShown({ ...shown, over: whyOver(shown.question, info) });
    }
  });

  // It is open when the page is opened with a question. A question that comes later is announced, and opened by hand.
  const first = useRef<boolean | null>(null);
  first.current ??= info.questions > 0 || moment.questions.size > 0;
  const isOpen = open ?? first.current;
  const go = (step: number): void => {
    if (all.length === 0) return setShown(null);
    const next = all[(Math.max(at, step > 0 ? -1 : 0) + step + all.length) % all.length]!;
    setShown({ question: next, over: "", mine: false });
    setOpen(true);
    body.current?.focus({ preventScroll: true });
  };
  const toggle = (): void => setOpen(!isOpen);

  const send = async (value: unknown, intent: string): Promise<void> => {
    const { question } = shown!;
    const over = await answer(question, value, intent);
    answered.current.add(idOf(question));
    setShown({ question, over: over === null ? "Answered." : says(over), mine: over === null });
    body.current?.focus({ preventScroll: true });
    again();
  };

  const past = live ? null : [...moment.questions.values()];
  const run = past !== null ? past[0]?.run ?? null : runOf(shown?.question ?? null, info, moment);
  if (!isNeeded) return null;
  const asks = past !== null ? past.length > 0 : shown !== null && shown.over === "";
  const count = past?.length ?? all.length;
  return (
    <section class={`question${asks ? " asks" : ""}`} aria-label="Questions">
      <div class="question-bar">
        {past !== null ? <PastBar past={past} /> : <Bar shown={shown} info={info} loading={questions === null && problem === null} />}
        {past === null && (count > 1 || (count === 1 && at < 0 && shown !== null)) && (
          <span class="question-steps">
            <button type="button" class="button quiet" aria-label="Previous question" onClick={() => go(-1)}><span aria-hidden="true">‹</span></button>
            <span class="number">{at >= 0 ? at + 1 : "–"} of {count}{more ? "+" : ""}</span>
            <button type="button" class="button quiet" aria-label="Next question" onClick={() => go(1)}><span aria-hidden="true">›</span></button>
          </span>
        )}
        {run !== null && onRun !== undefined && <button type="button" class="button quiet" onClick={() => onRun(run)}>Show the run</button>}
        {isOpen && (asks || large) && <button type="button" class="button quiet" aria-pressed={large} onClick={() => setLarge(!large)}>{large ? "Less room" : "More room"}</button>}
        {(asks || isOpen) && <button type="button" class="button" aria-expanded={isOpen} onClick={toggle}>{isOpen ? "Close" : past === null && readOnly === "" ? "Answer" : "Show"}</button>}
      </div>
      {isOpen && (
        <div ref={body} class={`question-body${large ? " large" : ""}${past !== null ? " alone" : ""}`} tabIndex={-1}>
          {past !== null ? <Past past={past} />
            : problem !== null && questions === null ? <Trouble problem={problem} onAgain={again} />
            : questions === null ? <Loading lines={4} />
            : shown === null ? <p class="question-over muted">No question is open.</p>
            : shown.over !== "" ? (
              <div class="question-over">
                <p class="question-over-words" role="status"><span aria-hidden="true">{shown.mine ? "✓ " : "· "}</span>{shown.over}</p>
                {all.length > 0 ? <button type="button" class="button primary" onClick={() => go(1)}>{all.length === 1 ? "Next question" : `Next of ${all.length} questions`}</button>
                  : <button type="button" class="button" onClick={() => { setShown(null); setOpen(false); }}>Close</button>}
              </div>
            ) : <Asking key={idOf(shown.question)} question={shown.question} readOnly={readOnly} onSubmit={send} />}
        </div>
      )}
    </section>
  );
}

/** Why a question is not open any more. */
function whyOver(question: QuestionInfo, info: ExecutionInfo): string {
  if (question.expires !== null && question.expires <= Date.now() / 1000) return "The time to answer is over.";
  if (info.status === "cancelled" || info.status === "failed") return `The execution has ended: ${info.status}.`;
  return "It was answered elsewhere.";
}

/** The run that asks, if it is one of this execution. */
function runOf(question: QuestionInfo | null, info: ExecutionInfo, moment: Moment): number | null {
  if (question === null) return null;
  const here = info.id === question.asked_by ? question.own_id : info.id === question.execution ? question.id : "";
  return moment.questions.get(here)?.run ?? null;
}

const titleOf = (question: { type: string; chunk: string }): string => line(question.type || question.chunk || "Question", 120);

function Bar({ shown, info, loading }: { shown: Shown | null; info: ExecutionInfo; loading: boolean }) {
  const now = useNow();
  if (loading) return <span class="question-facts">Questions are loading …</span>;
  if (shown === null) return <span class="question-facts question-none">{FINAL.has(info.status) ? "No question is open: it has ended." : "No question is open. One that comes is shown here."}</span>;
  const { question, over } = shown;
  const from = question.asked_by === info.id ? "" : ` in ${line(question.asked_by.startsWith(`${info.id}/`) ? question.asked_by.slice(info.id.length + 1) : question.asked_by, 60)}`;
  const left = question.expires === null ? null : question.expires - now;
  return (
    <>
      <span class="question-sign" aria-hidden="true">{over === "" ? "?" : "✓"}</span>
      <h2 class="question-title">{titleOf(question)}</h2>
      <span class="question-facts">
        {over !== "" ? over : (
          <>
            asked by {line(question.chunk, 60) || "the flow"}{from} <time dateTime={new Date(question.since * 1000).toISOString()} title={exact(question.since)}>{ago(question.since, now)}</time>
            {left !== null && <>, <span class={left < 300 ? "question-soon" : ""} title={exact(question.expires!)}>{left > 0 ? `expires ${ago(question.expires!, now)}` : "expired"}</span></>}
          </>
        )}
      </span>
    </>
  );
}

function Asking({ question, readOnly, onSubmit }: { question: QuestionInfo; readOnly: string; onSubmit: (value: unknown, intent: string) => Promise<void> }) {
  const payload = usePayload(question);
  return (
    <>
      <div class="question-asked">
        {payload.problem !== null ? <Trouble problem={payload.problem} />
          : payload.loading ? <Loading lines={3} text="The question is large; it is being read." />
          : payload.value === null ? <p class="muted">It is asked without a payload.</p>
          : <Value value={payload.value} open={2} copy />}
      </div>
      <SchemaForm schema={question.schema} submit="Answer" keep={idOf(question)} disabled={readOnly} label={titleOf(question)} onSubmit={onSubmit} />
    </>
  );
}

// -- the past -----------------------------------------------------------------------------------------------------------

function PastBar({ past }: { past: readonly Question[] }) {
  if (past.length === 0) return <span class="question-facts question-none">No question was open at this moment.</span>;
  const one = past[0]!;
  return (
    <>
      <span class="question-sign" aria-hidden="true">?</span>
      <h2 class="question-title">{past.length === 1 ? titleOf(one) : `${past.length} questions`}</h2>
      <span class="question-facts">open at this moment{past.length === 1 ? `, asked by ${line(one.chunk, 60)}` : ""}. Go to now to answer.</span>
    </>
  );
}

function Past({ past }: { past: readonly Question[] }) {
  return (
    <>
      {past.length === 0 && <p class="question-over muted">No question was open at this moment.</p>}
      {past.slice(0, 50).map((it) => (
        <div key={it.id} class="question-asked">
          <h3>{titleOf(it)}{it.chunk && `, asked by ${line(it.chunk, 60)}`}</h3>
          {it.payload === null || it.payload === undefined ? <p class="muted">Without a payload.</p> : <Value value={it.payload} open={2} />}
        </div>
      ))}
    </>
  );
}
