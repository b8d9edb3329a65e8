/**
 * The open questions of the execution, and of its sub-flows, one at a time: what is asked, who asks, and the form to answer.
 * A question that is answered, here or elsewhere, says so in the room that it had, so that nothing below it moves.
 */
import "./questions.css";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { ago, exact } from "../app/time";
import { Loading, Trouble, useNow } from "../app/ui";
import { SchemaForm } from "../forms/form";
import { says } from "../forms/problem";
import { answer, idOf, usePayload } from "../forms/question";
import type { Moment, Question } from "../model/track";
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

/**
 * The open questions of an execution and its sub-flows. They are read anew with each `version`: the questions of which its
 * frames tell; not at each change of an execution that has much to do. With null nothing is read.
 */
export function useOpenQuestions(execution: string, version: string | null): OpenQuestions {
  const [read, setRead] = useState<{ of: string; page: QuestionPage | null; problem: Problem | null } | null>(null);
  const [turn, setTurn] = useState(0);
  const again = (): void => setTurn((it) => it + 1);
  useEffect(() => {
    if (version === null) return;
    const giveUp = new AbortController();
    get<QuestionPage>("questions", { execution, limit: MOST }, giveUp.signal)
      .then((page) => setRead({ of: execution, page, problem: null }))
      .catch((error: unknown) => {
        if (!isAbort(error) && !giveUp.signal.aborted) setRead((it) => ({ of: execution, page: it?.of === execution ? it.page : null, problem: problemOf(error) }));
      });
    return () => giveUp.abort();
  }, [execution, version, turn]);
  useChanges((_, resync) => {
    if (resync) again();
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
  /** What stands below the questions. It is made anew when they take another room, for what is moved would jump. */
  children?: ComponentChildren;
}

/** A question that was on the screen, and what has become of it: "" while it is open. */
interface Shown { question: QuestionInfo; over: string; mine: boolean }

export function Questions(props: QuestionsProps) {
  return <Panel key={props.info.id} {...props} />;
}

function Panel({ info, moment, live, readOnly, onRun, children }: QuestionsProps) {
  const [shown, setShown] = useState<Shown | null>(null);
  const told = [...moment.questions.keys()].join("\n");
  const { questions, more, problem, again } = useOpenQuestions(info.id, live && (told !== "" || shown !== null) ? told : null);
  const answered = useRef(new Set<string>());
  const body = useRef<HTMLDivElement>(null);
  const height = useRef(0);

  const all = (questions ?? []).filter((it) => !answered.current.has(idOf(it)));
  const at = shown === null ? -1 : all.findIndex((it) => idOf(it) === idOf(shown.question));
  useEffect(() => {
    if (questions === null) return;
    if (shown === null) {
      if (all.length > 0) setShown({ question: all[0]!, over: "", mine: false });
    } else if (at >= 0) {
      if (shown.over !== "" || shown.question !== all[at]) setShown({ question: all[at]!, over: "", mine: false });
    } else if (shown.over === "") setShown({ ...shown, over: whyOver(shown.question, info) });
  });
  const isOver = shown !== null && shown.over !== "";
  useLayoutEffect(() => {
    if (!isOver && body.current !== null) height.current = body.current.offsetHeight;
  });

  /** What the next key is about is here, and in sight. */
  const toTop = (): void => {
    body.current?.focus({ preventScroll: true });
    requestAnimationFrame(() => body.current?.parentElement?.scrollIntoView({ block: "nearest" }));
  };
  const go = (step: number): void => {
    if (all.length === 0) return setShown(null);
    const next = all[(Math.max(at, step > 0 ? -1 : 0) + step + all.length) % all.length]!;
    setShown({ question: next, over: "", mine: false });
    toTop();
  };
  const send = async (value: unknown, intent: string): Promise<void> => {
    const { question } = shown!;
    const over = await answer(question, value, intent);
    answered.current.add(idOf(question));
    setShown({ question, over: over === null ? "Answered." : says(over), mine: over === null });
    toTop();
    again();
  };

  const rest = (room: string): JSX.Element | null => (children === undefined ? null : <div key={room} class="question-rest">{children}</div>);
  if (!live) {
    const past = [...moment.questions.values()];
    return <><Past past={past} onRun={onRun} />{rest(past.map((it) => it.id).join("\n"))}</>;
  }
  // What is read is behind the frames by a moment: the place is there as soon as the frames tell of a question.
  if (shown === null && (told === "" || questions?.length === 0)) return rest(told);
  const run = shown === null || isOver ? null : runOf(shown.question, info, moment);
  const steps = all.length > 1;
  return (
    <>
      <section class={`question${shown !== null && !isOver ? " asks" : ""}`} aria-label="Questions">
        <div class="question-bar">
          <Bar shown={shown} info={info} />
          <span class="question-steps">
            {run !== null && onRun !== undefined && <button type="button" class="button quiet" aria-label="See the step that asks" title="See the step that asks" onClick={() => onRun(run)}>Step</button>}
            {steps && !isOver && (
              <>
                <button type="button" class="button icon" aria-label="Previous question" onClick={() => go(-1)}><span aria-hidden="true">‹</span></button>
                <span class="number">{at >= 0 ? at + 1 : "–"} of {all.length}{more ? "+" : ""}</span>
                <button type="button" class="button icon" aria-label="Next question" onClick={() => go(1)}><span aria-hidden="true">›</span></button>
              </>
            )}
          </span>
        </div>
        <div ref={body} class="question-body" tabIndex={-1} style={{ minHeight: isOver && !shown.mine ? `${Math.min(height.current, 360)}px` : "" }}>
          {problem !== null && questions === null ? <Trouble problem={problem} onAgain={again} />
            : shown === null ? <Loading lines={4} />
            : isOver ? (
              <div class="question-over">
                <p class="question-words" role="status"><span aria-hidden="true">{shown.mine ? "✓ " : "· "}</span>{shown.over}</p>
                {all.length > 0 ? <button type="button" class="button primary" onClick={() => go(1)}>{all.length === 1 ? "Next question" : `Next of ${all.length} questions`}</button>
                  : <button type="button" class="button" onClick={() => setShown(null)}>Close</button>}
              </div>
            ) : <Asking key={idOf(shown.question)} question={shown.question} readOnly={readOnly} onSubmit={send} />}
        </div>
      </section>
      {rest(`${told} ${shown === null ? "?" : isOver ? "!" : idOf(shown.question)}`)}
    </>
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

function Bar({ shown, info }: { shown: Shown | null; info: ExecutionInfo }) {
  const now = useNow();
  if (shown === null) return <><span class="question-sign" aria-hidden="true">?</span><h3 class="question-title">Question</h3><span class="question-facts">&nbsp;</span></>;
  const { question, over } = shown;
  const from = question.asked_by === info.id ? "" : ` in ${line(question.asked_by.startsWith(`${info.id}/`) ? question.asked_by.slice(info.id.length + 1) : question.asked_by, 60)}`;
  const left = question.expires === null ? null : question.expires - now;
  return (
    <>
      <span class="question-sign" aria-hidden="true">{over === "" ? "?" : "✓"}</span>
      <h3 class="question-title">{titleOf(question)}</h3>
      <span class="question-facts">
        {over !== "" ? "not open any more" : (
          <>
            by {line(question.chunk, 60) || "the flow"}{from}, <time dateTime={new Date(question.since * 1000).toISOString()} title={exact(question.since)}>{ago(question.since, now)}</time>
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

function Past({ past, onRun }: { past: readonly Question[]; onRun?: (run: number) => void }) {
  if (past.length === 0) return null;
  return (
    <section class="question" aria-label="Questions">
      {past.slice(0, 50).map((it) => (
        <div key={it.id} class="question-past">
          <div class="question-bar">
            <span class="question-sign" aria-hidden="true">?</span>
            <h3 class="question-title">{titleOf(it)}</h3>
            <span class="question-facts">{it.chunk && `by ${line(it.chunk, 60)}. `}Go to now to answer.</span>
            {it.run !== null && onRun !== undefined && <button type="button" class="button quiet" aria-label="See the step that asks" title="See the step that asks" onClick={() => onRun(it.run!)}>Step</button>}
          </div>
          {it.payload !== null && it.payload !== undefined && <div class="question-body"><div class="question-asked"><Value value={it.payload} open={2} /></div></div>}
        </div>
      ))}
    </section>
  );
}
