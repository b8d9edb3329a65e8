/** Two executions of a flow beside each other: where they part, and what came of it. */
import "./compare.css";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Link } from "../app/link";
import { useChanges } from "../app/live";
import { duration } from "../app/time";
import { Ago, Loading, Mark, Panel, Trouble, useNow } from "../app/ui";
import { usePaced } from "../lists/counts";
import { RunLink } from "../lists/run-link";
import { count, shortId, taken } from "../lists/words";
import { LOOK } from "../status";
import { line } from "../values/text";
import { Value } from "../values/value";
import { get, path, problemOf } from "../wire/http";
import { isObject } from "../wire/json";
import type { DifferenceInfo, ExecutionInfo, Frame, Pair, Problem } from "../wire/types";
import { Pick } from "./pick";
import { did, differing, ending, verdict, type Words } from "./words";

/** How many frames before and after the one where they part are shown. */
const BEFORE = 4;
const AFTER = 8;
/** How many outcomes of one chunk, and how many chunks and keys are shown. */
const MANY = 50;
const SIDES = ["One", "The other"] as const;

type Two<T> = readonly [T, T];
interface Found { difference: DifferenceInfo; infos: Two<ExecutionInfo>; frames: Two<Map<number, Frame>> }

export function Compare({ one, other }: { one: string; other?: string }) {
  if (!other) return <Pick one={one} />;
  return <Both key={`${one}\n${other}`} ids={[one, other]} />;
}

/** The frames of an execution around the one where it parts from another. */
async function framesAround(id: string, number: number): Promise<Map<number, Frame>> {
  const query = { after: Math.max(0, number - 1 - BEFORE), limit: BEFORE + 1 + AFTER };
  const { frames } = await get<{ frames: Frame[] }>(path("executions", id, "frames"), query);
  return new Map(frames.map((frame) => [frame.number, frame]));
}

async function read(ids: Two<string>): Promise<Found> {
  const of = <T,>(ask: (id: string) => Promise<T>): Promise<[T, T]> => Promise.all([ask(ids[0]), ask(ids[1])]);
  const [difference, infos] = await Promise.all([
    get<DifferenceInfo>(path("executions", ids[0], "diff", ids[1])), of((id) => get<ExecutionInfo>(path("executions", id))),
  ]);
  const { parted } = difference;
  return { difference, infos, frames: await of(async (id) => (parted ? framesAround(id, parted.number) : new Map())) };
}

