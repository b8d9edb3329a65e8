/** The flows that the server knows. */
import "./flows.css";
import { useEffect, useState } from "preact/hooks";
import { Link } from "../app/link";
import { useChanges } from "../app/live";
import { Loading, Trouble } from "../app/ui";
import { usePaced } from "../lists/counts";
import { line } from "../values/text";
import { get, isAbort, onForget, problemOf } from "../wire/http";
import type { FlowInfo, Problem } from "../wire/types";
import { Counts } from "./counts";

/** What was read last: who comes back sees it at once. */
let kept: FlowInfo[] | null = null;
onForget(() => (kept = null));

/** The flows with their counts, kept up to date. */
export function useFlows(): { flows: FlowInfo[] | null; problem: Problem | null; again: () => void } {
  const [, draw] = useState({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const read = async (): Promise<void> => {
    try {
      kept = await get<FlowInfo[]>("flows");
      setProblem(null);
    } catch (error) {
      if (!isAbort(error)) setProblem(problemOf(error));
    }
    draw({});
  };
  const soon = usePaced(read, 2000);
  useEffect(() => void read(), []);
  useChanges(soon);
  return { flows: kept, problem, again: () => void read() };
}

const SERVE = `from triggerflow.server import Server, create_app
from triggerflow.stores import SQLiteStore

app = create_app([my_flow], SQLiteStore("runs.db"), worker=True)
Server(app, port=8099, on_start=print).run()`;

export function FlowList() {
  const { flows, problem, again } = useFlows();
  return (
    <>
      <header class="page-head"><h1 class="grow">Flows</h1></header>
      {flows === null && (problem === null ? <Loading lines={8} /> : <Trouble problem={problem} onAgain={again} />)}
      {flows !== null && flows.length === 0 && (
        <section class="card flow-empty">
          <h2>No flows yet</h2>
          <p>This server was started without any flow, and its store has no run of one. Name your flows where you start it:</p>
          <pre class="flow-code" tabIndex={0}>{SERVE}</pre>
          <p class="muted">Flows also appear here as soon as a worker has written runs of them into the same store.</p>
        </section>
      )}
      {flows !== null && flows.length > 0 && (
        <ul class="flow-list">
          {[...flows].sort((one, other) => Number(other.has_code) - Number(one.has_code) || one.name.localeCompare(other.name)).map((flow) => (
            <li key={flow.name} class="card flow-card">
              <div class="flow-title">
                <h2 class="cut"><Link to={{ view: "flow", flow: flow.name }} title={flow.name.slice(0, 500)}>{line(flow.name, 120)}</Link></h2>
                <Code has={flow.has_code} />
              </div>
              <Counts flow={flow.name} counts={flow.counts} />
              <Link class="button flow-open" to={{ view: "flow", flow: flow.name }} aria-label={`${flow.has_code ? "Open and start" : "Open"} ${flow.name.slice(0, 100)}`}>
                {flow.has_code ? "Open and start" : "Open"}
              </Link>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

/** Whether the server can run a flow, or only shows what it did. */
export function Code({ has }: { has: boolean }) {
  return has
    ? <span class="tag flow-has" title="This server has the code of this flow: it can start it"><span aria-hidden="true">✓ </span>code is here</span>
    : <span class="tag" title="This server shows the runs of this flow, but cannot start any"><span aria-hidden="true">– </span>no code here</span>;
}
