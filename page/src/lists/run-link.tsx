import { Link } from "../app/link";
import { shortId } from "./words";

/** A link to a run, as its short id. */
export function RunLink({ id }: { id: string }) {
  return <Link class="mono" to={{ view: "execution", id }} title={id.slice(0, 600)}>{shortId(id)}</Link>;
}
