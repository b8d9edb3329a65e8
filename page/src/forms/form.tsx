/**
 * `<SchemaForm>`: a form out of a JSON Schema. It checks before it sends and says at the field what is wrong, sends once
 * however often somebody clicks, and loses nothing that was typed: not when the page is drawn anew, and with `keep` not
 * when the form is away for a while.
 */
import "./form.css";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { pretty, summary, visible } from "../values/text";
import { Value } from "../values/value";
import { newKey, problemOf } from "../wire/http";
import { stringify } from "../wire/json";
import type { Problem, Schema } from "../wire/types";
import { placesIn, ProblemNote } from "./problem";
import {
  ABSENT, begun, check, constant, FORMATS, itemOf, limitsOf, nameOf, neededOf, newItem, pointer, propertiesOf, read, shapeOf, start, valuesOf,
  type Draft, type Misfit, type Shape,
} from "./schema";

export interface SchemaFormProps {
  /** What the value has to be; `{}` takes any JSON. */
  schema: Schema;
  /** What to begin with instead of the defaults of the schema. */
  value?: unknown;
  /** Sends the value. `intent` is the `Idempotency-Key`: the same for the same value until it was taken. What the returned
   * promise rejects with (`HttpError`) is shown, and the form stays as it is. */
  onSubmit: (value: unknown, intent: string) => unknown;
  /** The word on the button. */
  submit: string;
  /** Why nothing can be sent; "" if it can. */
  disabled?: string;
  /** A name under which what was typed is kept while the form is not shown, such as the id of a question. */
  keep?: string;
  /** What the whole value is called, for who does not see the page. */
  label?: string;
  /** More buttons beside the one that sends. */
  extra?: ComponentChildren;
}

/** What was typed into forms that are not shown now; the oldest is forgotten. */
const kept = new Map<string, Draft>();
const KEPT = 200;

export function SchemaForm(props: SchemaFormProps) {
  const text = stringify(props.schema);
  // lists are read again and again; the same schema in a new object is no reason to begin anew
  const root = useMemo(() => props.schema, [text]);
  const name = `${props.keep ?? ""} ${text}`;
  return <Whole key={name} name={name} {...props} schema={root} />;
}