function Both({ ids }: { ids: Two<string> }) {
  const [one] = ids;
  const [found, setFound] = useState<Found | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const load = (): Promise<void> => read(ids).then(setFound, (error: unknown) => setProblem(problemOf(error)));
  useEffect(() => void load(), []);
  // comparing goes through all frames of both: with many of them it is done less often
  const soon = usePaced(load, 3000 + (found ? found.difference.frames[0] + found.difference.frames[1] : 0));
  useChanges((executions, resync) => (resync || ids.some((id) => executions.includes(id))) && soon());
  return (
    <section class="compare" aria-labelledby="compare-title">
      <div class="page-head">
        <h1 id="compare-title">Two runs</h1>
        <span class="grow" />
        <Link class="button" to={{ view: "compare", one }}>Compare with another one</Link>
      </div>
      <div class="compare-two">{ids.map((id, side) => <Head key={side} side={SIDES[side]!} id={id} info={found?.infos[side] ?? null} />)}</div>
      {found !== null ? <Result ids={ids} found={found} />
        : problem !== null ? <Trouble problem={problem} onAgain={() => void load()} />
        : <Loading lines={12} text="Comparing all frames of both" />}
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
        <RunLink id={id} />
      </p>
      <p class="compare-facts">
        {info !== null && (
          <>
            <Mark status={info.status} />
            <span>{count(info.frames, "frame")}</span>
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

function Result({ ids, found: { difference, frames } }: { ids: Two<string>; found: Found }) {
  const { parted, result, stream, same } = difference;
  const number = parted?.number ?? 0;
  const chunks = Object.entries(difference.chunks);
  const keys = Object.entries(difference.state);
  return (
    <>
      <p class={`card compare-verdict ${same ? "same" : ""}`} role="status">
        <span class="compare-sign" aria-hidden="true">{same ? "=" : "≠"}</span>
        <span><Said words={verdict(difference, [frames[0].get(number) ?? null, frames[1].get(number) ?? null])} /></span>
      </p>
      {parted !== null && (
        <Panel title="Where they part" extra={<span class="muted small">A frame opens its run at that moment</span>}>
          <Frames ids={ids} number={number} frames={frames} />
          <div class="compare-two">
            {SIDES.map((name, side) => (
              <div key={side} class="compare-record">
                <h3>{name}, frame {number}</h3>
                {parted.kinds[side] === null
                  ? <p class="muted">No frame of this number: it is {LOOK[difference.status[side]!].word} before.</p>
                  : <Value value={parted.records[side]} open={2} />}
              </div>
            ))}
          </div>
        </Panel>
      )}
      {result !== null && <Panel title="Result"><Values pair={result} /></Panel>}
      {chunks.length > 0 && (
        <Panel title={`Outcomes that differ, of ${count(chunks.length, "chunk")}`}>
          <First entries={chunks}>{(pair) => <Chunk pair={pair} />}</First>
        </Panel>
      )}
      {keys.length > 0 && (
        <Panel title={`State: ${count(keys.length, "key")} with other values`}>
          <First entries={keys}>{(pair) => <Values pair={pair} />}</First>
        </Panel>
      )}
      {stream !== null && (
        <Panel title={`Stream: item ${stream[0]} is the first that differs`}>
          <p class="muted compare-entry">One has {count(difference.items[0], "item")}, the other {count(difference.items[1], "item")}.</p>
          <Values pair={stream[1]} />
        </Panel>
      )}
    </>
  );
}

/** The first of many entries, each with its name. */
function First<T>({ entries, children }: { entries: readonly [string, T][]; children: (entry: T) => ComponentChildren }) {
  return (
    <>
      {entries.slice(0, MANY).map(([name, entry]) => (
        <div key={name} class="compare-entry"><h3 class="mono">{line(name, 120)}</h3>{children(entry)}</div>
      ))}
      <More than={entries.length} />
    </>
  );
}

function More({ than }: { than: number }) {
  return than > MANY ? <p class="muted">and {(than - MANY).toLocaleString("en")} more</p> : null;
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

function Chunk({ pair }: { pair: Two<unknown[]> }) {
  const { places, more } = differing(pair, MANY);
  const most = Math.max(pair[0].length, pair[1].length);
  const of = (side: number, at: number): ComponentChildren => (
    at < pair[side]!.length ? <Outcome value={pair[side]![at]} /> : <p class="muted">It did not run{pair[side]!.length > 0 && " so often"}.</p>
  );
  return (
    <>
      {places.map((at) => (
        <div key={at}>
          {most > 1 && <p class="muted small">Run {at + 1} of {most}</p>}
          <Beside one={of(0, at)} other={of(1, at)} />
        </div>
      ))}
      <More than={places.length + more} />
    </>
  );
}

/** What a run has given: a value, or why it failed. */
function Outcome({ value }: { value: unknown }) {
  if (!isObject(value) || Object.keys(value).sort().join() !== "chunk,message,type") return <Value value={value} open={1} />;
  return <p class="compare-error"><span aria-hidden="true">✗ </span>{line(`${value.type}: ${value.message}`, 1000)}</p>;
}

/** Two values that differ. */
function Values({ pair: { one, other, missing } }: { pair: Pair }) {
  const none = <p class="muted">none</p>;
  return (
    <Beside
      one={missing === "one" ? none : <Value value={one ?? null} open={2} />}
      other={missing === "other" ? none : <Value value={other ?? null} open={2} />}
    />
  );
}

function Beside({ one, other }: { one: ComponentChildren; other: ComponentChildren }) {
  return <div class="compare-two"><div class="compare-value one">{one}</div><div class="compare-value other">{other}</div></div>;
}
