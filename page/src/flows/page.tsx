/** One flow: its graph, what it takes and gives, a form that starts it, and its newest runs. */
import "./flows.css";
import { useMemo } from "preact/hooks";
import { useAccess } from "../app/access";
import { Link } from "../app/link";
import { Loading, Panel, Trouble } from "../app/ui";
import { Graph } from "../graph/graph";
import { line } from "../values/text";
import { get, path } from "../wire/http";
import { useRead } from "../wire/read";
import type { Contract, Drawing, Schema } from "../wire/types";
import { Counts } from "./counts";
import { isAny } from "./describe";
import { Code, useFlows } from "./list";
import { Recent, useRecent } from "./recent";
import { SchemaTable } from "./schema";
import { StartForm } from "./start";

/** The drawing of the newest definition of a flow. */
const drawingOf = (flow: string): Promise<Drawing> => get<Drawing>(path("flows", flow, "drawing"));

export function FlowPage({ flow }: { flow: string }) {
  const contract = useRead<Contract>(path("flows", flow));
  const drawing = useRead<Drawing>(path("flows", flow, "drawing"));
  const recent = useRecent(flow);
  const { flows, problem: flowsProblem } = useFlows();
  const access = useAccess();
  const info = flows?.find((it) => it.name === flow);
  if (contract.problem !== null) {
    return (
      <div class="flow-missing">
        <h1>{contract.problem.status === 404 ? "There is no such flow" : "This flow cannot be shown"}</h1>
        <p class="mono">{flow.slice(0, 300)}</p>
        <Trouble problem={contract.problem} onAgain={contract.again} />
        <Link class="button" to={{ view: "flows" }}>All flows</Link>
      </div>
    );
  }
  const ready = contract.value !== null && (flows !== null || flowsProblem !== null) && (recent.rows !== null || recent.problem !== null);
  // all of it at once: what comes first would be pushed away by what comes later
  if (!ready || contract.value === null || (contract.value.has_code && access.flows === null && access.readOnly)) {
    return (
      <>
        <header class="page-head flow-head"><h1 class="cut">{line(flow, 200)}</h1></header>
        <Loading lines={30} />
      </>
    );
  }
  return (
    <>
      <header class="page-head flow-head">
        <h1 class="cut" title={flow.slice(0, 500)}>{line(flow, 200)}</h1>
        <Code has={contract.value.has_code} />
        <span class="muted small" title="The fingerprint of its definition">version <span class="mono">{contract.value.definition.slice(0, 12)}</span></span>
        {info && <Counts flow={flow} counts={info.counts} />}
      </header>
      <div class="flow-grid">
        <Panel title="Graph" class="flow-graph">
          {drawing.problem !== null ? <Trouble problem={drawing.problem} onAgain={drawing.again} /> : <Graph drawing={drawing.value} drawingOf={drawingOf} />}
        </Panel>
        <div class="flow-side">
          <Panel title="Start a run" class="flow-begin">
            <StartForm contract={contract.value} />
          </Panel>
          <Recent flow={flow} runs={recent} />
        </div>
        <Panel title="What it takes and gives" class="flow-contract">
          <ContractTables contract={contract.value} />
        </Panel>
      </div>
    </>
  );
}

function ContractTables({ contract }: { contract: Contract }) {
  const { has_code: hasCode, start, result, item, signals, state } = contract;
  const parts = useMemo(() => {
    const all: { name: string; hint: string; schema: Schema }[] = [
      { name: "Start", hint: "what it is started with", schema: start },
      { name: "Result", hint: "what it ends with", schema: result },
      { name: "Stream", hint: "each item that it shows on the way", schema: item },
      { name: "State", hint: "what its steps share", schema: state },
    ];
    return all;
  }, [contract]);
  const said = parts.filter((it) => !isAny(it.schema)), silent = parts.filter((it) => isAny(it.schema));
  return (
    <div class="flow-parts">
      {!hasCode && <p class="muted">Its types are in its code, which is not here.</p>}
      {said.map((it) => (
        <section key={it.name} aria-label={it.name}>
          <h3>{it.name} <span class="muted flow-hint">{it.hint}</span></h3>
          <SchemaTable schema={it.schema} name={it.name} />
        </section>
      ))}
      {signals.length > 0 && (
        <section aria-label="Signals">
          <h3>Signals <span class="muted flow-hint">what can be sent to it while it runs</span></h3>
          <ul class="flow-signals">
            {signals.map((it) => (
              <li key={it.name}>
                <p><span class="mono flow-signal">{line(it.name, 100)}</span> {it.external && <span class="tag">for callers</span>}</p>
                {!isAny(it.schema) && <SchemaTable schema={it.schema} name={it.name} />}
              </li>
            ))}
          </ul>
        </section>
      )}
      {hasCode && silent.length > 0 && <p class="muted">No type is declared for {silent.map((it) => it.name.toLowerCase()).join(", ").replace(/, ([^,]*)$/, " and $1")}: any JSON fits.</p>}
      {hasCode && signals.length === 0 && <p class="muted">It hears no signals.</p>}
    </div>
  );
}
