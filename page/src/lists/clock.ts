/** The time, for what is shown as "3 min ago". */
import { useEffect, useState } from "preact/hooks";

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function tick(): void {
  if (document.hidden) return;
  for (const listener of [...listeners]) listener();
}

export function now(): number {
  return Date.now() / 1000;
}

/** The time in seconds since the epoch. It goes on by itself: each second, as one timer for the whole page. */
export function useNow(): number {
  const [at, setAt] = useState(now);
  useEffect(() => {
    const look = (): void => setAt(Math.floor(now()));
    if (!listeners.size) {
      timer = setInterval(tick, 1000);
      document.addEventListener("visibilitychange", tick);
    }
    listeners.add(look);
    return () => {
      listeners.delete(look);
      if (listeners.size) return;
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, []);
  return at;
}
