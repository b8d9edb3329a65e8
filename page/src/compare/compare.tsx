/** Two executions of a flow beside each other: where they part, and what came of it. */
import "./compare.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { Link } from "../app/link";
import { useChanges } from "../app/live";
import { duration } from "../app/time";
import { Ago, Loading, Mark, Panel, Trouble, useNow } from "../app/ui";
import { usePaced } from "../lists/counts";
import { count, shortId, taken } from "../lists/words";
import { LOOK } from "../status";
import { line } from "../values/text";
import { Value } from "../values/value";
import { get, path, problemOf } from "../wire/http";
import type { DifferenceInfo, ExecutionInfo, Frame, Pair, Problem } from "../wire/types";
import { Pick } from "./pick";
import { did, differing, ending, verdict, type Words } from "./words";

/** How many frames before and after the one where they part are shown. */
const BEFORE = 4;
const AFTER = 8;
/** How many outcomes of one chunk, and how many chunks and keys are shown at first. */
const MANY = 20;
/** Comparing goes through all frames of both: with more of them it is done again only when somebody asks for it. */
const CHEAP = 5000;

type Two<T> = readonly [T, T];
interface Found { difference: DifferenceInfo; infos: Two<ExecutionInfo>; frames: Two<Map<number, Frame>> }

export function Compare({ one, other }: { one: string; other?: string }) {
  if (!other) return <Pick one={one} />;
  return <Both key={`${one}\n${other}`} one={one} other={other} />;
}

async function framesAround(id: string, number: number, has: number): Promise<Map<number, Frame>> {
  const after = Math.max(0, Math.min(number - 1 - BEFORE, has));
  const page = await get<{ frames: Frame[] }>(path("executions", id, "frames"), { after, limit: BEFORE + 1 + AFTER });
  return new Map(page.frames.map((frame) => [frame.number, frame]));
}

async function read(one: string, other: string): Promise<Found> {
  const [difference, ...infos] = await Promise.all([
    get<DifferenceInfo>(path("executions", one, "diff", other)),
    get<ExecutionInfo>(path("executions", one)),
    get<ExecutionInfo>(path("executions", other)),
  ]);
  const number = difference.parted?.number ?? 0;
  const frames = number === 0 ? [new Map<number, Frame>(), new Map<number, Frame>()] as const : await Promise.all([
    framesAround(one, number, difference.frames[0]), framesAround(other, number, difference.frames[1]),
  ]);
  return { difference, infos, frames };
}

function Both({ one, other }: { one: string; other: string }) {
  const [found, setFound] = useState<Found | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [old, setOld] = useState(false);
  const over = useRef(false);

  const load = async (): Promise<void> => {
    try {
      const next = await read(one, other);
      if (over.current) return;
      setFound(next);
      setProblem(null);
      setOld(false);
    } catch (error) {
      if (!over.current) setProblem(problemOf(error));
    }
  };
  useEffect(() => {
    over.current = false;
    void load();
    return () => {
      over.current = true;
    };
  }, []);
  const soon = usePaced(load, 3000);
  useChanges((executions, resync) => {
    if (!resync && !executions.includes(one) && !executions.includes(other)) return;
    if (found === null || found.difference.frames[0] + found.difference.frames[1] <= CHEAP) soon();
    else setOld(true);
  });

  return (
    <section class="compare" aria-labelledby="compare-title">
      <div class="page-head">
        <h1 id="compare-title">Two runs</h1>
        {old && (
          <button class="button primary" type="button" onClick={() => void load()}>They have changed: compare again</button>
        )}
        <span class="grow" />
        <Link class="button" to={{ view: "compare", one: other, other: one }} replace>Swap</Link>
        <Link class="button" to={{ view: "compare", one }}>Compare with another one</Link>
      </div>
      <div class="compare-two">
        <Head side="One" id={one} info={found?.infos[0] ?? null} />
        <Head side="The other" id={other} info={found?.infos[1] ?? null} />
      </div>
      {problem !== null && found === null ? <Trouble problem={problem} onAgain={() => void load()} />
        : found === null ? <Loading lines={12} text="Comparing all frames of both" />
        : <Result one={one} other={other} found={found} />}
    </section>
  );
}

