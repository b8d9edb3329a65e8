/** The timeline: a row for each run on one axis of time, on which long idle times are shortened. */
import "./timeline.css";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { go } from "../app/route";
import { duration } from "../app/time";
import { useNow } from "../app/ui";
import { labels, marked, span, type Label } from "../model/axis";
import { DOING } from "../model/fold";
import { attemptsOf, density, lengthOf, rowsOf, spanOf, type Row, type Shown } from "../model/rows";
import { counted, type Steps } from "../model/steps";
import type { Moment, OperatorState, Run, Segment, Track } from "../model/track";
import { FINAL, LOOK, type State } from "../status";
import { line } from "../values/text";
import { Inside } from "./inside";

export interface TimelineProps {
  track: Track;
  /** Counts what has been added to the track. */
  version: number;
  moment: Moment;
  /** Whether the newest moment is shown, and more may come. */
  live: boolean;
  /** The run that is selected. */
  selected?: number;
  onSelect(run: number): void;
  /** With it conditions are left out, states are those of the graph, and items of a for_each have their numbers. */
  steps?: Steps | null;
  /** Whether a process works on it. Without one, work that is open is drawn up to the last news of it. */
  owned?: boolean;
}

const HEIGHT = 26;
/** Rows above and below what is seen that are made as well. */
const MARGIN = 6;
/** A folded row with more runs than this shows how many are at work at once. */
const FEW = 6;
/** The height of a bar, and the place of its middle. */
const BAR = 10, MIDDLE = HEIGHT / 2;
/** About how many pixels are between two labels of the axis. */
const LABEL = 60;
/** What is over so soon after the page was opened had been over before, and is only read now. */
const READ_MS = 3000;

/** Where times are on a lane. */
interface Scale { track: Track; whole: number; width: number; now: number; x(time: number): number; grid: string; gaps: string }

