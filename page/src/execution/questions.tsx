import type { Moment } from "../model/track";
import type { ExecutionInfo } from "../wire/types";

export interface QuestionsProps {
  info: ExecutionInfo;
  /** The moment that is shown, and whether that is the newest one: questions of the past cannot be answered. */
  moment: Moment;
  live: boolean;
  /** Why nothing can be answered; "" if it can. */
  readOnly: string;
  /** Somebody wants to see the run that asks. */
  onRun?(run: number): void;
}

export function Questions({ moment }: QuestionsProps) {
  return <p>{moment.questions.size}</p>;
}
