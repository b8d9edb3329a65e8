/** Calls of the server. Paths are relative to where the page is mounted: "executions" is `<mount>/api/executions`. */
import { parse, stringify } from "./json";
import type { Problem } from "./types";

export type QueryValue = string | number | boolean | readonly (string | number)[] | null | undefined;
/** Empty texts, null and undefined are left out; a list gives the parameter several times. */
export type Query = Readonly<Record<string, QueryValue>>;

/** What the server refuses, and what never reached it: then `problem.status` is 0 and its code "unreachable". */
export class HttpError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail || problem.title);
    this.name = "HttpError";
    this.problem = problem;
  }
}

/** Whether an error is only that a call was given up by us. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** Something that was thrown, as a problem to show. */
export function problemOf(error: unknown): Problem {
  if (error instanceof HttpError) return error.problem;
  const detail = error instanceof Error ? error.message : String(error);
  return { title: "The page has failed", detail, status: 0, code: "page" };
}

const inBrowser = typeof document !== "undefined";
/** Where the page is mounted, with a slash at its end. */
export const MOUNT = new URL(".", inBrowser ? document.baseURI : "http://localhost/");
const API = new URL("api/", MOUNT);

/** A path of its parts, each of them percent-encoded: `path("executions", id, "frames")`. */
export function path(...parts: readonly (string | number)[]): string {
  return parts.map((part) => encodeURIComponent(part)).join("/");
}

/** The whole address of a path of the API. */
export function address(path: string, query: Query = {}): URL {
  const found = new URL(path, API);
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) found.searchParams.append(name, String(one));
  }
  return found;
}

/** A key for one intent of a person: a call that is repeated with the same key happens once. */
export function newKey(): string {
  // `randomUUID` exists on https and localhost only
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// -- the token --------------------------------------------------------------------------------------------------------

const KEY = `triggerflow-token:${MOUNT.pathname}`;
let token: string | null = null;
let signedIn = true;
/** Tokens that the server has refused: another tab that does not know it yet would give them again and again. */
const refused = new Set<string>();
/** Whether this tab wants the token of another one. */
let asking = false;
const listeners = new Set<(signedIn: boolean) => void>();
let others: BroadcastChannel | null = null;
const forgetting = new Set<() => void>();

function stored(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // the browser keeps nothing for this site
  }
}

function store(value: string | null): void {
  const other = value !== token;
  token = value;
  if (other) for (const forget of forgetting) forget();
  try {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  } catch {
    // then it is gone at the next reload
  }
}

/** Take a token out of the address, where it must not stay: others may look at the screen, or be sent the address. */
function takeFromAddress(): boolean {
  const found = /(?:^#|&)token=([^&]*)/.exec(location.hash);
  if (found === null) return false;
  history.replaceState(history.state, "", location.pathname + location.search);
  let value = found[1]!;
  try {
    value = decodeURIComponent(value);
  } catch {
    // it is not encoded
  }
  if (value) store(value);
  return value !== "";
}

if (inBrowser) {
  token = stored();
  takeFromAddress();
  addEventListener("hashchange", () => {
    if (takeFromAddress()) tell(true);
  });
  // A new tab has no token of its own: it says null, and another tab of this page gives it one. A tab that is signed out
  // says false, and no tab has a token any more.
  if (typeof BroadcastChannel === "function") {
    others = new BroadcastChannel(KEY);
    others.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (data === null && token !== null && signedIn) others?.postMessage(token);
      else if (typeof data === "string" && asking && !refused.has(data)) signIn(data);
      else if (data === false) leave();
    };
  }
}

function tell(now: boolean): void {
  signedIn = now;
  for (const listener of listeners) listener(now);
}

/** The server knows no token of ours: the page asks for one. */
export function signedOut(): void {
  if (token !== null) refused.add(token);
  if (!signedIn) return;
  asking = true;
  tell(false);
  others?.postMessage(null);
}

/** Go on with this token. */
export function signIn(value: string): void {
  asking = false;
  store(value);
  tell(true);
}

/** Forget the token, in all tabs of this page: one that kept it would give it back at the next reload. */
export function signOut(): void {
  leave();
  others?.postMessage(false);
}

function leave(): void {
  asking = false; // what another tab has sent before it was told comes too late
  store(null);
  tell(false);
}

