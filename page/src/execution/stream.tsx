/** The runtime stream up to the moment that is shown, with what models write as running text. */
import "./stream.css";
import { useMemo, useState } from "preact/hooks";
import type { StreamItem } from "../model/track";
import { exact } from "../app/time";
import { begin, line, visible } from "../values/text";
import { ListHead, RowList, useFolds } from "../values/list";
import { Value } from "../values/value";
import { Entries, has, labelOf, type Entry } from "./entries";

export interface StreamProps {
  items: readonly StreamItem[];
  /** The newest moment is shown. */
  live: boolean;
  /** Somebody wants to see the frame of an item. */
  onMoment?(moment: number): void;
  /** When a frame was, in seconds since the epoch. */
  timeOf?(frame: number): number | undefined;
}

/** A text with more characters than this shows its beginning and its end. */
const WHOLE = 20_000, EDGE = 4_000;
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export function StreamPanel({ items, live, onMoment, timeOf }: StreamProps) {
  const all = useMemo(() => new Entries(), []);
  const [wanted, setWanted] = useState("");
  const [unfolded, fold] = useFolds<number>();
  const entries = useMemo(() => all.of(items), [items]);
  const shown = useMemo(() => {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    return words.length === 0 ? entries : entries.filter((it) => has(it, words));
  }, [entries, wanted]);
  const count = `${items.length.toLocaleString("en")} item${items.length === 1 ? "" : "s"}`;
  return (
    <div class="rows-panel">
      <ListHead wanted={wanted} onWanted={setWanted} label="Filter the stream"
        count={wanted === "" ? count : `${shown.length.toLocaleString("en")} of ${entries.length.toLocaleString("en")} fit`} />
      <RowList
        items={shown} keyOf={(it) => it.first} label="Stream" role="log" follow
        estimate={(it, width) => (it.text === null ? 24 : textHeight(it.text, width))}
        below={(number) => `${number.toLocaleString("en")} new below`}
        empty={<p class="empty">{wanted !== "" ? "Nothing fits the filter." : live ? "Nothing has come yet." : "Nothing had come by this moment."}</p>}
        row={(it) => <Row entry={it} open={unfolded.has(it.first)} fold={fold} onMoment={onMoment} at={timeOf?.(it.lastFrame)} />}
      />
    </div>
  );
}

/** About how high a text is. */
function textHeight(text: string, width: number): number {
  const columns = Math.max((width - 80) / 7, 10);
  return Math.max(Math.ceil(Math.min(text.length, 2 * EDGE) / columns), 1) * 21.6 + 5;
}

function Row({ entry, open, fold, onMoment, at }: {
  entry: Entry; open: boolean; fold: (first: number) => void; onMoment?: (moment: number) => void; at: number | undefined;
}) {
  const label = labelOf(entry);
  const number = entry.first === entry.last ? String(entry.first) : `${entry.first}–${entry.last}`;
  const name = entry.first === entry.last ? `item ${number}` : `items ${number}`;
  // a list of thousands is scrolled: what is the same is not compared part by part
  return useMemo(() => (
    <div class="stream-row">
      <div class="stream-facts">
        {onMoment === undefined ? <span class="stream-number">{number}</span>
          : <button type="button" class="stream-number" title={`Go to the moment of ${name}`} aria-label={`Go to the moment of ${name}`} onClick={() => onMoment(entry.lastFrame)}>{number}</button>}
        {at !== undefined && <time dateTime={new Date(at * 1000).toISOString()} title={exact(at)}>{TIME.format(at * 1000)}</time>}
      </div>
      <div class={`stream-what${entry.path !== "" || label !== "" ? " stream-tagged" : ""}`}>
        {entry.path !== "" && <span class="stream-path" title={`From the sub-flow ${visible(entry.path)}`}>{line(entry.path, 60)}</span>}
        {label !== "" && <span class="stream-label" title={line(entry.keys, 300)}>{label}</span>}
        {entry.text !== null ? <Running text={entry.text} /> : (
          <button type="button" class="stream-item" aria-expanded={open} onClick={() => fold(entry.first)}>
            <span class="stream-arrow" aria-hidden="true">{open ? "▾" : "▸"}</span>
            <span class="stream-sum">{line(entry.item, 200)}</span>
          </button>
        )}
        {open && entry.text === null && <div class="stream-whole"><Value value={entry.item} open={2} copy /></div>}
      </div>
    </div>
  ), [entry, open, at, onMoment]);
}

/** A text that grows. A very long one shows its beginning and its end, where it grows. */
function Running({ text }: { text: string }) {
  const [whole, setWhole] = useState(false);
  if (text.length <= WHOLE || whole) return <span class="stream-text">{visible(text)}</span>;
  return (
    <span class="stream-text">
      {visible(begin(text, EDGE))}
      <button type="button" class="value-more stream-cut" onClick={() => setWhole(true)}>
        Show the {(text.length - 2 * EDGE).toLocaleString("en")} characters between
      </button>
      {visible(text.slice(-EDGE))}
    </span>
  );
}
