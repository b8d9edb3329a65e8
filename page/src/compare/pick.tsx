/** With which execution one is to be compared: its origin and its forks first, then the others of its flow. */
import { useEffect, useState } from "preact/hooks";
import { Link } from "../app/link";
import { go } from "../app/route";
import { Ago, Empty, Loading, Mark, Trouble, useNow } from "../app/ui";
import { RunLink } from "../lists/run-link";
import { shortId, what } from "../lists/words";
import { line } from "../values/text";
import { get, isAbort, path, problemOf, type Query } from "../wire/http";
import type { ExecutionInfo, ExecutionPage, Problem } from "../wire/types";
import { order, type Kin } from "./kin";

export function Pick({ one }: { one: string }) {
  const [text, setText] = useState("");
  const [info, setInfo] = useState<ExecutionInfo | null>(null);
  const [rows, setRows] = useState<ReturnType<typeof order> | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [tries, setTries] = useState(0);
  const at = useNow();
  const searched = text.trim();

  useEffect(() => {
    const giveUp = new AbortController();
    const ask = <T,>(path: string, query: Query = {}): Promise<T> => get<T>(path, query, giveUp.signal);
    const load = async (): Promise<void> => {
      try {
        const mine = await ask<ExecutionInfo>(path("executions", one));
        const [{ executions }, origin] = await Promise.all([
          ask<ExecutionPage>("executions", { flow: mine.flow, text: searched, limit: 200 }),
          // it may be deleted
          mine.forked_from && !searched ? ask<ExecutionInfo>(path("executions", mine.forked_from[0])).catch(() => null) : null,
        ]);
        setInfo(mine);
        setRows(order(mine, executions, origin));
        setProblem(null);
      } catch (error) {
        if (!isAbort(error)) setProblem(problemOf(error));
      }
    };
    const timer = setTimeout(() => void load(), text ? 250 : 0);
    return () => {
      clearTimeout(timer);
      giveUp.abort();
    };
  }, [one, text, tries]);

  return (
    <section class="compare" aria-labelledby="compare-title">
      <div class="page-head">
        <h1 id="compare-title">Compare with another run</h1>
      </div>
      <p class="muted compare-of">
        Choose a run{info && ` of ${line(info.flow, 80)}`} to compare with{" "}
        <RunLink id={one} />.
      </p>
      <form
        class="row compare-search"
        onSubmit={(event) => {
          event.preventDefault();
          if (searched) go({ view: "compare", one, other: rows?.length === 1 ? rows[0]!.info.id : searched });
        }}
      >
        <input
          class="input" type="search" autofocus value={text} maxLength={500} autocomplete="off" spellcheck={false}
          aria-label="Search by the beginning of an id or a label, or paste a whole id"
          placeholder="Beginning of an id or label"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button class="button" type="submit" disabled={!searched}>Compare with this id</button>
      </form>
      {problem !== null ? <Trouble problem={problem} onAgain={() => setTries(tries + 1)} />
        : rows === null ? <Loading lines={10} />
        : rows.length === 0 ? (
          <Empty>No other run of this flow{searched ? " matches" : " yet"}.</Empty>
        )
        : (
          <ul class="card compare-list">
            {rows.map(({ info, kin }) => (
              <li key={info.id}>
                <Link class="compare-row" to={{ view: "compare", one, other: info.id }} title={info.id.slice(0, 600)}>
                  <Mark status={info.status} />
                  <span class="mono">{shortId(info.id)}</span>
                  <span class="grow cut muted">{what(info, at).text}</span>
                  {kin && <span class="tag">{KIN[kin]}{kin === "fork" && ` at frame ${info.forked_from?.[1]}`}</span>}
                  <span class="muted"><Ago at={info.created} /></span>
                </Link>
              </li>
            ))}
          </ul>
        )}
    </section>
  );
}

const KIN: Record<Kin, string> = { origin: "its origin", fork: "fork of it", sibling: "fork of the same", "": "" };
