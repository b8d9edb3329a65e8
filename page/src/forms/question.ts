/** An open question: what tells it from others, what it asks, and how it is answered. */
import { useEffect, useState } from "preact/hooks";
import { get, HttpError, path, post, problemOf } from "../wire/http";
import type { Done, Problem, QuestionInfo, StateInfo } from "../wire/types";

/** What tells a question from all others, also from one that is asked later under the same id. */
export function idOf(question: QuestionInfo): string {
  return `${question.asked_by}\n${question.own_id}\n${question.since}`;
}

/** The problems of an answer that say that nobody is asked any more. */
const OVER: ReadonlySet<string> = new Set(["already_answered", "unknown_question", "unknown_execution", "question_expired", "ended"]);

/** Send an answer; `intent`: the same answer with the same one happens once. Null if it was taken, else the problem that
 * says that the question is over. Every other problem is thrown. */
export async function answer(question: QuestionInfo, value: unknown, intent: string): Promise<Problem | null> {
  try {
    await post<Done>(path("executions", question.execution, "interrupts", question.id), { value }, { idempotency: intent });
  } catch (error) {
    if (error instanceof HttpError && OVER.has(error.problem.code)) return error.problem;
    throw error;
  }
  return null;
}

export interface Payload { value: unknown; loading: boolean; problem: Problem | null }

/** What is asked. A large payload is not in the list of questions: it is read when somebody wants to see it. */
export function usePayload(question: QuestionInfo | null): Payload {
  const [read, setRead] = useState<{ of: string; value: unknown; problem: Problem | null } | null>(null);
  const id = question === null ? "" : idOf(question);
  useEffect(() => {
    if (!question?.cut) return;
    const giveUp = new AbortController();
    get<StateInfo>(path("executions", question.asked_by, "state"), {}, giveUp.signal)
      .then((state) => setRead({ of: id, value: state.questions.find((it) => it.id === question.own_id)?.payload ?? null, problem: null }))
      .catch((error: unknown) => {
        if (!giveUp.signal.aborted) setRead({ of: id, value: null, problem: problemOf(error) });
      });
    return () => giveUp.abort();
  }, [id, question?.cut]);
  if (!question?.cut) return { value: question?.payload ?? null, loading: false, problem: null };
  const found = read?.of === id ? read : null;
  return { value: found?.value ?? null, loading: found === null, problem: found?.problem ?? null };
}
