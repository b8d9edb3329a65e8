/** The shapes that the server gives: those of `triggerflow.backend`, field by field. Times are seconds since the epoch. */
import type { Status } from "../status";

export type Schema = Record<string, unknown>;
export type Phase = "ready" | "running" | "waiting" | "backoff";

export interface ExecutionInfo {
  id: string; flow: string; status: Status; created: number; updated: number; due: number | null; frames: number; items: number;
  owned: boolean; labels: Record<string, string>; error: string | null; questions: number; parent: string | null;
  forked_from: [string, number] | null; definition: string;
}
export interface ExecutionPage { executions: ExecutionInfo[]; next: string | null }
export interface Failed { type: string; message: string; chunk: string }
export interface ResultInfo { status: Status; ended: boolean; has_result: boolean; result: unknown; error: Failed | null; reason: string }

/** Fields with a default are left out by the server when they have it. */
export interface RunChange {
  run: number; phase: Phase | "ended"; operator: string; chunk: string; attempt?: number; losses?: number; cause?: number;
  by?: number; sub_flow?: string;
}
export interface QuestionChange { id: string; open: boolean; inside?: boolean }
export interface RunInfo { run: number; phase: Phase; operator: string; chunk: string; attempt: number; losses: number; cause: number; value: unknown; sub_flow: string | null }
export interface OpenQuestion { id: string; type: string; chunk: string; payload: unknown; since: number | null; expires: number | null; inside: boolean; resume_event: string | null }
export interface StateInfo {
  id: string; flow: string; definition: string; moment: number; status: Status; started: boolean; value: unknown;
  state: Record<string, unknown>; has_result: boolean; result: unknown; error: Failed | null; reason: string;
  questions: OpenQuestion[]; runs: RunInfo[]; timers: number[]; items: number; working: boolean;
}
export interface Frame {
  number: number; at: number; kind: string; status: Status; record?: Record<string, unknown>; runs?: RunChange[];
  questions?: QuestionChange[]; item?: number; follows?: number; timers?: number[]; definition?: string; has_result?: boolean;
  result?: unknown; error?: Failed; state?: StateInfo;
}
export interface Item { number: number; item: unknown; path?: string }
export interface QuestionInfo {
  execution: string; flow: string; id: string; asked_by: string; own_id: string; chunk: string; type: string; payload: unknown;
  cut: boolean; schema: Schema; since: number; expires: number | null;
}
export interface QuestionPage { questions: QuestionInfo[]; next: string | null }
export interface Done { status: Status; value: unknown }
export interface FlowInfo { name: string; has_code: boolean; definition: string; counts: Partial<Record<Status, number>> }
export interface SignalInfo { name: string; external: boolean; schema: Schema }
export interface Contract { flow: string; has_code: boolean; definition: string; start: Schema; result: Schema; item: Schema; signals: SignalInfo[]; state: Schema }
export interface DrawnBox { key: string; shape: string; lines: string[]; operators: string[]; block: string | null; flow: string | null }
export interface DrawnBlock { key: string; parent: string | null; operator: string }
export interface DrawnLine { source: string; target: string; label: string; style: string; operators: string[] }
export interface Drawing { flow: string; definition: string; boxes: DrawnBox[]; blocks: DrawnBlock[]; lines: DrawnLine[] }
export interface Parted { number: number; kinds: [string | null, string | null]; records: [Record<string, unknown> | null, Record<string, unknown> | null] }
export interface Pair { one?: unknown; other?: unknown; missing?: "" | "one" | "other" }
export interface DifferenceInfo {
  ids: [string, string]; same: boolean; frames: [number, number]; parted: Parted | null; status: [Status, Status]; result: Pair | null;
  chunks: Record<string, [unknown[], unknown[]]>; state: Record<string, Pair>; stream: [number, Pair] | null; items: [number, number];
}
export interface ChangesInfo { cursor: string; executions: string[]; resync: boolean }
export interface Problem { type?: string; title: string; status: number; detail?: string; code: string; again?: boolean }
/** What the token of this page may do. */
export interface AccessInfo { name: string; act: boolean; flows: string[] | null }
