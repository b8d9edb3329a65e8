/** Small pieces that all views use. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { LOOK, type State, type Status } from "../status";
import type { Problem } from "../wire/types";
import { now as timeNow } from "../wire/http";
import { ago, exact } from "./time";

/** A status or state: sign, word and colour. Without `word` the word is for screen readers. */
export function Mark({ status, word = true }: { status: Status | State; word?: boolean }) {
  const look = LOOK[status];
  return (
    <span class={`mark is-${status}`} title={word ? undefined : look.word}>
      <span class="mark-sign" aria-hidden="true">{look.sign}</span>
      <span class={word ? "mark-word" : "unseen"}>{look.word}</span>
    </span>
  );
}

let clock = timeNow();
const hands = new Set<() => void>();
let ticking: ReturnType<typeof setInterval> | undefined;

/** The time now, in seconds since the epoch; drawn anew each second, by one timer for the page. */
export function useNow(): number {
  const [, draw] = useState(0);
  useEffect(() => {
    const hand = (): void => draw(clock);
    hands.add(hand);
    ticking ??= setInterval(() => {
      clock = timeNow();
      if (!document.hidden) for (const one of hands) one();
    }, 1000);
    return () => {
      hands.delete(hand);
      if (hands.size === 0) {
        clearInterval(ticking);
        ticking = undefined;
      }
    };
  }, []);
  if (ticking === undefined) clock = timeNow();
  return clock;
}

/** How long ago something was. */
export function Ago({ at }: { at: number }) {
  const now = useNow();
  return <time dateTime={new Date(at * 1000).toISOString()} title={exact(at)}>{ago(at, now)}</time>;
}

/** What has failed, in words, and what can be done. */
export function Trouble({ problem, onAgain }: { problem: Problem; onAgain?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <p class="trouble-title"><span aria-hidden="true">✗ </span>{problem.title}</p>
      {problem.detail && problem.detail !== problem.title && <p class="trouble-detail">{problem.detail.slice(0, 2000)}</p>}
      {onAgain && <button class="button" type="button" onClick={onAgain}>Try again</button>}
    </div>
  );
}

/** In place of something that is not there yet; `lines` gives it the height of what comes. */
export function Loading({ lines = 3, text = "Loading" }: { lines?: number; text?: string }) {
  return (
    <div class="loading" role="status" style={{ minHeight: `${lines * 1.75}rem` }}>
      <span class="loading-text">{text}</span>
    </div>
  );
}

/** In place of a list that has nothing. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

/** A part of the page, with a heading. `inner`: what is in it has a name of its own for screen readers. */
export function Panel({ title, extra, children, class: name = "", id, inner = false }: {
  title: string; extra?: ComponentChildren; children: ComponentChildren; class?: string; id?: string; inner?: boolean;
}) {
  return (
    <section class={`card ${name}`} aria-label={inner ? undefined : title} id={id}>
      <header class="card-head"><h2>{title}</h2>{extra}</header>
      {children}
    </section>
  );
}
