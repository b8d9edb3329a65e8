/** The moment that is shown: a moment is a fold of frames that are here, so that moving it asks the server nothing. */
import { duration } from "../app/time";
import { LOOK } from "../status";
import type { Moment, Track } from "../model/track";

export function Slider({ track, moment, live, ended, onMove }: {
  track: Track; moment: Moment; live: boolean; ended: boolean;
  /** undefined: follow what comes. */
  onMove(moment: number | undefined): void;
}) {
  const { first, last } = track;
  const kind = track.frame(moment.number)?.kind ?? "";
  const what = kind.replaceAll("_", " ");
  const passed = moment.at > 0 && track.began > 0 ? duration(moment.at - track.began) : "";
  const words = `${moment.number.toLocaleString()} of ${last.toLocaleString()}`;
  const move = (to: number): void => onMove(to >= last ? undefined : Math.max(first, to));
  return (
    <div class="exec-moment" role="group" aria-label="Moment">
      <button class="button icon" type="button" aria-label="One moment back" title="One moment back" disabled={moment.number <= first}
        onClick={() => move(moment.number - 1)}>‹</button>
      <input class="exec-slider" type="range" min={first} max={Math.max(last, first)} step={1} value={moment.number} aria-label="Moment"
        aria-valuetext={`Moment ${words}, ${[...new Set([what || "start", LOOK[moment.status].word])].join(", ")}${passed && `, ${passed} after the start`}`}
        onInput={(event) => move(Number(event.currentTarget.value))} />
      <button class="button icon" type="button" aria-label="One moment on" title="One moment on" disabled={moment.number >= last}
        onClick={() => move(moment.number + 1)}>›</button>
      <span class="exec-where number" title={kind}>
        <span>{words}</span><span class="muted cut">{what}</span><span class="muted exec-passed">{passed && `+${passed}`}</span>
      </span>
      <button class="button exec-live" type="button" aria-pressed={live} onClick={() => onMove(live ? last : undefined)}
        title={live ? "Stay at this moment" : "Show the newest moment, and follow what comes"}>
        <span aria-hidden="true">{live ? "●" : "○"}</span>{ended ? "Newest" : "Live"}
      </button>
    </div>
  );
}
