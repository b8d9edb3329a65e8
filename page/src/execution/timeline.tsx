import type { Moment, Track } from "../model/track";

export interface TimelineProps {
  track: Track;
  /** Counts what has been added to the track. */
  version: number;
  moment: Moment;
  live: boolean;
  /** The run that is selected. */
  selected?: number;
  onSelect(run: number): void;
}

export function Timeline({ moment }: TimelineProps) {
  return <p>{moment.runs.size}</p>;
}
