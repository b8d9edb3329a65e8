import type { RunsRoute } from "../app/route";

export function Runs({ route }: { route: RunsRoute }) {
  return <h1>Runs {route.flow}</h1>;
}
