/** Reads the open questions, and keeps what was read up to date. */
import { useEffect, useState } from "preact/hooks";
import { useChanges } from "../app/live";
import { answer as send, idOf } from "../forms/question";
import { get, isAbort, isSignedIn, onForget, onSignIn, problemOf } from "../wire/http";
import type { Problem, QuestionInfo, QuestionPage } from "../wire/types";
import { FIRST, merged, swept, type Asked } from "./asked";
import { usePaced } from "./counts";

let shown: readonly Asked[] | null = null;
let more = false;
let wanted = FIRST;
let problem: Problem | null = null;
/** What has been answered here, by the ids of the questions. */
const mine = new Map<string, unknown>();
const watchers = new Set<() => void>();
let reading: Promise<void> | null = null;

onForget(() => {
  shown = problem = reading = null;
  more = false;
  wanted = FIRST;
  mine.clear();
  tell();
});
onSignIn((signedIn) => {
  if (signedIn) return;
  shown = null;
  more = false;
  tell();
});

function tell(): void {
  for (const watcher of watchers) watcher();
}

async function read(): Promise<void> {
  if (!isSignedIn()) return;
  try {
    const page = await get<QuestionPage>("questions", { limit: wanted });
    shown = merged(shown ?? [], page, mine);
    more = page.next !== null;
    problem = null;
  } catch (error) {
    if (isAbort(error)) return;
    problem = problemOf(error);
  }
  tell();
}

/** Read the questions again. Calls at the same time are one. */
export function readQuestions(): Promise<void> {
  reading ??= read().finally(() => {
    reading = null;
  });
  return reading;
}

export function readMore(): void {
  wanted = Math.min(wanted + FIRST, 1000);
  void (reading ?? Promise.resolve()).then(readQuestions);
}

/** Take those away that are not open any more. */
export function sweep(kept: ReadonlySet<string> = new Set()): void {
  if (shown === null || shown.every((it) => it.closed === "")) return;
  shown = swept(shown, kept);
  tell();
}

/** Answer a question; `intent`: the same answer with the same one happens once. One that is not open any more is marked
 * as that, every other problem is thrown. */
export async function answer(question: QuestionInfo, value: unknown, intent: string): Promise<void> {
  const over = await send(question, value, intent);
  const id = idOf(question);
  if (over === null) mine.set(id, value);
  shown = (shown ?? []).map((it) => (idOf(it.question) === id ? { ...it, closed: over === null ? "mine" : "elsewhere" } : it));
  tell();
}

/** What was answered here. */
export const answerTo = (question: QuestionInfo): unknown => mine.get(idOf(question));

export interface Questions { shown: readonly Asked[] | null; open: number; more: boolean; problem: Problem | null }

/** The questions, drawn anew when they change. */
export function useQuestions(): Questions {
  const [, draw] = useState({});
  useEffect(() => {
    const watcher = (): void => draw({});
    watchers.add(watcher);
    watcher();
    return () => void watchers.delete(watcher);
  }, []);
  return { shown, open: shown?.filter((it) => it.closed === "").length ?? 0, more, problem };
}

/** How many questions are open, as words ("50+" for many); "" while that is not known. It keeps the questions of the
 * page up to date: the navigation calls it, once. */
export function useWaitingCount(signedIn = true): string {
  const { shown, open, more } = useQuestions();
  const soon = usePaced(readQuestions, 1000);
  useEffect(() => {
    if (signedIn) void readQuestions();
  }, [signedIn]);
  useChanges(soon);
  return shown === null ? "" : more ? `${open}+` : String(open);
}
