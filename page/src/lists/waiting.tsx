/** Waiting for you: the open questions of all flows, the oldest first, to be answered in place. */
import "./waiting.css";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useAccess } from "../app/access";
import { Link } from "../app/link";
import { ago, exact } from "../app/time";
import { Ago, Loading, Trouble, useNow } from "../app/ui";
import { Asking, titleOf } from "../forms/asking";
import { idOf } from "../forms/question";
import { line } from "../values/text";
import type { Asked } from "./asked";
import { answer, answerTo, readMore, readQuestions, sweep, useQuestions } from "./questions";
import { RunLink } from "./run-link";

export function Waiting() {
  const { shown, open, more, problem } = useQuestions();
  const list = useRef<HTMLUListElement>(null);
  const [passed, setPassed] = useState<ReadonlySet<string>>(new Set());
  const closed = (shown?.length ?? 0) - open;

  useEffect(() => {
    sweep(); // from the last time
    void readQuestions();
    const hidden = (): void => {
      if (document.hidden) sweep(); // nobody sees that it moves
    };
    document.addEventListener("visibilitychange", hidden);
    return () => document.removeEventListener("visibilitychange", hidden);
  }, []);

  /** What was answered is folded away: whoever goes on does not need it any more. */
  const goOn = (): void => {
    setPassed(new Set(shown?.filter((it) => it.closed !== "").map((it) => idOf(it.question))));
    const next = list.current?.querySelector<HTMLElement>(".ask-fold:enabled");
    next?.focus({ preventScroll: true });
    if (next?.getAttribute("aria-expanded") === "false") next.click();
    requestAnimationFrame(() => next?.closest("li")?.scrollIntoView({ block: "nearest" }));
  };

  return (
    <section class="ask-page" aria-labelledby="ask-title">
      <div class="page-head">
        <h1 id="ask-title">Waiting for you</h1>
        <p class="muted number">
          {open > 0 && <>{open}{more && "+"} open<span class="ask-order">, the oldest first</span></>}
        </p>
        <button
          class="button quiet ask-sweep" type="button" disabled={closed === 0} aria-label={`Clear ${closed} answered`}
          onClick={() => sweep()}
        >
          Clear {closed}<span class="ask-order"> answered</span>
        </button>
      </div>
      {shown === null && (problem ? <Trouble problem={problem} onAgain={() => void readQuestions()} /> : <Loading lines={12} />)}
      {shown?.length === 0 && (
        <div class="list-empty">
          <h2>Nobody waits for you</h2>
          <p>What a run asks appears here, to be answered in place.</p>
          <Link class="button" to={{ view: "runs" }}>See the runs</Link>
        </div>
      )}
      {shown !== null && shown.length > 0 && (
        <ul class="ask-list" ref={list}>
          {shown.map((it, place) => (
            <Card key={idOf(it.question)} asked={it} first={place === 0} last={place === shown.length - 1} passed={passed.has(idOf(it.question))}
              onNext={open > 0 ? goOn : undefined} />
          ))}
        </ul>
      )}
      {more && <p class="ask-more"><button class="button" type="button" onClick={readMore}>Show more</button></p>}
    </section>
  );
}

function Card({ asked: { question, closed }, first, last, passed, onNext }: {
  asked: Asked; first: boolean; last: boolean;
  /** Whether it is closed, and somebody has gone on to another one. */
  passed: boolean; onNext?: () => void;
}) {
  // The oldest question is unfolded: with one question, that is all there is to do here.
  const [unfolded, setUnfolded] = useState(first);
  const at = useNow();
  const { readOnly } = useAccess();
  const body = useRef<HTMLDivElement>(null);
  const height = useRef(0);
  // A card that is answered keeps its height until somebody goes on: what is below it stays where it is.
  if (closed === "" && body.current !== null) height.current = body.current.getBoundingClientRect().height;
  useLayoutEffect(() => {
    // the button that was pressed is gone
    if (closed !== "mine" || document.activeElement !== document.body) return;
    body.current?.querySelector("button")?.focus({ preventScroll: true });
  }, [closed]);
  const small = useRef(false);
  small.current ||= closed === "mine" && last; // nothing is below it; what comes does not make it large again
  const isShown = unfolded && !passed && (closed === "" || height.current > 0);
  const words = closed === "mine" ? `Answered: ${line(answerTo(question), 200)}` : "Answered elsewhere, or over";
  const summary = closed ? words : question.payload === null ? "" : line(question.payload, 200);
  return (
    <li class={`card ask-card ${closed ? "ask-closed" : ""}`}>
      <div class="ask-head">
        <button
          class="ask-fold" type="button" aria-expanded={isShown} disabled={closed !== ""}
          onClick={() => setUnfolded(!unfolded)}
        >
          <span class="ask-sign" aria-hidden="true">{closed ? "✓" : unfolded ? "▾" : "▸"}</span>
          <span class="ask-title">{titleOf(question)}</span>
          {!isShown && <span class="ask-summary">{summary}</span>}
        </button>
        <span class="ask-facts">
          {question.expires !== null && closed === "" && (
            <span class="ask-expires" title={exact(question.expires)}>
              {question.expires > at ? `until ${ago(question.expires, at)}` : "expired"}
            </span>
          )}
          <Ago at={question.since} />
        </span>
        <p class="ask-from">
          <span class="ask-flow">{line(question.flow, 80)}</span>{" · "}
          <RunLink id={question.execution} />
          {question.chunk && question.chunk !== question.flow && (
            <>{" · "}<span class="ask-chunk">{line(question.chunk, 80)}</span></>
          )}
        </p>
      </div>
      {isShown && (closed === "" ? (
        <div class="ask-body" ref={body}>
          <Asking question={question} disabled={readOnly === "Loading." ? "" : readOnly} onSubmit={(value, intent) => answer(question, value, intent)} />
        </div>
      ) : (
        <div class="ask-body ask-over" ref={body} style={{ minHeight: small.current ? "" : `${height.current}px` }}>
          <p class="ask-words" role="status"><span aria-hidden="true">✓ </span>{words}</p>
          {onNext && <button class="button" type="button" onClick={onNext}>Next question</button>}
        </div>
      ))}
    </li>
  );
}
