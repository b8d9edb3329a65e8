/** What a question asks, and the form to answer it. */
import { Trouble } from "../app/ui";
import { line } from "../values/text";
import { Value } from "../values/value";
import { path } from "../wire/http";
import { useRead } from "../wire/read";
import type { QuestionInfo, StateInfo } from "../wire/types";
import { SchemaForm } from "./form";
import { idOf } from "./question";

/** A question in words: its type and its id, as the flow has named them. An id that nobody has chosen says nothing. */
export function titleOf({ type, chunk, id, own_id: own = id }: { type: string; chunk: string; id: string; own_id?: string }): string {
  const kind = type || chunk || "Question";
  return line(own === kind || /(^|\/)interrupt-\d+$/.test(own) ? kind : `${kind} · ${own}`, 120);
}

export function Asking({ question, disabled, onSubmit }: { question: QuestionInfo; disabled: string; onSubmit: (value: unknown, intent: string) => unknown }) {
  // a large payload is not in the list of questions: it is read when somebody wants to see it
  const { value: state, problem } = useRead<StateInfo>(path("executions", question.asked_by, "state"), {}, question.cut ? "" : null);
  const payload = question.cut ? state?.questions.find((it) => it.id === question.own_id)?.payload ?? null : question.payload;
  return (
    <>
      <div class={`form-asked ${question.cut ? "large" : ""}`}>
        {problem !== null ? <Trouble problem={problem} />
          : question.cut && state === null ? <p class="muted">The question is large; it is being read.</p>
          : payload === null ? <p class="muted">It is asked without a payload.</p>
          : <Value value={payload} open={2} copy />}
      </div>
      <SchemaForm schema={question.schema} submit="Answer" keep={idOf(question)} disabled={disabled} label={titleOf(question)} onSubmit={onSubmit} />
    </>
  );
}
