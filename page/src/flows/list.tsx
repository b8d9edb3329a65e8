export function FlowList() {
  return <h1>Flows</h1>;
}
