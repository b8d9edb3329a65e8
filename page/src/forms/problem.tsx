/** What the server has refused, in words, and where in the value it is. */
import { visible } from "../values/text";
import type { Problem } from "../wire/types";
import type { Misfit } from "./schema";

const WORDS: Record<string, string> = {
  already_answered: "Somebody has answered this already.",
  question_expired: "The time to answer this is over.",
  unknown_question: "This question is not open any more.",
  unknown_execution: "This run is not there any more.",
  ended: "This run has ended.",
  not_allowed: "Your token does not allow this.",
  no_token: "You are signed out.",
  value_does_not_fit: "The server does not take this value.",
  value_cannot_be_recorded: "The flow cannot keep this value.",
  bad_request: "The server does not take this.",
  not_possible: "This is not possible now.",
  too_large: "This is too large for the server.",
  unknown_flow: "The code of this flow is not here.",
  execution_exists: "There is a run with this id already.",
  definition_does_not_fit: "The flow has changed since then.",
  records_trimmed: "This was deleted.",
};

/** One sentence about a problem. */
export function says(problem: Problem): string {
  if (problem.status === 0 && problem.code === "unreachable") return "The server does not answer, so it may not have been sent. Send it again: it counts once.";
  return WORDS[problem.code] ?? (problem.again ? "The server cannot take this now. Send it again: it counts once." : problem.title);
}

/** A detail without what tells programs what to write instead: "...; fork it earlier: at=...". */
export const forPerson = (detail: string): string => detail.split("; ").filter((it) => !/\b[a-z_]+=|[a-z_]\(/.test(it)).join("; ");

/** `words`: what the codes mean here; such a sentence says all. */
export function ProblemNote({ problem, words = {} }: { problem: Problem; words?: Record<string, string> }) {
  const own = words[problem.code];
  const told = own !== undefined || problem.code === "unreachable" ? "" : problem.detail?.slice(0, 2000) ?? "";
  const detail = problem.status === 409 ? forPerson(told) : told; // that of a value may hold anything
  return (
    <div class="form-problem">
      <p class="form-problem-title"><span aria-hidden="true">✗ </span>{own ?? says(problem)}</p>
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
