/** With which execution one is to be compared: its origin and its forks first, then the others of its flow. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Link } from "../app/link";
import { go } from "../app/route";
import { Ago, Empty, Loading, Mark, Trouble, useNow } from "../app/ui";
import { shortId, what } from "../lists/words";
import { line } from "../values/text";
import { get, isAbort, path, problemOf } from "../wire/http";
import type { ExecutionInfo, ExecutionPage, Problem } from "../wire/types";
import { order, type Kin } from "./kin";

const PAGE = 100;

interface Listed { info: ExecutionInfo; rows: ExecutionInfo[]; origin: ExecutionInfo | null; next: string | null }

export function Pick({ one }: { one: string }) {
  const [text, setText] = useState("");
  const [wanted, setWanted] = useState(PAGE);
  const [listed, setListed] = useState<Listed | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [tries, setTries] = useState(0);
  const field = useRef<HTMLInputElement>(null);
  const at = useNow();

  useEffect(() => {
    const giveUp = new AbortController();
    const load = async (): Promise<void> => {
      try {
        const info = await get<ExecutionInfo>(path("executions", one), {}, giveUp.signal);
        const [page, origin] = await Promise.all([
          get<ExecutionPage>("executions", { flow: info.flow, text: text.trim(), limit: wanted }, giveUp.signal),
          info.forked_from === null ? null
            // it may be deleted
            : get<ExecutionInfo>(path("executions", info.forked_from[0]), {}, giveUp.signal).catch(() => null),
        ]);
        setListed({ info, rows: page.executions, origin, next: page.next });
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
  }, [one, text, wanted, tries]);
  useEffect(() => field.current?.focus(), []);

  const rows = listed === null ? [] : order(listed.info, listed.rows, text.trim() ? null : listed.origin);
  return (
    <section class="compare" aria-labelledby="compare-title">
      <div class="page-head">
        <h1 id="compare-title">Compare with another run</h1>
      </div>
      <p class="muted compare-of">
        {listed === null ? "\u00a0" : <>Choose a run of {line(listed.info.flow, 80)} to compare with{" "}
          <Link class="mono" to={{ view: "execution", id: one }}>{shortId(one)}</Link>.</>}
      </p>
      <form
        class="row compare-search"
        onSubmit={(event) => {
          event.preventDefault();
          if (rows.length === 1) go({ view: "compare", one, other: rows[0]!.info.id });
          else if (text.trim()) go({ view: "compare", one, other: text.trim() });
        }}
      >
        <input
          ref={field} class="input" type="search" value={text} maxLength={500} autocomplete="off" spellcheck={false}
          aria-label="Search by the beginning of an id or a label, or paste a whole id"
          placeholder="Beginning of an id or label"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button class="button" type="submit" disabled={!text.trim()}>Compare with this id</button>
      </form>
      {problem !== null ? <Trouble problem={problem} onAgain={() => setTries(tries + 1)} />
        : listed === null ? <Loading lines={10} />
        : rows.length === 0 ? (
          <Empty>{text.trim() ? "No other run of this flow matches." : "There is no other run of this flow yet."}</Empty>
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
      {listed?.next && wanted < 1000 && (
        <p class="list-end">
          <button class="button" type="button" onClick={() => setWanted(Math.min(1000, wanted * 3))}>Show more</button>
        </p>
      )}
    </section>
  );
}

const KIN: Record<Kin, string> = { origin: "its origin", fork: "fork of it", sibling: "fork of the same", "": "" };
