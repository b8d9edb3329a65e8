/**
 * The open questions of the execution, and of its sub-flows, one at a time: what is asked, who asks, and the form to answer.
 * A question that is answered, here or elsewhere, says so in the room that it had, so that nothing below it moves.
 */
import "./questions.css";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { ago, exact } from "../app/time";
import { Ago, Loading, Trouble, useNow } from "../app/ui";
import { Asking, titleOf } from "../forms/asking";
import { says } from "../forms/problem";
import { answer, idOf } from "../forms/question";
import type { Moment } from "../model/track";
import { FINAL, LOOK } from "../status";
import { line } from "../values/text";
import { Value } from "../values/value";
import { now } from "../wire/http";
import { useRead } from "../wire/read";
import type { ExecutionInfo, QuestionInfo, QuestionPage } from "../wire/types";

/** How many questions are read. */
const MOST = 100;

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

/** A question that was on the screen, and what has become of it: "" while it is open, "answered" here with `answer`,
 * "closed" in another way, or what the server has said. */
interface Shown { question: QuestionInfo; over: string; answer?: unknown }
const open = (question: QuestionInfo): Shown => ({ question, over: "" });

export function Questions(props: QuestionsProps) {
  return <Panel key={props.info.id} {...props} />;
}

function Panel({ info, moment, live, readOnly, onRun, children }: QuestionsProps) {
  const [shown, setShown] = useState<Shown | null>(null);
  const told = [...moment.questions.keys()].join("\n");
  // of this execution and its sub-flows, the oldest first; read anew when the frames tell of others, not at each change
  const { value: page, problem, again } = useRead<QuestionPage>("questions", { execution: info.id, limit: MOST }, live && (told !== "" || shown !== null) ? told : null);
  useChanges((_, resync) => {
    if (resync) again();
  });
  const answered = useRef(new Set<string>());
  const body = useRef<HTMLDivElement>(null);
  const height = useRef(0);

  const all = (page?.questions ?? []).filter((it) => !answered.current.has(idOf(it)));
  const at = shown === null ? -1 : all.findIndex((it) => idOf(it) === idOf(shown.question));
  useEffect(() => {
    if (page === null) return;
    const found = shown === null ? all[0] : all[at];
    if (found !== undefined) {
      if (shown === null || shown.over !== "" || shown.question !== found) setShown(open(found));
    } else if (shown?.over === "") setShown({ ...shown, over: "closed" });
  });
  const isOver = shown !== null && shown.over !== "";
  const mine = shown?.over === "answered";
  const ended = FINAL.has(moment.recorded);
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
    setShown(open(all[(Math.max(at, step > 0 ? -1 : 0) + step + all.length) % all.length]!));
    toTop();
  };
  const send = async (value: unknown, intent: string): Promise<void> => {
    const { question } = shown!;
    const over = await answer(question, value, intent);
    answered.current.add(idOf(question));
    setShown({ question, over: over === null ? "answered" : says(over), answer: value });
    toTop();
    again();
  };

  const rest = (room: string): JSX.Element | null => (children === undefined ? null : <div key={room} class="question-rest">{children}</div>);
  const step = (run: number | null | undefined): JSX.Element | null => (run == null || onRun === undefined ? null
    : <button type="button" class="button quiet" aria-label="See the step that asks" title="See the step that asks" onClick={() => onRun(run)}>Step</button>);
  if (!live) {
    const past = [...moment.questions.values()];
    return (
      <>
        {past.length > 0 && (
          <section class="question" aria-label="Questions">
            {past.slice(0, 50).map((it) => (
              <div key={it.id} class="question-past">
                <Bar title={titleOf(it)} facts={<>{it.chunk && `by ${line(it.chunk, 60)}. `}Go to now to answer.</>}>{step(it.run)}</Bar>
                {it.payload != null && <div class="question-body"><div class="form-asked"><Value value={it.payload} open={2} /></div></div>}
              </div>
            ))}
          </section>
        )}
        {rest(past.map((it) => it.id).join("\n"))}
      </>
    );
  }
  // What is read is behind the frames by a moment: the place is there as soon as the frames tell of a question.
  if (shown === null && (told === "" || page?.questions.length === 0)) return rest(told);
  return (
    <>
      <section class={`question ${shown !== null && !isOver ? "asks" : ""}`} aria-label="Questions">
        <Bar
          sign={!isOver ? "?" : ended && !mine ? LOOK[moment.recorded].sign : "✓"} title={shown === null ? "Question" : titleOf(shown.question)}
          facts={shown === null ? "\u00a0" : isOver ? "not open any more" : <Facts question={shown.question} info={info} />}
        >
          {shown !== null && !isOver && step(runOf(shown.question, info, moment))}
          {all.length > 1 && !isOver && (
            <>
              <button type="button" class="button icon" aria-label="Previous question" onClick={() => go(-1)}><span aria-hidden="true">‹</span></button>
              <span class="number">{at >= 0 ? at + 1 : "–"} of {all.length}{page?.next != null ? "+" : ""}</span>
              <button type="button" class="button icon" aria-label="Next question" onClick={() => go(1)}><span aria-hidden="true">›</span></button>
            </>
          )}
        </Bar>
        <div ref={body} class="question-body" tabIndex={-1} style={{ minHeight: isOver && !mine && !ended ? `${Math.min(height.current, 360)}px` : "" }}>
          {problem !== null && page === null ? <Trouble problem={problem} onAgain={again} />
            : shown === null ? <Loading lines={4} />
            : isOver ? (
              <div class="question-over">
                <p role="status">
                  <b><span aria-hidden="true">{mine ? "✓ " : "· "}</span>{mine ? "Answered: " : shown.over === "closed" ? whyOver(shown.question, moment) : shown.over}</b>
                  {mine && line(shown.answer, 400)}
                </p>
                {all.length > 0 ? <button type="button" class="button primary" onClick={() => go(1)}>{all.length === 1 ? "Next question" : `Next of ${all.length} questions`}</button>
                  : <button type="button" class="button" onClick={() => setShown(null)}>Close</button>}
              </div>
            ) : <Asking key={idOf(shown.question)} question={shown.question} disabled={readOnly} onSubmit={send} />}
        </div>
      </section>
      {rest(`${told} ${shown === null ? "?" : isOver ? "!" : idOf(shown.question)}`)}
    </>
  );
}

