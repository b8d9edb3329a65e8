/** Which rows of a long list are in view: all rows have the same height, and only those near the view are drawn. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** The first and the last row; `last` is less than `first` if there is none. */
export interface Span { first: number; last: number }

/** How many rows beyond the view are drawn, and by how many rows at a time a span moves. */
const OVER = 10;
const STEP = 5;

/** `top`: by how much the view begins below the first row, in pixels (negative: above it). */
export function spanOf(top: number, height: number, rowHeight: number, count: number): Span {
  const within = (row: number): number => Math.min(Math.max(row, 0), count - 1);
  if (count <= 0) return { first: 0, last: -1 };
  return {
    first: within(Math.floor(top / rowHeight / STEP) * STEP - OVER),
    last: within(Math.ceil((top + height) / rowHeight / STEP) * STEP + OVER),
  };
}

export interface Window {
  span: Span;
  /** In which row the view begins now, with a part of it as fraction; 0 if it begins above the list. */
  place(): number;
  /** Let the view begin at a place. */
  scrollTo(place: number): void;
  /** Scroll by so many rows. */
  scrollBy(rows: number): void;
}

/** The window of a list of `count` rows inside of `space`, which scrolls with the page. */
export function useWindow(
  space: { readonly current: HTMLElement | null }, count: number, rowHeight: number, onScroll: () => void,
): Window {
  const [span, setSpan] = useState<Span>(() => spanOf(0, innerHeight, rowHeight, count));
  const top = (): number => -(space.current?.getBoundingClientRect().top ?? 0);
  const look = (): void => {
    const next = spanOf(top(), innerHeight, rowHeight, count);
    setSpan((old) => (old.first === next.first && old.last === next.last ? old : next));
  };
  const move = (pixels: number): void => {
    scrollBy(0, pixels);
    look();
  };
  useLayoutEffect(look, [count, rowHeight]);
  const scrolled = useRef(() => {});
  scrolled.current = () => {
    look();
    onScroll();
  };
  useEffect(() => {
    const listener = (): void => scrolled.current();
    addEventListener("scroll", listener, { passive: true });
    addEventListener("resize", listener);
    return () => {
      removeEventListener("scroll", listener);
      removeEventListener("resize", listener);
    };
  }, []);
  return {
    span,
    place: () => Math.max(0, top() / rowHeight),
    scrollTo: (place) => move(place * rowHeight - top()),
    scrollBy: (rows) => move(rows * rowHeight),
  };
}

/** The height of a row in pixels. It is given in the size of the letters, for a wide and for a narrow screen. */
export function useRowHeight(wide: number, narrow: number): number {
  const media = matchMedia("(max-width: 760px)"); // the same as in lists.css
  const [isNarrow, setNarrow] = useState(media.matches);
  useEffect(() => {
    const changed = (): void => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return Math.round((isNarrow ? narrow : wide) * parseFloat(getComputedStyle(document.documentElement).fontSize));
}