function Head({ side, id, info }: { side: string; id: string; info: ExecutionInfo | null }) {
  const at = useNow();
  return (
    <div class="card compare-head">
      <p class="muted small">{side}</p>
      <p class="compare-name">
        <span class="compare-flow">{info === null ? "" : line(info.flow, 80)}</span>{" "}
        <Link class="mono" to={{ view: "execution", id }} title={id.slice(0, 600)}>{shortId(id)}</Link>
      </p>
      <p class="compare-facts">
        {info !== null && (
          <>
            <Mark status={info.status} />
            <span>{info.frames.toLocaleString("en")} frames</span>
            <span>{duration(taken(info, at))}</span>
            <Ago at={info.created} />
          </>
        )}
      </p>
      <p class="compare-error">
        {info?.error ? line(info.error, 200) : info?.forked_from
          ? <span class="muted">Fork of {shortId(info.forked_from[0])} at frame {info.forked_from[1]}</span> : null}
      </p>
    </div>
  );
}

function Result({ one, other, found: { difference, frames } }: { one: string; other: string; found: Found }) {
  const number = difference.parted?.number ?? 0;
  const parting = [frames[0].get(number) ?? null, frames[1].get(number) ?? null] as const;
  const chunks = Object.entries(difference.chunks);
  const keys = Object.entries(difference.state);
  return (
    <>
      <p class={`card compare-verdict ${difference.same ? "same" : ""}`} role="status">
        <span class="compare-sign" aria-hidden="true">{difference.same ? "=" : "≠"}</span>
        <span><Said words={verdict(difference, parting)} /></span>
      </p>
      {difference.parted !== null && (
        <Panel title="Where they part" extra={<span class="muted small">A frame opens its run at that moment</span>}>
          <Frames ids={[one, other]} number={number} frames={frames} />
          <div class="compare-two">
            {[0, 1].map((side) => (
              <div key={side} class="compare-record">
                <h3>{side === 0 ? "One" : "The other"}, frame {number}</h3>
                {difference.parted!.kinds[side] === null
                  ? <p class="muted">No frame of this number: it is {LOOK[difference.status[side]!].word} before.</p>
                  : <Value value={difference.parted!.records[side]} open={2} />}
              </div>
            ))}
          </div>
        </Panel>
      )}
      {difference.result !== null && (
        <Panel title="Result"><Values pair={difference.result} /></Panel>
      )}
      {chunks.length > 0 && (
        <Panel title={`Outcomes of ${chunks.length === 1 ? "one chunk differ" : `${chunks.length} chunks differ`}`}>
          <Cut entries={chunks}>{([name, pair]) => <Chunk key={name} name={name} pair={pair} />}</Cut>
        </Panel>
      )}
      {keys.length > 0 && (
        <Panel title={`State: ${keys.length === 1 ? "one key differs" : `${keys.length} keys differ`}`}>
          <Cut entries={keys}>
            {([name, pair]) => (
              <div key={name} class="compare-entry"><h3 class="mono">{line(name, 120)}</h3><Values pair={pair} /></div>
            )}
          </Cut>
        </Panel>
      )}
      {difference.stream !== null && (
        <Panel title={`Stream: item ${difference.stream[0]} is the first that differs`}>
          <p class="muted compare-entry">
            One has {count(difference.items[0], "item")}, the other {count(difference.items[1], "item")}.
          </p>
          <Values pair={difference.stream[1]} />
        </Panel>
      )}
    </>
  );
}

