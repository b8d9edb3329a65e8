export function Diff({ one, other }: { one: unknown; other: unknown }) {
  return <pre>{JSON.stringify(one)} {JSON.stringify(other)}</pre>;
}
