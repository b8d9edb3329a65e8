export function Waiting() {
  return <h1>Waiting for you</h1>;
}
