/** How many runs a flow has in each status, as links to the list of them. */
import { Link } from "../app/link";
import { LOOK, type Status } from "../status";

/** What comes and goes stands last, so that the others stay where they are. */
const ORDER: readonly Status[] = ["failed", "completed", "cancelled", "waiting", "running", "created"];

export function Counts({ flow, counts }: { flow: string; counts: Partial<Record<Status, number>> }) {
  const shown = ORDER.filter((it) => counts[it]);
  if (shown.length === 0) return <span class="muted flow-none">No runs yet</span>;
  return (
    <ul class="flow-counts" aria-label={`Runs of ${flow.slice(0, 100)}`}>
      {shown.map((status) => (
        <li key={status}>
          <Link class={`flow-count is-${status}`} to={{ view: "runs", flow, status }} title={`Runs that are ${LOOK[status].word}`}>
            <span class="flow-sign" aria-hidden="true">{LOOK[status].sign}</span>
            <span class="number">{counts[status]!.toLocaleString("en")}</span> {LOOK[status].word}
          </Link>
        </li>
      ))}
    </ul>
  );
}
