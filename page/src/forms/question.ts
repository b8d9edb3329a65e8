/** An open question: what tells it from others, and how it is answered. */
import { HttpError, path, post } from "../wire/http";
import type { Done, Problem, QuestionInfo } from "../wire/types";

/** What tells a question from all others, also from one that is asked later under the same id. */
export const idOf = (question: QuestionInfo): string => `${question.asked_by}\n${question.own_id}\n${question.since}`;

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
