import type { Track } from "./track";

/** A track without frames. */
export function newTrack(id: string): Track {
  throw new Error(`not written yet: ${id}`);
}
