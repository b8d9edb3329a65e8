export function FlowPage({ flow }: { flow: string }) {
  return <h1>{flow}</h1>;
}
