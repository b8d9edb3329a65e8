export function Compare({ one, other }: { one: string; other: string }) {
  return <h1>{one} and {other}</h1>;
}
