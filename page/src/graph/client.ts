/** Asks the worker for layouts, and keeps them: the same drawing is laid out once in a tab. */
import type { GraphIn, Scene } from "./layout";
import type { Answered, Asked } from "./worker";

const KEPT = 40, PREFIX = "triggerflow-layout:", LARGEST = 400_000;
const known = new Map<string, Scene>();
const open = new Map<number, { graph: GraphIn; done(scene: Scene): void; failed(error: unknown): void }>();
let worker: Worker | null | undefined;
let asked = 0;

/** A short text that is another one for another graph (cyrb53). */
export function digest(text: string): string {
  let one = 0xdeadbeef, other = 0x41c6ce57;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 2654435761);
    other = Math.imul(other ^ code, 1597334677);
  }
  one = Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(other ^ (other >>> 13), 3266489909);
  other = Math.imul(other ^ (other >>> 16), 2246822507) ^ Math.imul(one ^ (one >>> 13), 3266489909);
  return `${(other >>> 0).toString(36)}${(one >>> 0).toString(36)}.${text.length}`;
}

/** The layout, if it was made before: at once, so that nothing flickers. */
export function knownLayout(key: string): Scene | undefined {
  const found = known.get(key);
  if (found !== undefined) return found;
  try {
    const text = sessionStorage.getItem(PREFIX + key);
    if (text === null) return undefined;
    const scene = JSON.parse(text) as Scene;
    known.set(key, scene);
    return scene;
  } catch {
    return undefined;
  }
}

export async function layoutOf(graph: GraphIn, key: string): Promise<Scene> {
  const scene = knownLayout(key) ?? (await ask(graph));
  keep(key, scene);
  return scene;
}

function keep(key: string, scene: Scene): void {
  if (known.has(key)) return;
  known.set(key, scene);
  if (known.size > KEPT) known.delete(known.keys().next().value!);
  const text = JSON.stringify(scene);
  if (text.length > LARGEST) return;
  try {
    sessionStorage.setItem(PREFIX + key, text);
  } catch {
    try {
      for (const name of Object.keys(sessionStorage)) if (name.startsWith(PREFIX)) sessionStorage.removeItem(name);
    } catch {
      // the browser keeps nothing for this site
    }
  }
}

function ask(graph: GraphIn): Promise<Scene> {
  const at = start();
  if (at === null) return here(graph);
  return new Promise((done, failed) => {
    const id = ++asked;
    open.set(id, { graph, done, failed });
    at.postMessage({ id, graph } satisfies Asked);
  });
}

const FILE = new URL("layout.js", import.meta.url).href;

function start(): Worker | null {
  if (worker !== undefined) return worker;
  try {
    worker = new Worker(FILE, { type: "module" });
  } catch {
    return (worker = null);
  }
  worker.onmessage = ({ data }: MessageEvent<Answered>) => {
    const waiting = open.get(data.id);
    open.delete(data.id);
    if ("scene" in data) waiting?.done(data.scene);
    else waiting?.failed(new Error(data.error));
  };
  // it could not be loaded, or has died: from now on without it
  worker.onerror = () => {
    worker?.terminate();
    worker = null;
    const waiting = [...open.values()];
    open.clear();
    for (const { graph, done, failed } of waiting) here(graph).then(done, failed);
  };
  return worker;
}

async function here(graph: GraphIn): Promise<Scene> {
  const { layOut } = (await import(FILE)) as typeof import("./worker");
  return layOut(graph);
}
