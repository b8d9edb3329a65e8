import type { ComponentChildren, TargetedKeyboardEvent } from "preact";

export interface TabInfo<T extends string> { key: T; words: string; extra?: ComponentChildren }

/** Tabs with one panel below them. Arrow keys go from one to the next. */
export function Tabs<T extends string>({ name, tabs, chosen, onChoose, children, class: look = "" }: {
  name: string; tabs: readonly TabInfo<T>[]; chosen: T; onChoose(key: T): void; children: ComponentChildren; class?: string;
}) {
  const move = (event: TargetedKeyboardEvent<HTMLElement>): void => {
    const at = tabs.findIndex((it) => it.key === chosen);
    const steps: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const found = tabs[(next + tabs.length) % tabs.length]!;
    onChoose(found.key);
    document.getElementById(`tab-${name}-${found.key}`)?.focus();
  };
  return (
    <div class={look}>
      <div class="tabs" role="tablist" aria-label={name} onKeyDown={move}>
        {tabs.map((it) => (
          <button key={it.key} class="tab" type="button" role="tab" id={`tab-${name}-${it.key}`} aria-selected={it.key === chosen}
            aria-controls={`panel-${name}`} tabIndex={it.key === chosen ? 0 : -1} onClick={() => onChoose(it.key)}>
            {it.words}{it.extra}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" id={`panel-${name}`} aria-labelledby={`tab-${name}-${chosen}`} tabIndex={-1}>{children}</div>
    </div>
  );
}
