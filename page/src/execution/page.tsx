import { useExecution } from "../app/live";
import type { Route } from "../app/route";

export type ExecutionRoute = Extract<Route, { view: "execution" }>;

export function ExecutionPage({ route }: { route: ExecutionRoute }) {
  const { info } = useExecution(route.id);
  return <h1>{info?.flow} {route.id}</h1>;
}
