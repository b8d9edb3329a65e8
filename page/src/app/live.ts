/** What comes from the server by itself: one connection for the whole page, for changes and for the frames of one
 * execution. A browser opens six connections to a server; eight tabs with two each would stand still. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { currentRoute } from "./route";
import { newTrack } from "../model/fold";
import type { Track } from "../model/track";
import { listen, type Connection, type Listening, type ServerEvent } from "../wire/events";
import { parse } from "../wire/json";
import { get, HttpError, isAbort, isSignedIn, onForget, onSignIn, path, problemOf } from "../wire/http";
import type { ChangesInfo, ExecutionInfo, Frame, Problem } from "../wire/types";

// -- the connection -----------------------------------------------------------------------------------------------------

export interface ConnectionState { connection: Connection; problem: Problem | null; retryAt: number }

type Changed = (executions: string[], resync: boolean) => void;

/** How long changes are gathered before anything is read again. */
const GATHER_MS = 150;

let listening: Listening | null = null;
let followed: Execution | null = null;
/** Which execution the connection that is open has the frames of. */
let has: Execution | null = null;
let cursor = "";
let state: ConnectionState = { connection: "connecting", problem: null, retryAt: 0 };
const watchers = new Set<() => void>();
const changed = new Set<Changed>();
let gathered = new Set<string>();
let gatheredResync = false;
let gathering: ReturnType<typeof setTimeout> | undefined;

function tell(next: ConnectionState): void {
  state = next;
  for (const watcher of watchers) watcher();
}

function gather(executions: readonly string[], resync: boolean): void {
  for (const id of executions) gathered.add(id);
  gatheredResync ||= resync;
  gathering ??= setTimeout(() => {
    const ids = [...gathered];
    const all = gatheredResync;
    gathering = undefined;
    gathered = new Set();
    gatheredResync = false;
    for (const callback of [...changed]) callback(ids, all);
  }, GATHER_MS);
}

function keepCursor(): void {
  const id = listening?.id ?? "";
  if (id === "") return;
  // cut between a frame and the cursor after it, it is a number only: "-" lets the server say that anything may have changed
  cursor = has === null ? id : id.includes(":") ? id.slice(id.indexOf(":") + 1) : "-";
}

function connect(): void {
  keepCursor();
  listening?.close();
  listening = null;
  const mine = followed !== null && followed.info !== null && followed.error === null ? followed : null;
  has = mine;
  if (!isSignedIn()) return;
  const after = cursor;
  listening = listen("events", { after, execution: mine?.id, frames: mine?.received }, {
    onEvents(events) {
      if (has !== mine) return;
      const frames: ServerEvent[] = [];
      for (const event of events) {
        if (event.event === "frame") frames.push(event);
        else if (event.event === "changes") gather((JSON.parse(event.data) as ChangesInfo).executions, false);
        else if (event.event === "resync") {
          const after = (JSON.parse(event.data) as { after: number | string }).after;
          if (typeof after === "string") gather([], true);
          else {
            frames.length = 0;
            mine?.reset();
          }
        }
      }
      if (frames.length > 0) mine?.take(frames);
    },
    onConnection(connection, problem, retryAt) {
      if (has !== mine) return;
      if (connection === "ended" && mine !== null && problem !== null && problem.status !== 401) {
        mine.fail(problem); // of this execution no more comes, but of the others
        connect();
        return;
      }
      if (connection === "open" && after === "") gather([], true); // what was read before may be old by now
      tell({ connection, problem, retryAt });
    },
  });
}

if (typeof document !== "undefined") {
  onForget(() => {
    listening?.close();
    listening = followed = has = null;
    cursor = "";
    known.clear();
  });
  onSignIn((signedIn) => {
    if (!signedIn) return connect();
    for (const execution of known.values()) execution.error = null;
    followed?.load();
    connect();
    gather([], true);
  });
}

/** Begin to listen. Called once, when the page starts. */
export function start(): void {
  // where an execution is shown, it is connected with its frames as soon as it is known that there is one
  if (listening === null && currentRoute().view !== "execution") connect();
}

/** Try to connect now. */
export function reconnect(): void {
  if (state.connection === "ended") connect();
  else listening?.now();
}

/** How the connection is. */
export function useConnection(): ConnectionState {
  const [, draw] = useState(state);
  useEffect(() => {
    const watcher = (): void => draw(state);
    watchers.add(watcher);
    watcher();
    return () => void watchers.delete(watcher);
  }, []);
  return state;
}

/** Hear which executions have changed; with `resync` all may have. The newest callback counts. */
export function useChanges(callback: Changed): void {
  const newest = useRef(callback);
  newest.current = callback;
  useEffect(() => {
    const own: Changed = (executions, resync) => newest.current(executions, resync);
    changed.add(own);
    return () => void changed.delete(own);
  }, []);
}

// -- executions -----------------------------------------------------------------------------------------------------------

/** How many executions are kept that nobody looks at, to be there at once when somebody comes back. */
const KEPT = 4;
/** How often the page is drawn while frames come in masses. */
const MASS_MS = 200;
const PAGE = 1000;

/** An execution: its row of the list, and the frames that are here. */
export class Execution {
  info: ExecutionInfo | null = null;
  track: Track;
  /** Counts what has changed here. */
  version = 0;
  error: Problem | null = null;
  /** The number of the last frame that has come. */
  received = 0;
  readonly watchers = new Set<() => void>();
  private waiting: string[] = [];
  private scheduled = false;
  private loading = false;
  private stale = false;
  private paging = false;