/** Why a question is not open any more. */
function whyOver(question: QuestionInfo, { recorded, reason }: Moment): string {
  if (recorded === "cancelled") return `The run was cancelled${reason === "" ? "." : `: ${line(reason, 200)}`}`;
  if (question.expires !== null && question.expires <= now()) return "The time to answer is over.";
  if (recorded === "failed") return "The run has failed.";
  return "It was answered elsewhere.";
}

/** The run that asks, if it is one of this execution. */
function runOf(question: QuestionInfo, info: ExecutionInfo, moment: Moment): number | null | undefined {
  const here = info.id === question.asked_by ? question.own_id : info.id === question.execution ? question.id : "";
  return moment.questions.get(here)?.run;
}

function Bar({ sign = "?", title, facts, children }: { sign?: string; title: string; facts: ComponentChildren; children: ComponentChildren }) {
  return (
    <div class="question-bar">
      <span class="question-sign" aria-hidden="true">{sign}</span>
      <h3 class="question-title cut">{title}</h3>
      <span class="question-facts cut">{facts}</span>
      <span class="question-steps">{children}</span>
    </div>
  );
}

/** Who asks, since when, and until when. */
function Facts({ question: { asked_by: by, chunk, since, expires }, info }: { question: QuestionInfo; info: ExecutionInfo }) {
  const now = useNow();
  return (
    <>
      by {line(chunk, 60) || "the flow"}{by !== info.id && ` in ${line(by.startsWith(`${info.id}/`) ? by.slice(info.id.length + 1) : by, 60)}`}, <Ago at={since} />
      {expires !== null && <>, <span class={expires - now < 300 ? "wrong" : ""} title={exact(expires)}>{expires > now ? `expires ${ago(expires, now)}` : "expired"}</span></>}
    </>
  );
}
