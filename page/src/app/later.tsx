/** Views whose code is fetched when they are first shown, so that the first view comes soon. */
import { h, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

const loads: (() => Promise<unknown>)[] = [];

/** A component that shows nothing until its code is here. Throws while it renders if the code cannot be fetched. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let found: ComponentType<P> | undefined;
  const get = async (): Promise<ComponentType<P>> => (found ??= await load());
  loads.push(get);
  return function Later(props: P) {
    const [, again] = useState(0);
    const [failed, setFailed] = useState<unknown>(null);
    useEffect(() => {
      if (found === undefined) get().then(() => again(1), setFailed);
    }, []);
    if (failed !== null) throw failed;
    return found === undefined ? null : h(found, props);
  };
}

/** Fetch the code of all other views when the browser has nothing to do: a server that stops takes none of them away. */
export function fetchTheRest(): void {
  const begin = (): void => loads.forEach((load) => void load().catch(() => {}));
  if ("requestIdleCallback" in window) window.requestIdleCallback(begin, { timeout: 5000 });
  else setTimeout(begin, 1000);
}