export function isSignedIn(): boolean {
  return signedIn;
}

export function hasToken(): boolean {
  return token !== null;
}

/** Hear when a token is asked for, or was given. Returns what ends it. */
export function onSignIn(listener: (signedIn: boolean) => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Another token may see less: hear when all that was read has to be forgotten, before the other token is used. Answers
 * that were asked for with the old token do not come any more. Returns what ends it. */
export function onForget(forget: () => void): () => void {
  forgetting.add(forget);
  return () => void forgetting.delete(forget);
}

/** Ends a call that was made with a token which is not ours any more. */
function mine(used: string | null): void {
  if (used !== token) throw new DOMException("The token is another one now.", "AbortError");
}

/** By how many milliseconds the clock of the server is ahead of ours. */
let ahead = 0;

/** The time of the server, in seconds since the epoch: what it tells of happened by its clock. */
export function now(): number {
  return (Date.now() + ahead) / 1000;
}

// -- calls ------------------------------------------------------------------------------------------------------------

export interface Sending {
  /** The same key with the same call: it happens once. See `newKey`. */
  idempotency?: string;
  signal?: AbortSignal;
  query?: Query;
}

const UNREACHABLE: Problem = {
  title: "Not connected", detail: "The server does not answer. Is it running?", status: 0, code: "unreachable", again: true,
};

/** A browser takes "." and ".." for a way through the address, encoded or not: the call would be another one. */
const NO_ADDRESS: Problem = {
  title: "This name cannot be opened here", detail: "A browser cannot address what is called \".\" or \"..\". Use the command line.",
  status: 0, code: "no_address",
};

/** One request; raises `HttpError` for every answer that is none. */
export async function request(
  method: string, path: string, { query, signal, headers = {}, body }: {
    query?: Query; signal?: AbortSignal; headers?: Record<string, string>; body?: unknown;
  } = {},
): Promise<Response> {
  const sent = new Headers(headers);
  const used = token;
  if (used !== null) {
    try {
      sent.set("Authorization", `Bearer ${used}`);
    } catch {
      signedOut(); // it has characters that no header takes
    }
  }
  if (body !== undefined) sent.set("Content-Type", "application/json");
  if (/(^|\/)\.\.?(\/|$)/.test(path)) throw new HttpError(NO_ADDRESS);
  let answer: Response;
  try {
    answer = await fetch(address(path, query), {
      method, headers: sent, signal, body: body === undefined ? undefined : stringify(body), cache: "no-cache",
    });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new HttpError(UNREACHABLE);
  }
  mine(used);
  const off = Date.parse(answer.headers.get("Date") ?? "") - Date.now();
  if (Math.abs(off - ahead) > 5000) ahead = off; // less is the way of the answer
  if (answer.ok) return answer;
  if (answer.status === 401) signedOut();
  throw new HttpError(await readProblem(answer));
}

async function readProblem(answer: Response): Promise<Problem> {
  try {
    const found = (await answer.json()) as Partial<Problem> | null;
    if (typeof found?.code === "string") return { title: found.code, status: answer.status, ...found, code: found.code };
  } catch {
    // something between us and the server has answered
  }
  return {
    title: `The server answers ${answer.status}`, detail: answer.statusText, status: answer.status, code: "no_answer",
    again: answer.status >= 500,
  };
}

async function json<T>(answer: Promise<Response>): Promise<T> {
  const used = token;
  const found = await answer;
  try {
    const text = await found.text();
    mine(used);
    return parse(text) as T;
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new HttpError(UNREACHABLE); // it was cut
  }
}

function change<T>(method: string, path: string, body: unknown, { idempotency, signal, query }: Sending): Promise<T> {
  const headers: Record<string, string> = idempotency === undefined ? {} : { "Idempotency-Key": idempotency };
  return json<T>(request(method, path, { query, signal, headers, body }));
}

export function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return json<T>(request("GET", path, { query, signal }));
}

export function post<T>(path: string, body: unknown = {}, sending: Sending = {}): Promise<T> {
  return change<T>("POST", path, body, sending);
}

export function put<T>(path: string, body: unknown, sending: Sending = {}): Promise<T> {
  return change<T>("PUT", path, body, sending);
}

export function del<T>(path: string, sending: Sending = {}): Promise<T> {
  return change<T>("DELETE", path, undefined, sending);
}