export function Timeline(props: TimelineProps) {
  const { track, version, moment, selected, steps, owned = true } = props;
  const clock = useNow();
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const [active, setActive] = useState("");
  // the sub-flows that are open in place: those to follow with their attempts, and what is here of them
  const [followed, setFollowed] = useState<ReadonlyMap<string, number>>(new Map());
  const [inside, setInside] = useState<ReadonlyMap<string, Shown>>(new Map());
  const onShown = useMemo(() => (subFlow: string, shown: Shown) => setInside((known) => new Map(known).set(subFlow, shown)), []);
  // keys may come faster than pictures: the next one goes on from what the last one meant
  const meant = useRef({ opened, active });
  meant.current = { opened, active };
  const [top, setTop] = useState(0);
  const [size, setSize] = useState({ width: 0, height: 320 });
  const scroller = useRef<HTMLDivElement>(null), lane = useRef<HTMLDivElement>(null);
  const mounted = useRef({ clock, at: performance.now(), over: false });

  const ended = FINAL.has(track.at(track.last).recorded);
  const now = ended || (!owned && track.at(track.last).status === "running") ? track.until : Math.max(clock, track.until);
  const place = Math.max(track.axis.place(now), 0.001);
  // what had ended before is shown as it is; what grows here has room to grow, so that it moves by steps only
  mounted.current.over = ended && (mounted.current.over || track.until < mounted.current.clock || performance.now() - mounted.current.at < READ_MS);
  const whole = mounted.current.over ? place : span(place);

  const rowsWith = (open: ReadonlySet<string>): Row[] => rowsOf({ track, steps }, (key) => open.has(key), (id) => inside.get(id) ?? null);
  const rows = useMemo(() => rowsWith(opened), [track, version, steps, opened, inside]);
  const marks = useMemo(
    () => labels(track.axis, track.began, whole, now, Math.max(Math.floor(size.width / LABEL), 2)),
    [track, whole, size.width, track.axis.gaps.length, track.axis.gapUntil(now) === null ? 0 : Math.floor(now)],
  );
  const scale = useMemo(() => scaleOf(track, whole, size.width, now, marks), [track, whole, size.width, now, marks]);

  useLayoutEffect(() => {
    const measure = (): void => {
      if (!lane.current || !scroller.current) return;
      const width = Math.floor(lane.current.clientWidth), height = scroller.current.clientHeight;
      setSize((known) => (known.width === width && known.height === height ? known : { width, height }));
    };
    measure();
    const observer = new ResizeObserver(measure);
    if (lane.current) observer.observe(lane.current);
    if (scroller.current) observer.observe(scroller.current);
    return () => observer.disconnect();
  }, [rows.length === 0]);

  // new rows come into sight while somebody watches, unless they have scrolled up
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    const box = scroller.current;
    if (box && props.live && !ended && atEnd.current) box.scrollTop = box.scrollHeight;
  }, [rows.length, props.live]);

  const show = (place: number): void => {
    const box = scroller.current;
    if (!box || place < 0) return;
    if (place * HEIGHT < box.scrollTop) box.scrollTop = place * HEIGHT;
    else if ((place + 1) * HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = (place + 1) * HEIGHT - box.clientHeight;
  };

  // what is selected somewhere else comes into sight here; of a folded row, that row
  const isSelected = (row: Row): boolean =>
    selected !== undefined && row.shown.track === track && row.runs.some((it) => it.id === selected);
  useEffect(() => {
    const found = rows.findLastIndex(isSelected);
    if (found < 0) return;
    setActive(rows[found]!.key);
    show(found);
  }, [selected]);

  const toggle = (row: Row): void => {
    const [run] = row.runs as [Run];
    if (!row.group && run.subFlow === null) return;
    const next = new Set(meant.current.opened);
    if (!next.delete(row.key)) next.add(row.key);
    meant.current.opened = next;
    setOpened(next);
    if (!row.group && next.has(row.key)) setFollowed((known) => new Map(known).set(run.subFlow!, run.attempt));
  };
  const choose = (row: Row, run?: Run): void => {
    meant.current.active = row.key;
    setActive(row.key);
    const chosen = run ?? (row.group ? undefined : row.runs[0]);
    if (chosen && row.shown.track === track) props.onSelect(chosen.id);
  };
  /** Of a sub-flow that is open in place: go to its own page. */
  const visit = (row: Row): void => {
    if (row.shown.track !== track) go({ view: "execution", id: row.shown.track.id, run: row.group ? undefined : row.runs[0]!.id });
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const all = meant.current.opened === opened ? rows : rowsWith(meant.current.opened);
    const at = all.findIndex((it) => it.key === meant.current.active), row = all[at];
    const page = Math.max(Math.floor(size.height / HEIGHT) - 1, 1);
    let next = at;
    switch (event.key) {
      case "ArrowDown": next = at + 1; break;
      case "ArrowUp": next = at < 0 ? all.length - 1 : at - 1; break;
      case "PageDown": next = at + page; break;
      case "PageUp": next = at - page; break;
      case "Home": next = 0; break;
      case "End": next = all.length - 1; break;
      case "ArrowRight":
        if (row && !row.open) toggle(row);
        else if (row?.open) next = at + 1;
        break;
      case "ArrowLeft":
        if (row?.open) toggle(row);
        else if (row && row.level > 1) next = all.findLastIndex((it, place) => place < at && it.level < row.level);
        break;
      case "Enter": case " ":
        if (row && (row.group || row.runs[0]!.subFlow !== null)) toggle(row);
        else if (row) visit(row);
        break;
      default: return;
    }
    event.preventDefault();
    next = Math.min(Math.max(next, 0), all.length - 1);
    if (next === at) return;
    show(next);
    choose(all[next]!);
  };

  if (!rows.length) return <div class="time time-none"><p class="muted">Nothing has run yet.</p></div>;


  const first = Math.max(Math.floor(top / HEIGHT) - MARGIN, 0);
  const last = Math.min(Math.ceil((top + size.height) / HEIGHT) + MARGIN, rows.length);
  const past = moment.number < track.last ? moment.at : null;
  const shown = rows.slice(first, last);
  const activeShown = shown.some((it) => it.key === active);
  return (
    <div class="time">
      {[...followed].map(([id, attempt]) => <Inside key={id} subFlow={id} attempt={attempt} onShown={onShown} />)}
      <div class="time-head" aria-hidden="true">
        <span class="time-title">{summaryOf(rows)}</span>
        <div class="time-axis" ref={lane}>
          <AxisLine marks={marks} scale={scale} past={past} />
        </div>
        <span />
      </div>
      <div
        class="time-rows" ref={scroller} role="treegrid" aria-label="Runs in the order in which they began" aria-rowcount={rows.length}
        tabIndex={0} aria-activedescendant={activeShown ? idOf(active) : undefined} onKeyDown={onKeyDown}
        onScroll={(event) => {
          const box = event.currentTarget;
          setTop(box.scrollTop);
          atEnd.current = box.scrollTop + box.clientHeight >= box.scrollHeight - HEIGHT;
        }}
      >
        <div class="time-all" role="presentation" style={{ height: `${rows.length * HEIGHT}px` }}>
          {shown.map((row, place) => (
            <RowLine
              key={row.key} row={row} place={first + place} scale={scale} past={past} moment={momentOf(row, props)}
              active={row.key === active} selected={selected !== undefined && isSelected(row)} own={row.shown.track === track}
              onToggle={() => toggle(row)} onChoose={(run) => choose(row, run)} onVisit={() => visit(row)}
            />
          ))}
        </div>
      </div>
    </div>
  );
}

