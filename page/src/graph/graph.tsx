import type { OperatorState } from "../model/track";
import type { Drawing } from "../wire/types";

export interface GraphProps {
  drawing: Drawing;
  /** How the runs of each operator stand; empty for a drawing without an execution. */
  states: ReadonlyMap<string, OperatorState>;
  /** The operators of what is selected. */
  selected?: ReadonlySet<string>;
  /** Somebody has chosen a box: its operators. */
  onSelect?(operators: readonly string[]): void;
  /** The newest execution of the sub-flow of an operator, by operator: it can be opened in place. */
  subFlows?: ReadonlyMap<string, string>;
}

export function Graph({ drawing }: GraphProps) {
  return <p>{drawing.flow}</p>;
}
