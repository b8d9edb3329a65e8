import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

/** A dialog over the page. The browser keeps the focus in it and gives it back; Escape closes it. */
export function Dialog({ title, children, onClose }: { title: string; children: ComponentChildren; onClose(): void }) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog class="dialog" ref={element} aria-labelledby={heading} onClose={onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}>
      <div class="dialog-inner">
        <h2 class="dialog-title" id={heading}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}