/** The moment at which a row is looked at; that of a sub-flow is the last one before the same time. */
function momentOf(row: Row, { track, moment }: TimelineProps): Moment {
  const own = row.shown.track;
  if (own === track) return moment;
  return own.at(moment.number === track.last ? own.last : own.momentAt(moment.at));
}

function summaryOf(rows: readonly Row[]): string {
  const runs = rows.reduce((sum, it) => sum + (it.level === 1 ? it.runs.length : 0), 0);
  return `${runs.toLocaleString("en")} ${runs === 1 ? "run" : "runs"}`;
}

function idOf(key: string): string {
  return `time-${key.replace(/[^\w-]/g, "_")}`;
}

function scaleOf(track: Track, whole: number, width: number, now: number, marks: readonly Label[]): Scale {
  const { axis } = track;
  const at = (place: number): number => Math.round((place / whole) * width * 2) / 2;
  return {
    track, whole, width, now,
    x: (time) => at(axis.place(time)),
    grid: marks.filter((it) => !it.gap).map((it) => `M${at(it.place)} 0V${HEIGHT}`).join(""),
    gaps: marked(axis, now).map((it) => `M${at(it.start)} 0V${HEIGHT}H${at(it.end)}V0Z`).join(""),
  };
}

/** "0 s", "30 s", "5 min": a round time. */
const round = (seconds: number): string => (seconds === 0 ? "0 s" : duration(seconds).replace(".0 s", " s").replace(/(\.\d)0 s/, "$1 s"));

/** The same in its largest unit: "24 h". */
const about = (seconds: number): string => duration(seconds).split(" ").slice(0, 2).join(" ").replace(".0 s", " s");

function AxisLine({ marks, scale, past }: { marks: readonly Label[]; scale: Scale; past: number | null }) {
  const { whole, width } = scale;
  if (!width) return null;
  return (
    <svg width={width} height="22">
      <path class="time-gap" d={scale.gaps} />
      {marks.map((it) => {
        const x = (it.place / whole) * width + 2, words = it.gap ? `≈ ${about(it.seconds)}` : round(it.seconds);
        const late = x + words.length * 6.5 > width;
        return (
          <text key={`${it.gap}${it.place}`} class={it.gap ? "time-label is-gap" : "time-label"} x={late ? width - 1 : x} y="14" text-anchor={late ? "end" : "start"}>
            {words}
          </text>
        );
      })}
      {past !== null && <path class="time-now" d={`M${scale.x(past)} 12V22m-4 -10h8l-4 5z`} />}
    </svg>
  );
}

