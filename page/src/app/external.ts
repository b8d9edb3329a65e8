/** Values that live outside of components. */
import { useEffect, useState } from "preact/hooks";

/** The value of something outside, drawn anew when it tells that it has changed. */
export function useSyncExternalStore<T>(subscribe: (listener: () => void) => () => void, snapshot: () => T): T {
  const [, draw] = useState<unknown>(null);
  const value = snapshot();
  useEffect(() => {
    const look = (): void => draw({ value: snapshot() });
    const end = subscribe(look);
    if (snapshot() !== value) look(); // it changed before we heard
    return end;
  }, [subscribe, snapshot]);
  return value;
}
