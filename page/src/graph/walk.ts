/** From box to box with the arrow keys. */
import type { Rect } from "./layout";

export type Way = "ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight";

/** The nearest box in a direction, with what is off to the side counting as farther. */
export function neighbour(boxes: readonly Rect[], from: Rect, way: Way): Rect | undefined {
  let best: Rect | undefined, least = Infinity;
  const x = from.x + from.width / 2, y = from.y + Math.min(from.height, 38) / 2;
  for (const box of boxes) {
    if (box.key === from.key) continue;
    const dx = box.x + box.width / 2 - x, dy = box.y + Math.min(box.height, 38) / 2 - y;
    const along = way === "ArrowDown" ? dy : way === "ArrowUp" ? -dy : way === "ArrowRight" ? dx : -dx;
    const aside = Math.abs(way === "ArrowDown" || way === "ArrowUp" ? dx : dy);
    if (along < 6) continue;
    const far = along + 2.5 * aside;
    if (far < least) [best, least] = [box, far];
  }
  return best;
}