interface RowProps {
  row: Row; place: number; scale: Scale; past: number | null; moment: Moment; active: boolean; selected: boolean;
  /** Whether it belongs to the execution that the page is about. */
  own: boolean; onToggle(): void; onChoose(run?: Run): void; onVisit(): void;
}

function RowLine({ row, place, scale, past, moment, active, selected, own, onToggle, onChoose, onVisit }: RowProps) {
  const { runs, group, shown } = row;
  const [newest] = runs as [Run, ...Run[]];
  const run = moment.runs.get(newest.id);
  const counts = group ? groupState(row, moment) : null;
  const state: State = group ? counts!.state : run?.state ?? "idle";
  const look = LOOK[state];
  const end = past ?? scale.now;
  const tries = run === undefined ? 0 : attemptsOf(run);
  const item = group ? null : shown.steps?.itemOf(newest.id) ?? null;
  const losses = useMemo(() => (group ? runs.reduce((sum, it) => sum + it.losses, 0) : 0), [group, runs]) || (group ? 0 : run?.losses ?? 0);
  const folds = group || newest.subFlow !== null;
  const over = useMemo(() => (group ? lastEnd(runs) : 0), [group, runs]);
  const took = group ? groupLength(runs, over, end) : run === undefined ? null : lengthOf(run, end);
  const busy = (DOING as readonly State[]).includes(state);
  const cut = busy ? past : null; // what is at work at the moment looks like that up to there
  const bars = useMemo(
    () => (group && runs.length > FEW ? <Density runs={runs} scale={scale} busy={busy} />
      : <g>{runs.map((it) => <Bars key={it.id} run={it} scale={scale} past={cut} />)}</g>),
    [group, scale, group ? runs : newest, over, cut, busy],
  );
  const onClick = (event: MouseEvent): void => {
    const hit = (event.target as Element).closest("[data-run]")?.getAttribute("data-run");
    const chosen = hit ? runs.find((it) => it.id === Number(hit)) : undefined;
    if (group && chosen === undefined) onToggle();
    else onChoose(chosen);
  };
  const classes = `time-row is-${state}${active ? " is-active" : ""}${selected ? " is-selected" : ""}${run === undefined ? " is-later" : ""}`;
  return (
    <div
      class={classes} id={idOf(row.key)} role="row" aria-rowindex={place + 1} aria-level={row.level} aria-selected={selected}
      aria-expanded={folds ? row.open : undefined} style={{ transform: `translateY(${place * HEIGHT}px)` }} onClick={onClick}
      onDblClick={onVisit} title={own ? undefined : "Double-click or Enter: its own page"}
    >
      <span class="time-name" role="gridcell" style={{ paddingInlineStart: `${Math.min(row.level - 1, 6) * 14 + 2}px` }}>
        <span class="mark-sign" aria-hidden="true">{look.sign}</span>
        <span class="unseen">{look.word}: </span>
        {folds && group && <span class="time-fold" aria-hidden="true">{row.open ? "▾" : "▸"}</span>}
        <span class="time-chunk" title={newest.chunk}>{line(newest.chunk, 120) || "(no name)"}</span>
        {counts !== null && <span class="time-extra"><Count counts={counts} />{counts.failed > 0 && <b class="time-bad"> {counts.failed}✗</b>}</span>}
        {item !== null && <span class="time-extra" title={item.hasValue ? line(item.value, 400) : undefined}>#{item.number}</span>}
        {!group && item === null && row.level > 1 && <span class="time-extra">{newest.id}</span>}
        {tries > 1 && <span class="time-extra">try {tries}</span>}
        {losses > 0 && <span class="time-extra" title="attempts that ended with their process">{losses}↯</span>}
        {!group && folds && (
          <button
            type="button" class="time-open" tabIndex={-1} aria-expanded={row.open}
            onClick={(event) => { event.stopPropagation(); onToggle(); }}
          >
            {row.open ? "close" : "open"}<span class="unseen"> the sub-flow {newest.chunk}</span>
          </button>
        )}
      </span>
      <span class="time-lane" role="gridcell">
        {scale.width > 0 && (
          <svg width={scale.width} height={HEIGHT} aria-hidden="true">
            <path class="time-grid" d={scale.grid} />
            <path class="time-gap" d={scale.gaps} />
            {bars}
            {past !== null && <rect class="time-after" x={scale.x(past)} y="0" width={Math.max(scale.width - scale.x(past), 0)} height={HEIGHT} />}
            {past !== null && <path class="time-now" d={`M${scale.x(past)} 0V${HEIGHT}`} />}
          </svg>
        )}
      </span>
      <span class="time-took number" role="gridcell">
        {took !== null && (
          // as a drawing: what stands at the right and grows would count as something that jumps
          <svg width="100%" height={HEIGHT}><text x="100%" dx="-4" y={MIDDLE + 4} text-anchor="end">{duration(took)}</text></svg>
        )}
      </span>
    </div>
  );
}

/** "4/7"; where there is little room, only "7" when all have ended. */
function Count({ counts }: { counts: OperatorState }) {
  const [ended, total] = counted(counts).split("/");
  if (total === undefined) return <>{ended}</>;
  return <><span class="time-ended" style={{ minWidth: `${total.length}ch` }}>{ended}</span><span class={ended === total ? "time-of is-all" : "time-of"}>/{total}</span></>;
}

/** How the runs of a folded row stand: as the graph shows them, or what is known of their operator. */
function groupState(row: Row, moment: Moment): OperatorState {
  const { operator } = row.runs[0]!;
  const { steps } = row.shown, known = steps?.at(moment).get(steps.boxOf(operator)) ?? moment.operators.get(operator);
  return known ?? { state: "idle", total: 0, ended: 0, failed: 0, cancelled: 0, last: 0 };
}

/** From the begin of the first to the end of the last of the runs that had begun. */
function groupLength(runs: readonly Run[], over: number | null, now: number): number | null {
  const start = spanOf(runs[0]!).start;
  if (start > now) return null;
  return Math.min(over ?? now, now) - start;
}

/** When the last run of several has ended; null while one is open. */
function lastEnd(runs: readonly Run[]): number | null {
  let end = 0;
  for (const run of runs) {
    const own = run.ended === null ? null : run.segments.at(-1)?.end ?? null;
    if (own === null) return null;
    end = Math.max(end, own);
  }
  return end;
}

/** What ends a part that has no mark of its own. */
const GOOD = new Set(["", "done"]);

/** The parts of a run: work as a bar, waiting before and in between as thin lines, with a sign where an attempt failed. */
function Bars({ run, scale, past }: { run: Run; scale: Scale; past: number | null }) {
  const { segments } = run;
  const from = Math.max(segments.length - 200, 0); // of very many parts the newest
  return (
    <g data-run={run.id}>
      {segments.slice(from).map((part, place) => <Bar key={from + place} part={part} scale={scale} past={past} />)}
    </g>
  );
}

function Bar({ part, scale, past }: { part: Segment; scale: Scale; past: number | null }) {
  const start = scale.x(part.start), end = Math.max(scale.x(part.seen ?? part.end ?? scale.now), start);
  const title = <title>{wordsOf(part, scale.now)}</title>;
  if (part.state !== "running") {
    const signs = part.mark === "cancelled" && part.state !== "queued" ? <Sign mark="cancelled" x={end} /> : null;
    return <g class={`time-wait is-${part.state}`}><path d={`M${start} ${MIDDLE}H${Math.max(end, start + 1)}`} />{title}{signs}</g>;
  }
  const look = part.end === null ? "running" : GOOD.has(part.mark) ? "done" : part.mark === "retry" ? "backoff" : part.mark;
  return (
    <g class={`time-work is-${look}${part.end === null ? " is-open" : ""}`}>
      <rect x={start} y={MIDDLE - BAR / 2} width={Math.max(end - start, 3)} height={BAR} rx="2" />
      {part.end === null && <path class="time-tip" d={`M${Math.max(end, start + 3)} ${MIDDLE - 5}l5 5l-5 5z`} />}
      {title}
      {part.seen !== undefined && part.end !== null && <path class="time-silent" d={`M${end} ${MIDDLE}H${Math.max(scale.x(part.end), end)}`} />}
      {past !== null && part.start <= past && past < (part.end ?? Infinity) && (
        <rect class="is-running" x={start} y={MIDDLE - BAR / 2} width={Math.max(Math.min(scale.x(past), end) - start, 3)} height={BAR} rx="2" />
      )}
      {!GOOD.has(part.mark) && <Sign mark={part.mark} x={Math.max(end, start + 3)} />}
    </g>
  );
}

/** A sign at the end of a part: a cross for a failure, a flash for a lost process, a barred circle for a cancel. */
function Sign({ mark, x }: { mark: Segment["mark"]; x: number }) {
  const at = Math.max(x - 4, 5);
  if (mark === "lost") return <path class="time-sign" d={`M${at + 2} ${MIDDLE - 6}l-4 6h4l-4 6`} />;
  if (mark === "cancelled") return <path class="time-sign" d={`M${at - 4} ${MIDDLE}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0M${at - 3} ${MIDDLE + 3}l6 -6`} />;
  return <path class="time-sign" d={`M${at - 4} ${MIDDLE - 4}l8 8m0 -8l-8 8`} />;
}

const ENDS: Record<Segment["mark"], string> = {
  "": "", retry: "failed, tried again", lost: "its process ended", done: "done", failed: "failed", cancelled: "cancelled",
};

function wordsOf(part: Segment, now: number): string {
  const end = part.end === null ? "not ended" : ENDS[part.mark];
  const what = part.state === "running" ? `attempt ${part.attempt}` : LOOK[part.state].word;
  return [what, duration((part.end ?? now) - part.start), end].filter(Boolean).join(", ");
}

/** Many runs in one strip: how many were at work, and where some have failed. */
function Density({ runs, scale, busy }: { runs: readonly Run[]; scale: Scale; busy: boolean }): ComponentChildren {
  const columns = Math.max(Math.floor(scale.width / 3), 1), wide = scale.width / columns;
  const { loads, peak } = density(runs, scale.track.axis, scale.whole, columns, scale.now);
  const most = HEIGHT - 8, floor = HEIGHT - 4;
  let area = "", open = false;
  for (let column = 0; column <= columns; column++) {
    const load = column < columns ? loads[column]! : 0, x = (column * wide).toFixed(1);
    if (load > 0) {
      area += `${open ? "H" : "M"}${x}${open ? "" : ` ${floor}`}V${(floor - Math.max((load / peak) * most, 1.5)).toFixed(1)}`;
    } else if (open) area += `H${x}V${floor}Z`;
    open = load > 0;
  }
  const crosses = new Set<number>(), flashes = new Set<number>();
  const near = (time: number): number => Math.round(scale.x(time) / 6) * 6;
  for (const run of runs) {
    if (run.state === "failed") crosses.add(near(run.segments.at(-1)!.end ?? scale.now));
    if (run.losses) for (const part of run.segments) if (part.seen !== undefined) flashes.add(near(part.seen));
  }
  const bad = [...crosses].map((x) => `M${x - 3} ${MIDDLE - 3}l6 6m0 -6l-6 6`).join("");
  const lost = [...flashes].map((x) => `M${x + 2} ${MIDDLE - 6}l-4 6h4l-4 6`).join("");
  return (
    <g class={`time-density is-${busy ? "running" : "done"}`}>
      <path d={area} />
      {bad && <path class="time-sign is-failed" d={bad} />}
      {lost && <path class="time-sign is-lost" d={lost} />}
    </g>
  );
}
