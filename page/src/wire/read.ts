/** Something of the server that a view shows: read when it is shown first, and again when that is asked for. */
import { useEffect, useState } from "preact/hooks";
import { get, isAbort, problemOf, type Query } from "./http";
import type { Problem } from "./types";

export interface Read<T> {
  /** Null until it was read. It stays while it is read again. */
  value: T | null;
  problem: Problem | null;
  again(): void;
}

/** It is read anew with each `version`; with null nothing is read. */
export function useRead<T>(address: string, query: Query = {}, version: string | null = ""): Read<T> {
  const key = address + JSON.stringify(query);
  const [found, setFound] = useState<{ key: string; value: T | null; problem: Problem | null } | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (version === null) return;
    const giveUp = new AbortController();
    get<T>(address, query, giveUp.signal).then(
      (value) => setFound({ key, value, problem: null }),
      (error: unknown) => {
        if (!isAbort(error)) setFound((it) => ({ key, value: it?.key === key ? it.value : null, problem: problemOf(error) }));
      },
    );
    return () => giveUp.abort();
  }, [key, version, turn]);
  const own = found?.key === key ? found : null;
  return { value: own?.value ?? null, problem: own?.problem ?? null, again: () => setTurn((it) => it + 1) };
}
