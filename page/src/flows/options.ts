/** What can be said about a start beside its value: an id, labels, a delay. */

export interface Typed { id: string; labels: string; delay: string }
export interface Options { id?: string; labels?: Record<string, string>; delay?: number }
export const NO_OPTIONS: Typed = { id: "", labels: "", delay: "" };

/** As the server takes it, or what is wrong with it, by field. */
export function optionsOf(typed: Typed): { options: Options; wrong: Partial<Record<keyof Typed, string>> } {
  const options: Options = {}, wrong: Partial<Record<keyof Typed, string>> = {};
  const id = typed.id.trim();
  if (id.length > 512) wrong.id = "An id has up to 512 characters.";
  else if (id) options.id = id;
  const labels: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of typed.labels.split("\n")) {
    if (line.trim() === "") continue;
    const [, name, value] = /^([^:]*):(.*)$/.exec(line) ?? [];
    if (name === undefined || name.trim() === "") wrong.labels = `“${line.trim().slice(0, 40)}” is no label. Write one on each line, as name: value.`;
    else if (name.trim() in labels) wrong.labels = `There are two labels ${name.trim().slice(0, 40)}.`;
    else labels[name.trim()] = value!.trim();
  }
  if (Object.keys(labels).length > 0) options.labels = { ...labels };
  const delay = typed.delay.trim();
  if (delay !== "") {
    const seconds = Number(delay);
    if (!/^\d*\.?\d+$|^\d+\.$/.test(delay) || !(seconds <= 1e9)) wrong.delay = "A delay is a number of seconds, 0 or more.";
    else if (seconds > 0) options.delay = seconds;
  }
  return { options, wrong };
}

/** How many of them are set. */
export function chosen(typed: Typed): number {
  return Object.values(typed).filter((it: string) => it.trim() !== "").length;
}
