import type { Moment, Track } from "../model/track";

export interface RunDetailsProps {
  track: Track;
  moment: Moment;
  /** The number of the run. */
  run: number;
  onSelect(run: number): void;
  onMoment(moment: number): void;
}

export function RunDetails({ moment, run }: RunDetailsProps) {
  return <p>{moment.runs.get(run)?.chunk}</p>;
}
