/** Server-sent events over `fetch`, since `EventSource` sends no token and gives up for good at the first 401. */
import { HttpError, isAbort, now, problemOf, request, type Query } from "./http";
import type { Problem } from "./types";

export interface ServerEvent { event: string; data: string; id: string }

/** Makes events of the text of a stream, wherever it was cut into pieces. */
export class Decoder {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private newest: string | null = null;
  /** The id of the newest event that had one and is whole, also of one without data. */
  id = "";
  /** In how many milliseconds to connect again, if the server has said so. */
  retry: number | null = null;

  feed(piece: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    const text = this.rest === "" ? piece : this.rest + piece;
    let begin = 0;
    for (let at = 0; at < text.length; ) {
      let end = text.indexOf("\n", at);
      if (end < 0) break;
      const next = end + 1;
      if (end > begin && text.charCodeAt(end - 1) === 13) end -= 1;
      this.line(text.slice(begin, end), found);
      begin = at = next;
    }
    this.rest = begin === 0 ? text : text.slice(begin);
    return found;
  }

  private line(line: string, found: ServerEvent[]): void {
    if (line === "") {
      // not before: of an event that is cut behind its id, the data would be missed for good
      if (this.newest !== null) this.id = this.newest;
      this.newest = null;
      if (this.data.length > 0) {
        found.push({ event: this.event || "message", data: this.data.length === 1 ? this.data[0]! : this.data.join("\n"), id: this.id });
      }
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id") this.newest = value;
    else if (name === "retry" && /^\d{1,6}$/.test(value)) this.retry = Number(value);
  }
}

/** open: events come; connecting: the first attempt; broken: it is tried again; paused: the tab is hidden; ended: no
 * more comes, or the server refuses. */
export type Connection = "connecting" | "open" | "broken" | "paused" | "ended";

export interface Listener {
  /** The events of one piece, in order. */
  onEvents(events: ServerEvent[]): void;
  onConnection?(connection: Connection, problem: Problem | null, retryAt: number): void;
}

export interface Listening {
  close(): void;
  /** Try now, if it waits to try again. */
  now(): void;
  /** The id of the last event. */
  readonly id: string;
}

/** How long a hidden tab keeps its connection. */
const HIDDEN_MS = 5_000;
/**
 * A browser opens six connections to a server, for all of its tabs. So many of them may stay open: further tabs look in
 * for a moment, again and again, so that there is always one left for what a person does.
 */
const PLACES = 4;
const LOOK_IN_MS = 1_000, LOOK_IN_MOST_MS = 5_000, LOOK_AGAIN_MS = 3_000;
/** A comment comes every 15 seconds: after this silence the connection is dead. */
const SILENCE_MS = 40_000;
const BACKOFF_MS = [300, 1_000, 2_000, 4_000, 8_000, 15_000];

/** A place for a connection that stays open, among all tabs: what gives it back, or null if all are taken. */
async function takePlace(name: string): Promise<(() => void) | null> {
  const { locks } = navigator;
  if (locks === undefined) return () => undefined; // there are none without https, except on this machine
  for (let number = 0; number < PLACES; number++) {
    const found = await new Promise<(() => void) | null>((resolve) => {
      locks
        .request(`${name} ${number}`, { ifAvailable: true }, (lock) => {
          if (lock !== null) return new Promise<void>((free) => resolve(free));
          resolve(null);
          return undefined;
        })
        .catch(() => resolve(null));
    });
    if (found !== null) return found;
  }
  return null;
}

/** Follow a stream of events until it is closed, through breaks: it goes on after the last event. */
export function listen(path: string, query: Query, listener: Listener): Listening {
  const decoding = { id: "" };
  let closed = false;
  let attempts = 0;
  let abort: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let hidden: ReturnType<typeof setTimeout> | undefined;
  let state: Connection | null = null;

  const tell = (next: Connection, problem: Problem | null = null, retryAt = 0): void => {
    if (closed || (next === state && next !== "broken")) return;
    state = next;
    listener.onConnection?.(next, problem, retryAt);
  };

  const again = (problem: Problem | null, wait?: number): void => {
    if (closed) return;
    const due = wait ?? BACKOFF_MS[Math.min(attempts, BACKOFF_MS.length - 1)]! * (0.75 + Math.random() / 2);
    attempts += 1;
    // one that is back at once was no break to speak of
    if (attempts > 1 || problem?.code === "unreachable") tell("broken", problem, now() * 1000 + due);
    timer = setTimeout(connect, due);
  };

  async function connect(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    if (closed || abort !== null) return;
    if (document.hidden && state !== null) return tell("paused");
    if (state !== "broken" && state !== "open") tell("connecting");
    const mine = new AbortController();
    abort = mine;
    const giveBack = await takePlace(`triggerflow-stream:${path}`);
    if (mine.signal.aborted) return giveBack?.();
    let looksIn: ReturnType<typeof setTimeout> | undefined;
    let looked = false;
    const decoder = new Decoder();
    decoder.id = decoding.id;
    let silence: ReturnType<typeof setTimeout> | undefined;
    let cut = false;
    const alive = (): void => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        cut = true;
        mine.abort();
      }, SILENCE_MS);
    };
    let problem: Problem | null = null;
    let end = false;
    try {
      alive();
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (decoding.id !== "") headers["Last-Event-ID"] = decoding.id;
      const answer = await request("GET", path, { query, signal: mine.signal, headers });
      const reader = answer.body!.getReader();
      const text = new TextDecoder();
      tell("open");
      const until = performance.now() + LOOK_IN_MOST_MS;
      const lookIn = (most: number): void => {
        if (giveBack !== null) return;
        clearTimeout(looksIn);
        looksIn = setTimeout(() => {
          looked = true;
          mine.abort();
        }, Math.max(0, Math.min(most, until - performance.now())));
      };
      lookIn(LOOK_IN_MS);
      for (;;) {
        const { done, value } = await reader.read();
        if (done || mine.signal.aborted) break;
        alive();
        lookIn(LOOK_IN_MS / 2); // until it is silent
        const events = decoder.feed(text.decode(value, { stream: true }));
        decoding.id = decoder.id;
        const last = events.at(-1);
        if (last?.event === "error") {
          events.pop();
          problem = JSON.parse(last.data) as Problem;
        }
        end ||= last?.event === "end";
        if (events.length > 0) {
          attempts = 0;
          listener.onEvents(events);
        }
      }
    } catch (error) {
      if (!isAbort(error)) problem = error instanceof HttpError ? error.problem : { ...problemOf(error), title: "The stream was cut", again: true };
    } finally {
      clearTimeout(silence);
      clearTimeout(looksIn);
      giveBack?.();
    }
    if (abort === mine) abort = null;
    if (closed) return;
    if (looked) {
      timer = setTimeout(connect, LOOK_AGAIN_MS * (0.75 + Math.random() / 2));
      return;
    }
    if (mine.signal.aborted && !cut) return; // the tab was hidden
    if (end) tell("ended");
    else if (problem !== null && !problem.again && problem.status !== 0) tell("ended", problem);
    else again(problem, decoder.retry !== null && attempts === 0 ? decoder.retry : undefined);
  }

  const look = (): void => {
    clearTimeout(hidden);
    if (document.hidden) {
      hidden = setTimeout(() => {
        if (state === "ended") return;
        clearTimeout(timer);
        abort?.abort();
        abort = null;
        tell("paused");
      }, HIDDEN_MS);
    } else if (state === "paused") {
      attempts = 0;
      void connect();
    }
  };
  const online = (): void => {
    if (timer !== undefined) void connect();
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("online", online);
  if (document.hidden) look();
  void connect();

  return {
    close() {
      closed = true;
      clearTimeout(timer);
      clearTimeout(hidden);
      document.removeEventListener("visibilitychange", look);
      removeEventListener("online", online);
      abort?.abort();
    },
    now() {
      attempts = 0;
      if (timer !== undefined) void connect();
    },
    get id() {
      return decoding.id;
    },
  };
}
