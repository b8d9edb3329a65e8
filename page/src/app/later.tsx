/** Views whose code is fetched when they are first shown, so that the first view comes soon. */
import { h, type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A component that shows nothing until its code is here. Throws while it renders if the code cannot be fetched. */
export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let found: ComponentType<P> | undefined;
  const get = async (): Promise<ComponentType<P>> => (found ??= await load());
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
