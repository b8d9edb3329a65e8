/** Follows a sub-flow that is shown in place, in the rows below its step. Draws nothing itself. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { useTrack } from "../app/live";
import type { Shown } from "../model/rows";
import { Steps } from "../model/steps";
import { get, path } from "../wire/http";
import type { Drawing } from "../wire/types";

export interface InsideProps {
  /** What the ids of its executions begin with, and the attempt of its step: each may have made one. */
  subFlow: string;
  attempt: number;
  onShown(subFlow: string, shown: Shown, version: number): void;
}

export function Inside({ subFlow, attempt, onShown }: InsideProps) {
  const [number, setNumber] = useState(Math.max(attempt, 1));
  useEffect(() => setNumber(Math.max(attempt, 1)), [attempt]);
  const { info, track, version, error } = useTrack(number === 1 ? subFlow : `${subFlow}.${number}`);
  const [drawing, setDrawing] = useState<Drawing | null>(null);
  useEffect(() => {
    if (error?.status === 404 && number > 1) setNumber(number - 1); // this attempt has gone on with the one before
  }, [error, number]);
  const flow = info?.flow ?? "", definition = info?.definition ?? "";
  useEffect(() => {
    if (definition === "") return;
    const stop = new AbortController();
    get<Drawing>(path("flows", flow, "drawing"), { definition }, stop.signal).then(setDrawing, () => undefined); // it does without
    return () => stop.abort();
  }, [flow, definition]);
  const shown = useMemo<Shown>(() => ({ track, steps: drawing && new Steps(track, drawing) }), [track, drawing]);
  useEffect(() => {
    if (track.frames.length) onShown(subFlow, shown, version);
  }, [subFlow, shown, version]);
  return null;
}
