/** The open questions of all flows as they are shown, while they are answered here and elsewhere. */
import { idOf } from "../forms/question";
import type { QuestionInfo, QuestionPage } from "../wire/types";

/** How many questions are read at first, and how many more at a click. */
export const FIRST = 50;

export interface Asked {
  question: QuestionInfo;
  /** "": open; "mine": I have answered it; "elsewhere": it is not open any more. */
  closed: "" | "mine" | "elsewhere";
}

/** The questions as they are shown, after the list was read again: those that are not open any more keep their place
 * until they are swept away, so that nothing moves under a finger, and new ones come at the end, being the youngest. */
export function merged(shown: readonly Asked[], page: QuestionPage, mine: Pick<ReadonlySet<string>, "has">): Asked[] {
  const open = new Map(page.questions.map((question) => [idOf(question), question]));
  const last = page.next === null ? null : page.questions.at(-1);
  const result: Asked[] = shown.map(({ question, closed }) => {
    const id = idOf(question);
    const found = open.get(id);
    open.delete(id);
    if (found !== undefined) return { question: found, closed: mine.has(id) ? "mine" : "" };
    if (last && question.since > last.since) return { question, closed }; // it is on a later page
    return { question, closed: closed || (mine.has(id) ? "mine" : "elsewhere") };
  });
  for (const [id, question] of open) {
    if (mine.has(id)) continue; // it was answered a moment ago, and swept away
    const place = result.findLastIndex((it) => it.question.since <= question.since);
    result.splice(place + 1, 0, { question, closed: "" });
  }
  return result;
}

/** Without those that are not open any more, but for the ones that are kept. */
export function swept(shown: readonly Asked[], kept: ReadonlySet<string>): Asked[] {
  return shown.filter((it) => it.closed === "" || kept.has(idOf(it.question)));
}