  constructor(readonly id: string) {
    this.track = newTrack(id);
  }

  /** Whether all frames are here that there were when it was looked at last. */
  get complete(): boolean {
    return this.info !== null && this.track.last >= this.info.frames;
  }

  reset(): void {
    this.track = newTrack(this.id);
    this.waiting = [];
    this.received = 0;
    this.tell();
  }

  fail(problem: Problem): void {
    this.error = problem;
    this.tell();
  }

  private tell(): void {
    this.version += 1;
    for (const watcher of this.watchers) watcher();
  }

  /** Take frames as they come: they are read and drawn once per picture, not once per frame. */
  take(events: readonly ServerEvent[]): void {
    for (const event of events) this.waiting.push(event.data);
    this.received = parseInt(events.at(-1)!.id, 10); // "<number>" or "<number>:<cursor>"
    if (this.scheduled) return;
    this.scheduled = true;
    const many = this.info !== null && this.received + PAGE < this.info.frames;
    if (many || document.hidden) setTimeout(this.flush, MASS_MS);
    else requestAnimationFrame(this.flush);
  }

  private flush = (): void => {
    this.scheduled = false;
    const texts = this.waiting;
    this.waiting = [];
    if (texts.length === 0) return;
    this.add(texts.map((text) => parse(text) as Frame));
  };

  private add(frames: readonly Frame[]): void {
    const last = this.track.frames.length > 0 ? this.track.last : -1;
    const fresh = frames.filter((frame) => frame.number > last);
    if (fresh.length === 0) return;
    this.track.add(fresh);
    this.tell();
  }

  /** Read its row again. Several calls at a time become one. */
  load(): void {
    if (this.loading) {
      this.stale = true;
      return;
    }
    this.loading = true;
    this.stale = false;
    get<ExecutionInfo>(path("executions", this.id))
      .then((info) => {
        const before = this.info;
        const other = before !== null && before.created !== info.created; // deleted, and made anew under the same id
        this.info = info;
        this.error = null;
        if (other) this.reset();
        else this.tell();
        if (followed === this && (has !== this || other)) connect();
      })
      .catch((error: unknown) => {
        if (listening === null) connect();
        if (!isAbort(error) && !(error instanceof HttpError && error.problem.status === 0 && this.info !== null)) this.fail(problemOf(error));
      })
      .finally(() => {
        this.loading = false;
        if (this.stale) this.load();
      });
  }

  /** Read the frames that are missing in pages, for an execution that the connection does not follow. */
  async page(): Promise<void> {
    if (this.paging || has === this) return;
    this.paging = true;
    try {
      for (let next: number | null = this.received; next !== null; ) {
        const found: { frames: Frame[]; next: number | null } = await get(path("executions", this.id, "frames"), { after: next, limit: PAGE });
        const last = found.frames.at(-1);
        if (last !== undefined) this.received = Math.max(this.received, last.number);
        this.add(found.frames);
        next = found.next;
      }
    } catch (error) {
      if (!isAbort(error)) this.fail(problemOf(error));
    } finally {
      this.paging = false;
    }
  }
}

const known = new Map<string, Execution>();

function executionOf(id: string): Execution {
  let found = known.get(id);
  if (found === undefined) found = new Execution(id);
  known.delete(id);
  known.set(id, found); // the newest is the last
  let rest = known.size - KEPT;
  for (const [other, execution] of known) {
    if (rest <= 0) break;
    if (execution.watchers.size === 0 && other !== id) {
      known.delete(other);
      rest -= 1;
    }
  }
  return found;
}

export interface Watched {
  info: ExecutionInfo | null;
  track: Track;
  /** Counts what has changed: `track` is the same object while it grows. */
  version: number;
  error: Problem | null;
  /** Whether all its frames are here. */
  complete: boolean;
  connection: Connection;
}

function useWatched(execution: Execution): Watched {
  const [, draw] = useState({});
  const { connection } = useConnection();
  useEffect(() => {
    const watcher = (): void => draw({});
    execution.watchers.add(watcher);
    watcher();
    return () => void execution.watchers.delete(watcher);
  }, [execution]);
  const { info, track, version, error, complete } = execution;
  return { info, track, version, error, complete, connection };
}

/** The execution that the page is about, as it is now: its frames come over the connection of the page. One at a time. */
export function useExecution(id: string): Watched {
  const execution = useMemo(() => executionOf(id), [id]);
  useEffect(() => {
    followed = execution;
    execution.error = null;
    execution.load();
    if (has !== execution && execution.info !== null) connect();
    return () => {
      if (followed !== execution) return;
      followed = null;
      if (has === execution) queueMicrotask(() => followed === null && connect());
    };
  }, [execution]);
  useChanges((executions, resync) => {
    if (resync || executions.includes(id)) execution.load();
  });
  return useWatched(execution);
}

/** Any other execution, beside it: a sub-flow, one to compare with. Its frames are read in pages, again when it changes. */
export function useTrack(id: string): Watched {
  const execution = useMemo(() => executionOf(id), [id]);
  useEffect(() => {
    execution.error = null;
    execution.load();
    void execution.page();
  }, [execution]);
  useChanges((executions, resync) => {
    if (!resync && !executions.includes(id)) return;
    execution.load();
    void execution.page();
  });
  return useWatched(execution);
}