/** The first entries, and the others at a click. */
function Cut<T>({ entries, children }: { entries: readonly T[]; children: (entry: T) => preact.ComponentChild }) {
  const [most, setMost] = useState(MANY);
  return (
    <>
      {entries.slice(0, most).map(children)}
      {entries.length > most && (
        <button class="button quiet" type="button" onClick={() => setMost(most + 100)}>
          Show more of {entries.length.toLocaleString("en")}
        </button>
      )}
    </>
  );
}

function Said({ words }: { words: Words }) {
  return <>{words.map((it, at) => (typeof it === "string" ? it : <code key={at}>{it.name}</code>))}</>;
}

/** The frames around the one where they part, each with a way to that moment. */
function Frames({ ids, number, frames }: { ids: Two<string>; number: number; frames: Two<Map<number, Frame>> }) {
  const first = Math.max(1, number - BEFORE);
  const last = Math.max(number, ...frames[0].keys(), ...frames[1].keys());
  const rows = Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);
  return (
    <table class="compare-frames">
      <caption class="unseen">The frames around frame {number}, where the two runs part</caption>
      <thead>
        <tr>
          <th scope="col"><span aria-hidden="true">#</span><span class="unseen">Frame</span></th>
          <th scope="col">One</th>
          <th scope="col">The other</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((it) => {
          const pair = [frames[0].get(it), frames[1].get(it)] as const;
          return (
            <tr
              key={it} class={it < number ? "same" : it === number ? "parting" : ""}
              aria-current={it === number ? "true" : undefined}
            >
              <th scope="row" class="number">{it}</th>
              {pair.map((frame, side) => (
                <td key={side}>
                  {frame === undefined ? <span class="muted">—</span> : (
                    <Link to={{ view: "execution", id: ids[side]!, moment: it }} title={`Open the run at moment ${it}`}>
                      <Said words={did(frame)} />
                    </Link>
                  )}
                  {frame !== undefined && ending(frame) !== null && <>{" "}<Mark status={ending(frame)!} /></>}
                </td>
              ))}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Chunk({ name, pair }: { name: string; pair: Two<unknown[]> }) {
  const { places, more } = differing(pair, MANY);
  const [mine, its] = [pair[0].length, pair[1].length];
  const many = Math.max(mine, its) > 1;
  const of = mine === its ? String(mine) : `${mine} and ${its}`;
  return (
    <div class="compare-entry">
      <h3 class="mono">{line(name, 120)}</h3>
      {places.map((at) => (
        <div key={at}>
          {many && <p class="muted small">Run {at + 1} of {of}</p>}
          <div class="compare-two">
            {pair.map((side, which) => (
              <div key={which} class={`compare-value ${which === 0 ? "one" : "other"}`}>
                {at < side.length ? <Outcome value={side[at]} />
                  : <p class="muted">{side.length ? "It did not run so often." : "It did not run."}</p>}
              </div>
            ))}
          </div>
        </div>
      ))}
      {more > 0 && <p class="muted">and {more.toLocaleString("en")} more</p>}
    </div>
  );
}

/** What a run has given: a value, or why it failed. */
function Outcome({ value }: { value: unknown }) {
  if (typeof value === "object" && value !== null && Object.keys(value).sort().join() === "chunk,message,type") {
    const failed = value as { type: unknown; message: unknown };
    const text = `${line(failed.type, 100)}: ${line(failed.message, 1000)}`;
    return <p class="compare-error"><span aria-hidden="true">✗ </span>{text}</p>;
  }
  return <Value value={value} open={1} />;
}

/** Two values that differ, beside each other. */
function Values({ pair }: { pair: Pair }) {
  const missing = pair.missing ?? "";
  return (
    <div class="compare-two">
      <div class="compare-value one">
        {missing === "one" ? <p class="muted">One has none.</p> : <Value value={pair.one ?? null} open={2} />}
      </div>
      <div class="compare-value other">
        {missing === "other" ? <p class="muted">The other has none.</p> : <Value value={pair.other ?? null} open={2} />}
      </div>
    </div>
  );
}