function Whole({ schema: root, name, value, onSubmit, submit, disabled = "", keep, label = "", extra }: SchemaFormProps & { name: string }) {
  const id = useId();
  const form = useRef<HTMLFormElement>(null);
  const [draft, setDraft] = useState<Draft>(() => (keep === undefined ? undefined : kept.get(name)) ?? start(root, root, value));
  const [tried, setTried] = useState(false);
  const [sending, setSending] = useState<unknown>(ABSENT);
  const [refused, setRefused] = useState<Problem | null>(null);
  const intent = useRef<{ text: string; key: string } | null>(null);
  const isSending = useRef(false);
  const goTo = useRef(false);

  const isTyped = useMemo(() => stringify(draft) !== stringify(start(root, root, value)), [draft]);
  useEffect(() => {
    if (!isTyped) return;
    const warn = (event: Event): void => event.preventDefault(); // a reload would lose it
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [isTyped]);

  const shape = shapeOf(root, root);
  const off = sending !== ABSENT || disabled !== "";
  const change = (next: Draft): void => {
    if (keep !== undefined) {
      kept.delete(name);
      kept.set(name, next);
      if (kept.size > KEPT) kept.delete(kept.keys().next().value!);
    }
    setRefused(null);
    setDraft(next);
  };

  const evaluate = (): { found: unknown; misfits: Misfit[] } => {
    const misfits: Misfit[] = [];
    const found = read(draft, root, root, misfits);
    if (found === ABSENT && misfits.length === 0) misfits.push({ path: "", text: "This is needed." });
    const said = new Set(misfits.map((it) => it.path));
    if (found !== ABSENT) misfits.push(...check(root, root, found).filter((it) => !said.has(it.path)));
    return { found, misfits };
  };

  const send = async (given: unknown): Promise<void> => {
    if (isSending.current || disabled !== "") return;
    const text = stringify(given);
    if (intent.current?.text !== text) intent.current = { text, key: newKey() };
    isSending.current = true;
    setSending(given);
    setRefused(null);
    try {
      await onSubmit(given, intent.current.key);
      intent.current = null; // the same value sent again is another intent
      kept.delete(name);
    } catch (error) {
      setRefused(problemOf(error));
      goTo.current = true;
    }
    isSending.current = false;
    setSending(ABSENT);
  };

  const trySend = (): void => {
    const { found, misfits } = evaluate();
    if (misfits.length === 0) return void send(found);
    setTried(true);
    goTo.current = true;
  };

  const wrong = useMemo(() => {
    const theirs = refused !== null && refused.status >= 400 && refused.status < 500 ? placesIn(refused.detail ?? "") : [];
    return nearest([...(tried ? evaluate().misfits : []), ...theirs], draft);
  }, [tried, draft, refused]);

  useLayoutEffect(() => {
    if (!goTo.current) return;
    goTo.current = false;
    const first = form.current?.querySelector(".bad")?.querySelector<HTMLElement>("input, textarea, select, button");
    (first ?? form.current?.querySelector<HTMLElement>(".form-refused"))?.focus();
  });

  const isJson = draft.of === "json";
  const switchEditor = (): void => {
    const { found } = evaluate();
    const isLost = isJson && found === ABSENT && draft.text.trim() !== "";
    const next: Draft = isLost ? draft : isJson ? start(root, root, found === ABSENT ? undefined : found) : { of: "json", text: found === ABSENT ? "" : pretty(found) };
    change(next);
    if (isJson && next.of === "json") setTried(true); // why it has no fields
  };

  const isApproval = draft.of === "flag" && !shape.nullable;
  const isFixed = shape.kind === "const" || shape.kind === "null";
  return (
    <form
      ref={form} class="form" noValidate aria-label={label || undefined} aria-busy={sending !== ABSENT}
      onSubmit={(event) => {
        event.preventDefault();
        if (!isApproval) trySend();
      }}
      onKeyDown={(event) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        form.current?.requestSubmit();
      }}
    >
      <div class="form-refused" role="alert" tabIndex={-1}>{refused !== null && <ProblemNote problem={refused} />}</div>
      {isFixed && !isJson ? <p>{shape.kind === "null" ? "Nothing has to be given." : <>The only possible value is <code>{summary(constant(shape.schema))}</code>.</>}</p>
        : isApproval ? typeof shape.schema.description === "string" && <p class="hint">{visible(shape.schema.description)}</p>
        : <Field context={{ root, id, wrong }} schema={root} draft={draft} path="" needed label={isJson ? "JSON" : label} whole onDraft={change} />}
      {isJson && <details class="form-schema"><summary>What fits (JSON Schema)</summary><Value value={root} open={3} /></details>}
      {disabled !== "" && <p class="form-disabled">{disabled}</p>}
      <div class="row">
        {isApproval ? [true, false].map((answer) => (
          <button key={String(answer)} type="button" class={`button form-yesno ${answer ? "primary" : ""}`} aria-disabled={off} onClick={() => void send(answer)}>
            {sending === answer ? "Sending …" : <><span aria-hidden="true">{answer ? "✓" : "✗"}</span> {answer ? "Yes" : "No"}</>}
          </button>
        )) : (
          <button type="submit" class="button primary" aria-disabled={off} title="Ctrl+Enter">{sending !== ABSENT ? "Sending …" : submit}</button>
        )}
        {shape.kind !== "json" && !isFixed && !isApproval && (
          <button type="button" class="button quiet" onClick={switchEditor}>{isJson ? "Edit in fields" : "Edit as JSON"}</button>
        )}
        {extra}
      </div>
    </form>
  );
}

// -- where something is wrong -------------------------------------------------------------------------------------------

/** The fields of a draft, as paths. */
function* fieldsOf(draft: Draft, path: string): Generator<string> {
  yield path;
  if (draft.of === "list") for (const [at, it] of draft.items.entries()) yield* fieldsOf(it.draft, `${path}/${at}`);
  else if (draft.of === "object") for (const [name, it] of draft.fields) yield* fieldsOf(it, `${path}/${pointer(name)}`);
  else if (draft.of === "map") for (const it of draft.items) yield* fieldsOf(it.draft, `${path}/${pointer(it.name)}`);
  else if (draft.of === "maybe" && draft.on) yield* fieldsOf(draft.draft, path);
  else if (draft.of === "union" && draft.drafts.has(draft.at)) yield* fieldsOf(draft.drafts.get(draft.at)!, path);
}

