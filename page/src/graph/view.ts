/** Moves the picture: with the wheel, a pointer, two fingers, the keyboard and buttons. */
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { first, fit, pan, reveal, zoom, type Camera, type Size } from "./camera";
import { HEAD } from "./label";
import type { Rect, Scene } from "./layout";
import { neighbour, type Way } from "./walk";

const STEP = 64;
/** A pointer that moves less than this has clicked. */
const STILL = 5;

export interface CameraControl {
  view: RefObject<HTMLDivElement | null>;
  world: RefObject<HTMLDivElement | null>;
  zoom(factor: number): void;
  fit(): void;
  /** When the next picture comes, this box stays where it is. */
  hold(key: string): void;
  onKey(event: KeyboardEvent): void;
  onFocus(event: FocusEvent): void;
  /** Whether a click is one, and not the end of a movement. */
  isClick(): boolean;
}

export function useCamera(scene: Scene | null): CameraControl {
  const view = useRef<HTMLDivElement>(null), world = useRef<HTMLDivElement>(null);
  const mover = useMemo(() => new Mover(view, world), []);
  useLayoutEffect(() => mover.show(scene), [scene]);
  useEffect(() => mover.listen(), []);
  return mover;
}

class Mover implements CameraControl {
  private camera: Camera | null = null;
  private scene: Scene | null = null;
  private size: Size = { width: 0, height: 0 };
  private held: { key: string; x: number; y: number } | null = null;
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private began: { x: number; y: number } | null = null;
  private moving = false;
  private moved = 0;
  private rest: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly view: RefObject<HTMLDivElement | null>, readonly world: RefObject<HTMLDivElement | null>) {}

  show(scene: Scene | null): void {
    const before = this.scene;
    this.scene = scene;
    if (scene === null) return;
    this.look();
    if (this.camera !== null && this.held !== null && before !== scene) {
      const { key, x, y } = this.held, box = scene.boxes.find((it) => it.key === key);
      if (box !== undefined && before !== null) {
        const { k } = this.camera;
        this.camera = { k, x: x - (box.x + box.width / 2) * k, y: y - box.y * k };
      }
      this.held = null;
    }
    this.start();
    this.apply();
  }

  private look(): void {
    const box = this.view.current?.getBoundingClientRect();
    if (box) this.size = { width: box.width, height: box.height };
  }

  private start(): void {
    if (this.camera === null && this.scene !== null && this.size.width > 0 && this.size.height > 0) this.camera = first(this.scene, this.size);
  }

  private apply(): void {
    const { camera, scene } = this, world = this.world.current, view = this.view.current;
    if (camera === null || scene === null || world === null || view === null) return;
    world.style.transform = `translate(${camera.x}px, ${camera.y}px) scale(${camera.k})`;
    // a finger scrolls the page over a graph that is all in view, and moves one that is not
    const whole = camera.y >= -1 && camera.y + scene.height * camera.k <= this.size.height + 1;
    view.style.touchAction = whole ? "pan-y" : "none";
  }

  private set(camera: Camera): void {
    this.camera = camera;
    this.apply();
  }

  /** Moves a picture in parts of the screen that are drawn once, and draws it sharply when it rests. */
  private smooth(): void {
    const style = this.world.current?.style;
    if (style === undefined) return;
    style.willChange = "transform";
    clearTimeout(this.rest);
    this.rest = setTimeout(() => {
      style.willChange = "";
    }, 200);
  }

  hold(key: string): void {
    const box = this.scene?.boxes.find((it) => it.key === key), { camera } = this;
    if (box === undefined || camera === null) return;
    this.held = { key, x: (box.x + box.width / 2) * camera.k + camera.x, y: box.y * camera.k + camera.y };
  }

  zoom = (factor: number): void => {
    if (this.camera !== null) this.set(zoom(this.camera, factor, this.size.width / 2, this.size.height / 2));
  };

  fit = (): void => {
    this.look();
    if (this.scene !== null) this.set(fit(this.scene, this.size));
  };

  isClick(): boolean {
    return !this.moving && performance.now() - this.moved > 50;
  }

  onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey || this.camera === null || this.scene === null) return;
    const { key } = event, box = this.boxOf(event.target);
    if (key === "+" || key === "=") this.zoom(1.3);
    else if (key === "-" || key === "_") this.zoom(1 / 1.3);
    else if (key === "0") this.fit();
    else if (/^Arrow/.test(key) && box !== undefined) {
      const found = this.walk(box, key as Way);
      if (found === null) return;
      found.focus();
    } else if (/^Arrow/.test(key)) {
      const by = { ArrowUp: [0, STEP], ArrowDown: [0, -STEP], ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0] }[key as Way];
      this.set(pan(this.camera, by[0]!, by[1]!, this.scene, this.size));
    } else return;
    event.preventDefault();
  }

  private walk(box: Rect, way: Way): SVGElement | null {
    const elements = new Map([...this.world.current!.querySelectorAll<SVGElement>('[data-key][tabindex="0"]')].map((it) => [it.getAttribute("data-key")!, it]));
    const found = neighbour(this.scene!.boxes.filter((it) => elements.has(it.key)), box, way);
    return found === undefined ? null : elements.get(found.key)!;
  }

  private boxOf(target: EventTarget | null): Rect | undefined {
    const element = target instanceof Element ? target.closest("[data-key], [data-opens]") : null;
    const key = element?.getAttribute("data-key") ?? element?.getAttribute("data-opens");
    return this.scene?.boxes.find((it) => it.key === key);
  }

  /** Who walks with the keyboard must see where: only then the picture follows. */
  onFocus = (event: FocusEvent): void => {
    const box = this.boxOf(event.target);
    if (box === undefined || this.camera === null || !(event.target as Element).matches(":focus-visible")) return;
    this.set(reveal(this.camera, { ...box, height: Math.min(box.height, HEAD) }, this.size));
  };

  // -- pointers ----------------------------------------------------------------------------------------------------------

  listen(): () => void {
    const view = this.view.current!;
    const resized = new ResizeObserver(() => {
      this.look();
      this.start();
      this.apply();
    });
    resized.observe(view);
    let scrolled = 0; // a page that scrolls goes on to do so when the graph comes under the pointer
    const outside = (event: WheelEvent): void => {
      if (!view.contains(event.target as Node)) scrolled = event.timeStamp;
    };
    const wheel = (event: WheelEvent): void => {
      if (this.camera === null || this.scene === null) return;
      if (!event.ctrlKey && event.timeStamp - scrolled < 250) {
        scrolled = event.timeStamp;
        return;
      }
      event.preventDefault();
      this.smooth();
      const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 200 : 1;
      if (event.shiftKey) {
        this.set(pan(this.camera, -(event.deltaX || event.deltaY) * unit, 0, this.scene, this.size));
        return;
      }
      const by = Math.max(-120, Math.min(120, event.deltaY * unit)), { x, y } = this.at(event);
      this.set(zoom(this.camera, Math.exp(-by * (event.ctrlKey ? 0.008 : 0.0022)), x, y));
    };
    const down = (event: PointerEvent): void => {
      if (event.pointerType === "mouse" && event.button !== 0) return;
      this.pointers.set(event.pointerId, this.at(event));
      this.began = this.pointers.size === 1 ? this.at(event) : null;
      if (this.pointers.size === 2) this.drag(event.pointerId);
    };
    const move = (event: PointerEvent): void => {
      const from = this.pointers.get(event.pointerId), { camera, scene } = this;
      if (from === undefined || camera === null || scene === null) return;
      const to = this.at(event);
      if (!this.moving) {
        if (this.began === null || Math.hypot(to.x - this.began.x, to.y - this.began.y) < STILL) return;
        this.drag(event.pointerId);
      }
      this.smooth();
      if (this.pointers.size === 1) this.set(pan(camera, to.x - from.x, to.y - from.y, scene, this.size));
      else {
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
        if (other === undefined) return;
        const before = Math.hypot(from.x - other.x, from.y - other.y), after = Math.hypot(to.x - other.x, to.y - other.y);
        const x = (to.x + other.x) / 2, y = (to.y + other.y) / 2;
        const zoomed = zoom(camera, before > 10 ? after / before : 1, x, y);
        this.set(pan(zoomed, (to.x - from.x) / 2, (to.y - from.y) / 2, scene, this.size));
      }
      this.pointers.set(event.pointerId, to);
    };
    const up = (event: PointerEvent): void => {
      if (!this.pointers.delete(event.pointerId) || this.pointers.size > 0) return;
      if (this.moving) this.moved = performance.now();
      this.moving = false;
      this.began = null;
      view.classList.remove("graph-moving");
    };
    addEventListener("wheel", outside, { passive: true });
    view.addEventListener("wheel", wheel, { passive: false });
    view.addEventListener("pointerdown", down);
    view.addEventListener("pointermove", move);
    view.addEventListener("pointerup", up);
    view.addEventListener("pointercancel", up);
    return () => {
      clearTimeout(this.rest);
      resized.disconnect();
      removeEventListener("wheel", outside);
    };
  }

  private drag(pointer: number): void {
    const view = this.view.current!;
    this.moving = true;
    view.classList.add("graph-moving");
    try {
      for (const id of new Set([...this.pointers.keys(), pointer])) view.setPointerCapture(id);
    } catch {
      // it is gone
    }
  }

  private at(event: MouseEvent): { x: number; y: number } {
    const box = this.view.current!.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
}
