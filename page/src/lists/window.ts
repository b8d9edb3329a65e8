/** Which rows of a long list are in view: all rows have the same height, and only those near the view are drawn. */
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** The first and the last row; `last` is less than `first` if there is none. */
export interface Span { first: number; last: number }

/** How many rows beyond the view are drawn, and by how many rows at a time a span moves. */
const OVER = 10;
const STEP = 5;

/** `top`: by how much the view begins below the first row, in pixels (negative: above it). */
export function spanOf(top: number, height: number, rowHeight: number, count: number): Span {
  if (count <= 0 || rowHeight <= 0) return { first: 0, last: -1 };
  const first = Math.floor(Math.floor(top / rowHeight) / STEP) * STEP - OVER;
  const last = Math.ceil(Math.ceil((top + height) / rowHeight) / STEP) * STEP + OVER;
  return { first: Math.min(Math.max(first, 0), count - 1), last: Math.min(Math.max(last, 0), count - 1) };
}

/** What scrolls an element: the nearest box around it that does, or the document. */
export function scrollerOf(element: HTMLElement): HTMLElement {
  for (let box = element.parentElement; box !== null && box !== document.body; box = box.parentElement) {
    if (/^(auto|scroll|overlay)$/.test(getComputedStyle(box).overflowY)) return box;
  }
  return document.scrollingElement as HTMLElement;
}

/** Where the view of a scroller begins, and how high it is. */
function viewOf(scroller: HTMLElement): { top: number; height: number } {
  if (scroller === document.scrollingElement) return { top: 0, height: innerHeight };
  return { top: scroller.getBoundingClientRect().top, height: scroller.clientHeight };
}

export interface Window {
  span: Span;
  /** In which row the view begins now, with a part of it as fraction; 0 if it begins above the list. */
  place(): number;
  /** Let the view begin at a place. */
  scrollTo(place: number): void;
  /** Let the view begin with what is above the list. */
  toTop(): void;
  /** Scroll by so many rows. */
  scrollBy(rows: number): void;
  /** Scroll as little as needed to see a whole row. `margin`: what covers the view at its top, in pixels. */
  reveal(row: number, margin?: number): void;
}

/** The window of a list of `count` rows inside of `space`. `onScroll` is called at most once a frame. */
export function useWindow(
  space: { readonly current: HTMLElement | null }, count: number, rowHeight: number, onScroll?: () => void,
): Window {
  const [span, setSpan] = useState<Span>(() => spanOf(0, 900, rowHeight, count));
  const now = useRef({ count, rowHeight, onScroll });
  now.current = { count, rowHeight, onScroll };

  const look = useCallback(() => {
    const element = space.current;
    if (element === null) return;
    const view = viewOf(scrollerOf(element));
    const top = view.top - element.getBoundingClientRect().top;
    const next = spanOf(top, view.height, now.current.rowHeight, now.current.count);
    setSpan((old) => (old.first === next.first && old.last === next.last ? old : next));
  }, [space]);

  useLayoutEffect(look, [look, count, rowHeight]);

  useEffect(() => {
    const element = space.current;
    if (element === null) return;
    const scroller = scrollerOf(element);
    let frame = 0;
    const later = (): void => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        look();
        now.current.onScroll?.();
      });
    };
    const target = scroller === document.scrollingElement ? window : scroller;
    target.addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      cancelAnimationFrame(frame);
      target.removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [space, look, count > 0]);

  const top = (): number => {
    const element = space.current;
    if (element === null) return 0;
    return viewOf(scrollerOf(element)).top - element.getBoundingClientRect().top;
  };
  const move = (pixels: number): void => {
    const element = space.current;
    if (element === null || pixels === 0) return;
    scrollerOf(element).scrollTop += pixels;
    look();
  };
  return {
    span,
    place: () => Math.max(0, top() / rowHeight),
    scrollTo: (place) => move(place * rowHeight - top()),
    toTop: () => {
      if (space.current !== null) scrollerOf(space.current).scrollTop = 0;
      look();
    },
    scrollBy: (rows) => move(rows * rowHeight),
    reveal: (row, margin = 0) => {
      const element = space.current;
      if (element === null) return;
      const view = viewOf(scrollerOf(element));
      const begin = row * rowHeight - top();
      if (begin < margin) move(begin - margin);
      else if (begin + rowHeight > view.height) move(begin + rowHeight - view.height);
    },
  };
}

/** The height of a row in pixels. It is given in the size of the letters, for a wide and for a narrow screen. */
export function useRowHeight(wide: number, narrow: number): { height: number; isNarrow: boolean } {
  const [isNarrow, setNarrow] = useState(() => matchMedia(NARROW).matches);
  useEffect(() => {
    const media = matchMedia(NARROW);
    const changed = (): void => setNarrow(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  const letters = parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
  return { height: Math.round((isNarrow ? narrow : wide) * letters), isNarrow };
}

/** The same as in lists.css. */
const NARROW = "(max-width: 760px)";
