/** What the server has refused, in words, and where in the value it is. */
import { visible } from "../values/text";
import type { Problem } from "../wire/types";
import type { Misfit } from "./schema";

const WORDS: Record<string, string> = {
  already_answered: "Somebody has answered this already.",
  question_expired: "The time to answer this is over.",
  unknown_question: "This question is not open any more.",
  unknown_execution: "This execution is not there any more.",
  ended: "This execution has ended.",
  not_allowed: "Your token does not allow this.",
  no_token: "You are signed out.",
  value_does_not_fit: "The server does not take this value.",
  value_cannot_be_recorded: "The flow cannot keep this value.",
  bad_request: "The server does not take this.",
  not_possible: "This is not possible now.",
  too_large: "This is too large for the server.",
  unknown_flow: "The code of this flow is not here.",
  execution_exists: "There is an execution with this id already.",
};

/** One sentence about a problem. */
export function says(problem: Problem): string {
  if (problem.status === 0 && problem.code === "unreachable") return "The server does not answer, so it may not have been sent. Send it again: it counts once.";
  return WORDS[problem.code] ?? (problem.again ? "The server cannot take this now. Send it again: it counts once." : problem.title);
}

export function ProblemNote({ problem }: { problem: Problem }) {
  const detail = problem.code === "unreachable" ? "" : problem.detail?.slice(0, 2000) ?? "";
  return (
    <div class="form-problem">
      <p class="form-problem-title"><span aria-hidden="true">✗ </span>{says(problem)}</p>
      {detail !== "" && detail !== problem.title && <p class="form-problem-detail">{visible(detail)}</p>}
    </div>
  );
}

/** The places that the text of a problem names: "... - at `$.items[0].count`" of msgspec, "items.0.count: ..." of Pydantic. */
export function placesIn(detail: string): Misfit[] {
  const path = /^([\s\S]*?)\s*- at `\$((?:\.[^.[\]`]+|\[\d+\])+)`/.exec(detail);
  if (path !== null) {
    const text = path[1]!.replace(/^.*?validation failed for '[^']*': /s, "");
    return [{ path: path[2]!.replace(/\[(\d+)\]/g, ".$1").replace(/\./g, "/"), text: `${text}.` }];
  }
  const said = /validation failed for '[^']*': ([\s\S]+)$/.exec(detail)?.[1];
  if (said === undefined) return [];
  const parts = said.split("; ").map((it) => /^([\w-]+(?:\.[\w-]+)*): ([\s\S]+)$/.exec(it));
  return parts.every((it) => it !== null) ? parts.map((it) => ({ path: `/${it![1]!.replace(/\./g, "/")}`, text: `${it![2]!}.` })) : [];
}
