/** What part of the graph is seen: a point of it is shown at `point * k + (x, y)`. It moves only when somebody moves it. */
import type { Rect } from "./layout";

export interface Camera { x: number; y: number; k: number }
export interface Size { width: number; height: number }

export const NEAREST = 2.5, FARTHEST = 0.04;
const MARGIN = 16;
/** At the sides there is room for a count beside the last box. */
const ASIDE = 28;

/** All of the graph, as large as it fits, but not larger than it is. */
export function fit(scene: Size, view: Size): Camera {
  const across = (view.width - 2 * ASIDE) / Math.max(scene.width, 1), down = (view.height - 2 * MARGIN) / Math.max(scene.height, 1);
  const k = clamp(Math.min(1, across, down));
  return { k, x: (view.width - scene.width * k) / 2, y: (view.height - scene.height * k) / 2 };
}

/** How a graph is first seen: all of it, if it can be read then; else its beginning, as large as its width allows. */
export function first(scene: Size, view: Size, readable = 0.62): Camera {
  const whole = fit(scene, view);
  if (whole.k >= readable) return { ...whole, y: Math.min(whole.y, 40) };
  const k = Math.min(1, Math.max(readable, (view.width - 2 * ASIDE) / Math.max(scene.width, 1)));
  return { k, x: (view.width - scene.width * k) / 2, y: MARGIN };
}

/** Nearer or farther, with the point under the pointer where it is. */
export function zoom(camera: Camera, factor: number, x: number, y: number): Camera {
  const k = clamp(camera.k * factor), by = k / camera.k;
  return { k, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
}

/** Moved by so much, as far as some of the graph stays in view. */
export function pan(camera: Camera, dx: number, dy: number, scene: Size, view: Size): Camera {
  const keep = 48, within = (value: number, size: number, room: number): number => (
    Math.min(room - keep, Math.max(keep - size * camera.k, value))
  );
  return { k: camera.k, x: within(camera.x + dx, scene.width, view.width), y: within(camera.y + dy, scene.height, view.height) };
}

/** Moved as little as needed to see a box; the same camera if it is seen. */
export function reveal(camera: Camera, { x, y, width, height }: Omit<Rect, "key">, view: Size): Camera {
  const by = (from: number, size: number, room: number): number => {
    const start = from - MARGIN, end = from + size + MARGIN;
    if (start < 0) return -start;
    return end > room ? Math.max(room - end, -start) : 0;
  };
  const dx = by(x * camera.k + camera.x, width * camera.k, view.width), dy = by(y * camera.k + camera.y, height * camera.k, view.height);
  return dx || dy ? { k: camera.k, x: camera.x + dx, y: camera.y + dy } : camera;
}

function clamp(k: number): number {
  return Math.min(NEAREST, Math.max(FARTHEST, k));
}
