import type { StreamItem } from "../model/track";

/** `live`: the newest moment is shown, so that the end is followed. `onMoment`: somebody wants to see the frame of an item. */
export function StreamPanel({ items }: { items: readonly StreamItem[]; live: boolean; onMoment?(moment: number): void }) {
  return <p>{items.length}</p>;
}
