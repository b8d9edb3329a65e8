/** The newest runs of a flow. */
import { useEffect, useState } from "preact/hooks";
import { Link } from "../app/link";
import { useChanges } from "../app/live";
import { duration } from "../app/time";
import { Ago, Mark, Panel, Trouble, useNow } from "../app/ui";
import { usePaced } from "../lists/counts";
import { shortId, taken, what } from "../lists/words";
import { get, isAbort, problemOf } from "../wire/http";
import type { ExecutionInfo, ExecutionPage, Problem } from "../wire/types";

const SHOWN = 10;

export interface RecentRuns { rows: readonly ExecutionInfo[] | null; problem: Problem | null; again: () => void }

/** The newest runs of a flow, kept up to date. */
export function useRecent(flow: string): RecentRuns {
  const [rows, setRows] = useState<readonly ExecutionInfo[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const read = async (): Promise<void> => {
    try {
      setRows((await get<ExecutionPage>("executions", { flow, limit: SHOWN })).executions);
      setProblem(null);
    } catch (error) {
      if (!isAbort(error)) setProblem(problemOf(error));
    }
  };
  const soon = usePaced(read, 1000);
  useEffect(() => void read(), [flow]);
  useChanges(soon);
  return { rows, problem, again: () => void read() };
}

export function Recent({ flow, runs: { rows, problem, again } }: { flow: string; runs: RecentRuns }) {
  const now = useNow();
  const all = <Link class="small" to={{ view: "runs", flow }}>All runs</Link>;
  return (
    <Panel title="Newest runs" extra={all} class="flow-recent">
      <div class="flow-rows">
        {rows === null && problem !== null && <Trouble problem={problem} onAgain={again} />}
        {rows?.length === 0 && <p class="empty">No runs yet.</p>}
        {rows !== null && rows.length > 0 && (
          <ul>
            {rows.map((info, row) => {
              const said = what(info, now);
              return (
                <li key={row} class="flow-row">
                  <Mark status={info.status} />
                  <Link key={info.id} class="mono cut flow-id" to={{ view: "execution", id: info.id }} title={info.id.slice(0, 600)}>{shortId(info.id)}</Link>
                  <span class={`cut small flow-said ${said.tone === "error" ? "wrong" : "muted"}`} title={info.error ? info.error.slice(0, 2000) : undefined}>{said.text}</span>
                  <span class="small muted number flow-took">{duration(taken(info, now))}</span>
                  <span class="small muted flow-when"><Ago at={info.created} /></span>
                </li>
              );
            })}
          </ul>
        )}
      </div>
    </Panel>
  );
}