/** What is said at which field: the nearest one around the place that is wrong. */
function nearest(misfits: readonly Misfit[], draft: Draft): ReadonlyMap<string, string> {
  const fields = new Set(fieldsOf(draft, ""));
  const found = new Map<string, string>();
  for (const it of misfits) {
    let path = it.path;
    while (path !== "" && !fields.has(path)) path = path.slice(0, path.lastIndexOf("/"));
    const inside = it.path.slice(path.length + 1).replace(/\//g, " › ");
    const before = found.get(path);
    found.set(path, `${before === undefined ? "" : `${before} `}${inside && `${inside}: `}${it.text}`);
  }
  return found;
}

// -- fields -------------------------------------------------------------------------------------------------------------

interface Context {
  root: Schema;
  id: string;
  /** What is wrong, by the path of the field. */
  wrong: ReadonlyMap<string, string>;
}

interface FieldProps {
  context: Context; schema: Schema; draft: Draft; path: string; needed: boolean; label: string;
  /** It is the whole value: its label says nothing. */
  whole?: boolean;
  onDraft: (draft: Draft) => void;
}

function Field(props: FieldProps) {
  const { context, schema, draft, path, needed, label, whole = false, onDraft } = props;
  const { root } = context;
  const shape = shapeOf(schema, root);
  const own = shape.schema;
  // the title of the class that a schema refers to is no name for a field
  const name = typeof own.title === "string" && !whole && schema.title !== undefined ? own.title : label;
  const id = `${context.id}-${encodeURIComponent(path)}`;
  const wrong = context.wrong.get(path) ?? "";
  const bad = wrong === "" ? "" : " bad";
  const hint = visible([typeof own.description === "string" ? own.description : "", hintOf(shape)].filter(Boolean).join("\n"));
  const about = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ") || undefined;
  const tied = { id, "aria-describedby": about, "aria-invalid": wrong !== "", "aria-required": needed && !shape.nullable && shape.kind !== "text" };
  const mayMiss = shape.nullable || (!needed && own.default === undefined);

  const texts = (
    <>
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
      {wrong && <p class="wrong" id={`${id}-wrong`}><span aria-hidden="true">✗ </span>{visible(wrong)}</p>}
    </>
  );
  const title = (
    <>
      {visible(name) || "Value"}
      {!whole && needed && !shape.nullable && <span class="wrong" aria-hidden="true"> *</span>}
      {!whole && !needed && own.default === undefined && <span class="hint"> optional</span>}
    </>
  );
  const titleClass = whole && name === "" ? "unseen" : "label";
  const single = (control: ComponentChildren) => (
    <div class={`form-field${bad}`}><label class={titleClass} htmlFor={id}>{title}</label>{texts}{control}</div>
  );
  const group = (content: ComponentChildren, kind = "") => (
    <fieldset class={`form-field form-group${kind}${bad}`} id={id} aria-describedby={about}><legend class={titleClass}>{title}</legend>{texts}{content}</fieldset>
  );
  const pick = (words: readonly string[], at: number, onAt: (at: number) => void) => <Pick name={id} label={name} words={words} at={at} bad={wrong !== ""} onAt={onAt} />;

  switch (draft.of) {
    case "const": return null;
    case "json": return single(
      <textarea {...tied} class="input form-json" rows={8} spellcheck={false} autoCapitalize="off" autoComplete="off" value={draft.text}
        onInput={(event) => onDraft({ of: "json", text: event.currentTarget.value })} />,
    );
    case "text": return single(<TextControl shape={shape} tied={tied} text={draft.text} whole={whole} onText={(text) => onDraft({ of: "text", text })} />);
    case "flag": {
      const values = mayMiss ? [true, false, null] : [true, false];
      return group(pick(["Yes", "No", "Not given"].slice(0, values.length), values.indexOf(draft.value), (at) => onDraft({ of: "flag", value: values[at]! })));
    }
    case "choice": {
      const words = shape.choices.map((it) => it.label), none = words.length;
      return group(pick(mayMiss ? [...words, "Not given"] : words, draft.at < 0 && mayMiss ? none : draft.at, (at) => onDraft({ of: "choice", at: at === none ? -1 : at })));
    }
    case "choices": return group(
      <div class="row">
        {shape.choices.map((it, at) => (
          <label key={at} class="form-check">
            <input type="checkbox" checked={draft.at.includes(at)}
              onChange={(event) => onDraft({ of: "choices", at: event.currentTarget.checked ? [...draft.at, at] : draft.at.filter((one) => one !== at) })} />
            {visible(it.label)}
          </label>
        ))}
      </div>,
    );
    case "list": case "map": return group(<Items {...props} draft={draft} shape={shape} />);
    case "object": {
      const required = neededOf(own);
      const content = propertiesOf(own).map(([key, it]) => (
        <Field key={key} context={context} schema={it} draft={draft.fields.get(key) ?? { of: "const" }} path={`${path}/${pointer(key)}`} needed={required.includes(key)}
          label={key} onDraft={(next) => onDraft({ ...draft, fields: new Map(draft.fields).set(key, next) })} />
      ));
      if (content.length === 0) content.push(<p class="hint">Nothing has to be given.</p>);
      return whole ? <div class={`form-object${bad}`} id={id}>{texts}{content}</div> : group(content, " inner");
    }
    case "union": {
      const words = shape.options.map((it) => nameOf(it, root));
      const inner = draft.drafts.get(draft.at);
      const choose = (at: number): void => onDraft({
        of: "union", at, drafts: draft.drafts.has(at) ? draft.drafts : new Map(draft.drafts).set(at, start(shape.options[at]!, root)),
      });
      // what is wrong here is said here, and not in the chosen option once more
      const inside = new Map(context.wrong);
      inside.delete(path);
      return group(
        <>
          {pick(words, draft.at, choose)}
          {inner !== undefined && (
            <Field key={draft.at} context={{ ...context, id: `${context.id}-${draft.at}`, wrong: inside }} schema={shape.options[draft.at]!} draft={inner} path={path}
              needed label={words[draft.at]!} whole onDraft={(next) => onDraft({ ...draft, drafts: new Map(draft.drafts).set(draft.at, next) })} />
          )}
        </>,
      );
    }
    case "maybe": return (
      <div class={`form-maybe${bad}`}>
        <label class="form-check">
          <input type="checkbox" checked={draft.on} aria-describedby={draft.on ? undefined : about}
            onChange={(event) => {
              const on = event.currentTarget.checked;
              onDraft({ of: "maybe", on, draft: on && draft.draft.of === "const" ? begun(shape, root) : draft.draft });
            }} />
          {name === "" ? "Give a value" : <>Give <b>{visible(name)}</b></>}
        </label>
        {draft.on ? <Field {...props} draft={draft.draft} needed /> : texts}
      </div>
    );
  }
}

function hintOf({ kind, nullable, schema }: Shape): string {
  if (kind !== "text" && kind !== "number" && kind !== "decimal") return "";
  const format = FORMATS[String(schema.format)];
  const said = [
    format?.hint, format?.input === "datetime-local" && "in the time zone of this device", schema.contentEncoding === "base64" && "bytes, written as base64",
    typeof schema.minLength === "number" && schema.minLength > 1 && `at least ${schema.minLength} characters`,
    typeof schema.maxLength === "number" && `at most ${schema.maxLength} characters`,
    ...limitsOf(schema),
    Array.isArray(schema.examples) && schema.examples.length > 0 && `such as ${summary(schema.examples[0], 80)}`,
    nullable && "left empty: null",
  ].filter(Boolean).join(", ");
  return said && `${said[0]!.toUpperCase()}${said.slice(1)}.`;
}

// -- controls -----------------------------------------------------------------------------------------------------------

/** One of several: all in sight if they are few and short. */
function Pick({ name, label, words, at, bad, onAt }: { name: string; label: string; words: readonly string[]; at: number; bad: boolean; onAt: (at: number) => void }) {
  if (words.length > 6 || words.some((it) => it.length > 40)) return (
    <select class="input" aria-label={visible(label) || "Value"} aria-invalid={bad} value={String(at)} onChange={(event) => onAt(Number(event.currentTarget.value))}>
      {at < 0 && <option value="-1">Choose …</option>}
      {words.map((it, own) => <option key={own} value={String(own)}>{visible(it)}</option>)}
    </select>
  );
  return (
    <div class="row">
      {words.map((word, own) => (
        <label key={own} class="form-radio">
          <input type="radio" name={`${name}-radio`} checked={own === at} aria-invalid={bad || undefined} onChange={() => onAt(own)} />
          <span>{visible(word)}</span>
        </label>
      ))}
    </div>
  );
}

/** The texts that the controls of the browser take without losing something. */
const TAKES: Record<string, RegExp> = {
  date: /^(\d{4}-\d\d-\d\d)?$/, time: /^(\d\d:\d\d(:\d\d)?)?$/, "datetime-local": /^(\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?$/,
};

function TextControl({ shape: { kind, schema }, tied, text, whole, onText }: { shape: Shape; tied: object; text: string; whole: boolean; onText: (text: string) => void }) {
  const type = kind === "text" ? FORMATS[String(schema.format)]?.input : "text";
  const isShort = type !== undefined || schema.pattern !== undefined || (typeof schema.maxLength === "number" && schema.maxLength <= 80);
  if (!isShort || text.includes("\n"))
    return <textarea {...tied} class={`input form-text ${whole ? "whole" : ""}`} rows={whole ? 3 : 1} value={text} onInput={(event) => onText(event.currentTarget.value)} />;
  const takes = TAKES[type!], fits = takes?.test(text) ?? true, isTime = takes !== undefined;
  const isLocal = type === "datetime-local" && fits;
  const look: object = { type: (fits && type) || "text", step: isTime ? 1 : undefined };
  return (
    <input {...tied} {...look} class={`input ${isTime || kind !== "text" ? "form-short" : ""}`}
      inputMode={kind === "text" ? undefined : schema.type === "integer" ? "numeric" : "decimal"} autoComplete="off" spellcheck={type === undefined}
      value={isLocal ? toLocal(text) : text} onInput={(event) => onText(isLocal ? fromLocal(event.currentTarget.value) : event.currentTarget.value)} />
  );
}

/** A time with a zone as the control of the browser shows it: without one, as of this device. */
function toLocal(text: string): string {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function fromLocal(text: string): string {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : at.toISOString().replace(".000", "");
}

/** The items of a list, or the keys of a map. */
function Items({ context, draft, shape, path, label, onDraft }: FieldProps & { draft: Draft & { of: "list" | "map" }; shape: Shape }) {
  const { schema } = shape;
  const isMap = draft.of === "map", isFixed = shape.kind === "tuple";
  const items: readonly { key: number; name?: string; draft: Draft }[] = draft.items;
  const schemaAt = (at: number): Schema => (isMap ? valuesOf(schema) : itemOf(schema, at));
  const added = useRef(false);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (added.current) [...box.current!.querySelectorAll(":scope > .form-item")].at(-1)?.querySelector<HTMLElement>("input, textarea, select")?.focus();
    added.current = false;
  });
  const set = (next: typeof items): void => onDraft({ of: draft.of, items: next } as Draft);
  const change = (key: number, part: { name?: string; draft?: Draft }): void => set(items.map((it) => (it.key === key ? { ...it, ...part } : it)));
  return (
    <div ref={box} class="form-items">
      {items.map((it, at) => (
        <div key={it.key} class="form-item">
          {isMap && (
            <label class="form-key"><span class="label">Key</span>
              <input class="input" value={it.name} autoComplete="off" spellcheck={false} onInput={(event) => change(it.key, { name: event.currentTarget.value })} />
            </label>
          )}
          <div class="grow">
            <Field context={isMap ? { ...context, id: `${context.id}-${it.key}` } : context} schema={schemaAt(at)} draft={it.draft}
              path={`${path}/${isMap ? pointer(it.name!) : at}`} needed label={isMap ? "Value" : `${isFixed ? "" : label || "Item"} ${at + 1}`.trim()}
              onDraft={(next) => change(it.key, { draft: next })} />
          </div>
          {!isFixed && (
            <button type="button" class="button quiet form-remove" aria-label={`Remove ${it.name || `${label || "item"} ${at + 1}`}`}
              onClick={() => {
                set(items.filter((other) => other.key !== it.key));
                box.current!.querySelector<HTMLElement>(":scope > .button")?.focus();
              }}>Remove</button>
          )}
        </div>
      ))}
      {!isFixed && (
        <button type="button" class="button" disabled={typeof schema.maxItems === "number" && items.length >= schema.maxItems}
          onClick={() => {
            added.current = true;
            set([...items, { key: newItem(), name: "", draft: start(schemaAt(items.length), context.root) }]);
          }}>{items.length > 0 ? "Add another" : isMap ? "Add a key" : "Add an item"}</button>
      )}
    </div>
  );
}
