/** The address of the page: what it shows, and nothing else, so that an address can be sent to somebody. */
import { useSyncExternalStore } from "./external";

/** What a list of runs shows: the words of its filter (lists/filter.ts). */
export interface RunsRoute { view: "runs"; flow?: string; status?: string; text?: string; label?: string; range?: string; parent?: string }
export type Tab = "timeline" | "stream" | "state" | "run" | "graph";
export type Route =
  | RunsRoute
  | { view: "waiting" }
  | { view: "flows" }
  | { view: "flow"; flow: string }
  | { view: "execution"; id: string; moment?: number; run?: number; tab?: Tab }
  | { view: "compare"; one: string; other?: string };

const TABS: readonly string[] = ["timeline", "stream", "state", "run", "graph"];

function number(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The route of a query; what makes no sense in it is left out. */
export function parse(search: string): Route {
  const query = new URLSearchParams(search);
  const text = (name: string): string | undefined => query.get(name) || undefined;
  switch (query.get("view")) {
    case "waiting":
      return { view: "waiting" };
    case "flows":
      return { view: "flows" };
    case "flow": {
      const flow = text("flow");
      return flow === undefined ? { view: "flows" } : { view: "flow", flow };
    }
    case "execution": {
      const id = text("id");
      if (id === undefined) break;
      const tab = query.get("tab");
      return clean({
        view: "execution", id, moment: number(query.get("moment")), run: number(query.get("run")),
        tab: tab !== null && TABS.includes(tab) ? (tab as Tab) : undefined,
      });
    }
    case "compare": {
      const one = text("one");
      if (one === undefined) break;
      return clean({ view: "compare", one, other: text("other") });
    }
  }
  const [flow, status, words, label, range, parent] = ["flow", "status", "text", "label", "range", "parent"].map(text);
  return clean({ view: "runs", flow, status, text: words, label, range, parent });
}

function clean<R extends Route>(route: R): R {
  return Object.fromEntries(Object.entries(route).filter(([, value]) => value !== undefined)) as R;
}

/** The address of a route, relative to where the page is mounted. */
export function href(route: Route): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(route)) {
    if (value !== undefined && value !== "") query.append(name, String(value));
  }
  const found = query.toString();
  return found === "view=runs" ? "./" : `./?${found}`;
}

const listeners = new Set<() => void>();
let seen = "";
let current: Route = { view: "runs" };
let went = false;

function snapshot(): Route {
  if (location.search !== seen) {
    seen = location.search;
    current = parse(seen);
  }
  return current;
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    removeEventListener("popstate", listener);
  };
}

/** What the page shows now. */
export function useRoute(): Route {
  return useSyncExternalStore(subscribe, snapshot);
}

/** Whether somebody has come from another view of the page: then the focus was on something that is gone. */
export const hasMoved = (): boolean => went;

export function currentRoute(): Route {
  return snapshot();
}

// Browsers refuse more than about 100 changes of the address in 30 seconds, and a slider makes more.
let late: ReturnType<typeof setTimeout> | undefined;
let written = 0;

function write(): void {
  late = undefined;
  written = Date.now();
  const wanted = href(current);
  if (new URL(wanted, document.baseURI).href !== location.href) history.replaceState(null, "", wanted);
  seen = location.search;
}

/** Show a route. `replace`: without a step of its own in the history, for what changes often. */
export function go(route: Route, { replace = false }: { replace?: boolean } = {}): void {
  const next = clean(route);
  if (replace) {
    current = next;
    seen = location.search; // the address follows in a moment
    clearTimeout(late);
    late = setTimeout(write, Math.max(0, written + 400 - Date.now()));
  } else {
    if (late !== undefined) {
      clearTimeout(late);
      write();
    }
    if (new URL(href(next), document.baseURI).href !== location.href) {
      const moved = current.view !== next.view || ("id" in current && "id" in next && current.id !== next.id);
      history.pushState(null, "", href(next));
      if (moved) scrollTo(0, 0);
      went ||= moved;
    }
    seen = location.search;
    current = next;
  }
  for (const listener of listeners) listener();
}
