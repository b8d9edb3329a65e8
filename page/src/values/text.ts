/** A value on one line. */
export function line(value: unknown, most = 200): string {
  return (JSON.stringify(value) ?? "").slice(0, most);
}
