import type { Moment } from "../model/track";

/** `before` is the moment before this one, for what has changed. */
export function StatePanel({ moment }: { moment: Moment; before: Moment | null }) {
  return <p>{moment.state.size}</p>;
}
