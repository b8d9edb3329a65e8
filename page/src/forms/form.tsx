/**
 * `<SchemaForm>`: a form out of a JSON Schema. It checks before it sends and says at the field what is wrong, sends once
 * however often somebody clicks, and loses nothing that was typed: not when the page is drawn anew, and with `keep` not
 * when the form is away for a while.
 */
import "./form.css";
import type { ComponentChildren, JSX } from "preact";
import { useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { summary, visible } from "../values/text";
import { Value } from "../values/value";
import { newKey, problemOf } from "../wire/http";
import { parseTyped, stringify } from "../wire/json";
import type { Problem, Schema } from "../wire/types";
import { placesIn, ProblemNote } from "./problem";
import {
  ABSENT, begun, check, constant, FORMATS, itemOf, nameOf, neededOf, newItem, notJson, pointer, propertiesOf, read, shapeOf, start, valuesOf,
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
  /** Sent, and not answered yet. Not needed if `onSubmit` returns a promise. */
  busy?: boolean;
  /** What the server has refused. Not needed if `onSubmit` returns a promise that rejects. */
  problem?: Problem | null;
  /** Why nothing can be sent; "" if it can. */
  disabled?: string;
  /** A name under which what was typed is kept while the form is not shown, such as the id of a question. */
  keep?: string;
  /** What the whole value is called, for who does not see the page. */
  label?: string;
  /** More buttons beside the one that sends. */
  extra?: ComponentChildren;
}

interface Kept { schema: string; draft: Draft; json: string | null }
const kept = new Map<string, Kept>();
const KEPT = 200;

function keepDraft(name: string | undefined, it: Kept): void {
  if (name === undefined) return;
  kept.delete(name);
  kept.set(name, it);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value!);
}

export function SchemaForm(props: SchemaFormProps) {
  const text = stringify(props.schema);
  // lists are read again and again; the same schema in a new object is no reason to begin anew
  const root = useMemo(() => props.schema, [text]);
  return <Whole key={`${props.keep ?? ""} ${text}`} {...props} schema={root} schemaText={text} />;
}

function Whole({ schema: root, schemaText, value, onSubmit, submit, busy = false, problem = null, disabled = "", keep, label, extra }: SchemaFormProps & { schemaText: string }) {
  const id = useId();
  const form = useRef<HTMLFormElement>(null);
  const [{ draft, json }, setHeld] = useState<Omit<Kept, "schema">>(() => {
    const before = keep === undefined ? undefined : kept.get(keep);
    if (before !== undefined && before.schema === schemaText) return before;
    return { draft: start(root, root, value), json: null };
  });
  const [tried, setTried] = useState(false);
  const [jsonTrouble, setJsonTrouble] = useState("");
  const [sending, setSending] = useState<unknown>(ABSENT);
  const [refused, setRefused] = useState<Problem | null>(null);
  const intent = useRef<{ text: string; key: string } | null>(null);
  const isSending = useRef(false);
  const goTo = useRef(false);

  const shape = shapeOf(root, root);
  const isBusy = busy || sending !== ABSENT;
  const trouble = problem ?? refused;
  const change = (next: Omit<Kept, "schema">): void => {
    keepDraft(keep, { ...next, schema: schemaText });
    setRefused(null);
    setHeld(next);
  };

  const evaluate = (): { value: unknown; misfits: Misfit[] } => {
    const misfits: Misfit[] = [];
    let found: unknown;
    if (json === null) {
      found = read(draft, root, root, misfits);
      if (found === ABSENT && misfits.length === 0) misfits.push({ path: "", text: "This is needed." });
    } else {
      try {
        found = parseTyped(json);
      } catch (error) {
        return { value: ABSENT, misfits: [{ path: "", text: json.trim() === "" ? "Write some JSON." : notJson(json, error) }] };
      }
    }
    if (found !== ABSENT) {
      const read = new Set(misfits.map((it) => it.path));
      misfits.push(...check(root, root, found).filter((it) => !read.has(it.path)));
    }
    return { value: found, misfits };
  };

  const send = (given: unknown): void => {
    if (isSending.current || busy || disabled !== "") return;
    const text = stringify(given);
    if (intent.current?.text !== text) intent.current = { text, key: newKey() };
    isSending.current = true;
    setSending(given);
    setRefused(null);
    void Promise.resolve().then(() => onSubmit(given, intent.current!.key)).then(
      () => {
        intent.current = null; // the same value sent again is another intent
        if (keep !== undefined) kept.delete(keep);
      },
      (error: unknown) => {
        setRefused(problemOf(error));
        goTo.current = true;
      },
    ).finally(() => {
      isSending.current = false;
      setSending(ABSENT);
    });
  };

  const trySend = (): void => {
    const { value: found, misfits } = evaluate();
    if (misfits.length === 0) return send(found);
    setTried(true);
    goTo.current = true;
  };

  const misfits = useMemo(() => {
    const own = tried ? evaluate().misfits : [];
    const theirs = trouble !== null && trouble.status >= 400 && trouble.status < 500 ? placesIn(trouble.detail ?? "") : [];
    return inOrder([...own, ...theirs], json === null ? draft : null);
  }, [tried, draft, json, trouble]);
  const byPath = useMemo(() => nearest(misfits, json === null ? draft : null), [misfits, draft, json]);

  useLayoutEffect(() => {
    if (!goTo.current) return;
    goTo.current = false;
    const fields = byPath.size;
    const first = fields === 1 ? form.current?.querySelector<HTMLElement>('[aria-invalid="true"], .form-field.bad input, .form-field.bad button') : null;
    (first ?? form.current?.querySelector<HTMLElement>(".form-summary"))?.focus();
  });

  const toJson = (): void => {
    const found = read(draft, root, root, []);
    setJsonTrouble("");
    change({ draft, json: found === ABSENT ? "" : stringify(found, 2) });
  };
  const toFields = (): void => {
    try {
      change({ draft: json === null || json.trim() === "" ? draft : start(root, root, parseTyped(json)), json: null });
      setJsonTrouble("");
    } catch (error) {
      setJsonTrouble(notJson(json!, error));
    }
  };

  const isApproval = shape.kind === "boolean" && !shape.nullable && json === null;
  const hasFields = shape.kind !== "json" && shape.kind !== "const" && shape.kind !== "null" && !isApproval;
  const context: Context = { root, id, byPath, submit: trySend };
  return (
    <form
      ref={form} class="form" noValidate aria-label={label} aria-busy={isBusy}
      onSubmit={(event) => {
        event.preventDefault();
        if (!isApproval) trySend();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !isApproval) {
          event.preventDefault();
          trySend();
        }
      }}
    >
      <div class="form-summary" role="alert" tabIndex={-1}>
        {trouble !== null && <ProblemNote problem={trouble} />}
        {byPath.size > 1 && (
          <div class="form-problem">
            <p class="form-problem-title"><span aria-hidden="true">✗ </span>{misfits.length} things to mend:</p>
            <ul>
              {misfits.slice(0, 20).map((it) => (
                <li key={it.path + it.text}>
                  <button type="button" class="form-to" onClick={() => focusField(id, it.path, byPath)}>{placeOf(it.path) || "The whole"}</button>: {visible(it.text)}
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
      {json !== null ? (
        <JsonText
          context={context} path="" text={json} label="JSON" about={shape.kind === "json" ? "" : "The whole value, exactly as it is sent."}
          error={jsonTrouble || (byPath.get("") ?? []).join(" ")}
          onText={(text) => change({ draft, json: text })} schema={root}
        />
      ) : shape.kind === "const" ? (
        <p class="form-const">The only possible value is <code>{summary(constant(shape.schema))}</code>.</p>
      ) : shape.kind === "null" ? (
        <p class="form-const">Nothing has to be given.</p>
      ) : !isApproval && (
        <Field context={context} schema={root} draft={draft} path="" needed label={label ?? ""} whole onDraft={(next) => change({ draft: next, json: null })} />
      )}
      {isApproval && typeof shape.schema.description === "string" && <p class="hint">{visible(shape.schema.description)}</p>}
      {disabled !== "" && <p class="form-disabled">{disabled}</p>}
      <div class="form-actions">
        {isApproval ? [true, false].map((answer) => (
          <button
            key={String(answer)} type="button" class={`button form-yesno${answer ? " primary" : ""}`} aria-disabled={isBusy || disabled !== ""}
            onClick={() => send(answer)}
          >{sending === answer ? "Sending …" : answer ? <><span aria-hidden="true">✓</span> Yes</> : <><span aria-hidden="true">✗</span> No</>}</button>
        )) : (
          <button type="submit" class="button primary" aria-disabled={isBusy || disabled !== ""} title="Ctrl+Enter">
            {isBusy ? "Sending …" : submit}
          </button>
        )}
        {hasFields && (
          <button type="button" class="button quiet" onClick={json === null ? toJson : toFields}>{json === null ? "Edit as JSON" : "Edit in fields"}</button>
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
  else if (draft.of === "map") for (const it of draft.entries) yield* fieldsOf(it.draft, `${path}/${pointer(it.name)}`);
  else if (draft.of === "maybe" && draft.on) yield* fieldsOf(draft.draft, path);
  else if (draft.of === "union" && draft.drafts.has(draft.at)) yield* fieldsOf(draft.drafts.get(draft.at)!, path);
}

/** What is wrong, in the order of the fields. */
function inOrder(misfits: Misfit[], draft: Draft | null): Misfit[] {
  if (draft === null || misfits.length < 2) return misfits;
  const places = new Map([...fieldsOf(draft, "")].map((path, at) => [path, at]));
  const placeIn = (path: string): number => {
    while (path !== "" && !places.has(path)) path = path.slice(0, path.lastIndexOf("/"));
    return places.get(path) ?? 0;
  };
  return misfits.sort((one, other) => placeIn(one.path) - placeIn(other.path));
}

/** What is said at which field: the nearest one around the place that is wrong. */
function nearest(misfits: readonly Misfit[], draft: Draft | null): Map<string, string[]> {
  const fields = new Set(draft === null ? [""] : fieldsOf(draft, ""));
  const found = new Map<string, string[]>();
  for (const it of misfits) {
    let path = it.path;
    while (path !== "" && !fields.has(path)) path = path.slice(0, path.lastIndexOf("/"));
    const inside = placeOf(it.path.slice(path.length));
    const texts = found.get(path);
    const text = inside === "" ? it.text : `${inside}: ${it.text}`;
    if (texts === undefined) found.set(path, [text]);
    else if (texts.length < 10) texts.push(text);
  }
  return found;
}

/** A path in words: "address › lines › 2". */
function placeOf(path: string): string {
  const parts = path.split("/").slice(1).map((it) => (/^\d+$/.test(it) ? String(Number(it) + 1) : it.replace(/~1/g, "/").replace(/~0/g, "~")));
  return visible(parts.join(" › "));
}

const idOf = (id: string, path: string): string => `${id}-${encodeURIComponent(path)}`;

function focusField(id: string, path: string, byPath: ReadonlyMap<string, unknown>): void {
  while (path !== "" && !byPath.has(path)) path = path.slice(0, path.lastIndexOf("/"));
  const field = document.getElementById(idOf(id, path));
  (field?.matches("input, textarea, select") ? field : field?.querySelector<HTMLElement>("input, textarea, select, button"))?.focus();
}

// -- fields -------------------------------------------------------------------------------------------------------------

interface Context {
  root: Schema;
  id: string;
  byPath: ReadonlyMap<string, string[]>;
  submit: () => void;
}

interface FieldProps {
  context: Context; schema: Schema; draft: Draft; path: string; needed: boolean; label: string;
  /** It is the whole value: its label says nothing. */
  whole?: boolean;
  onDraft: (draft: Draft) => void;
}

/** The attributes that tie a control to its label, its texts and what is wrong. */
interface Tied { id: string; "aria-describedby": string | undefined; "aria-invalid": boolean; "aria-required": boolean }

function Field(props: FieldProps) {
  const { context, schema, draft, path, needed, label, whole = false, onDraft } = props;
  const shape = shapeOf(schema, context.root);
  const own = shape.schema;
  const name = typeof own.title === "string" && !whole && !fromClass(schema) ? own.title : label;
  const about = typeof own.description === "string" ? visible(own.description) : "";
  const errors = context.byPath.get(path) ?? [];
  const id = idOf(context.id, path);
  const tied: Tied = {
    id, "aria-describedby": [about && `${id}-about`, hintOf(shape) && `${id}-hint`, errors.length > 0 && `${id}-wrong`].filter(Boolean).join(" ") || undefined,
    "aria-invalid": errors.length > 0, "aria-required": needed && !shape.nullable && shape.kind !== "text",
  };
  const star = !whole && needed && !shape.nullable;
  const wrong = errors.length > 0 && <p class="wrong" id={`${id}-wrong`}><span aria-hidden="true">✗ </span>{visible(errors.join(" "))}</p>;
  const texts = (
    <>
      {about && <p class="hint" id={`${id}-about`}>{about}</p>}
      {hintOf(shape) && <p class="hint" id={`${id}-hint`}>{hintOf(shape)}</p>}
    </>
  );
  const bad = errors.length > 0 ? " bad" : "";
  const Title = <>{visible(name)}{star && <span class="form-star" aria-hidden="true"> *</span>}{!star && !whole && !needed && own.default === undefined && <span class="form-optional"> optional</span>}</>;

  const single = (control: JSX.Element): JSX.Element => (
    <div class={`form-field${bad}`}>
      <label class={whole && name === "" ? "unseen" : "label"} htmlFor={id}>{name === "" ? "Value" : Title}</label>
      {texts}
      {control}
      {wrong}
    </div>
  );
  const group = (content: ComponentChildren, kind = ""): JSX.Element => (
    <fieldset class={`form-field form-group${kind}${bad}${whole ? " whole" : ""}`} id={id} aria-describedby={tied["aria-describedby"]} tabIndex={-1}>
      <legend class={whole && name === "" ? "unseen" : "label"}>{name === "" ? "Value" : Title}</legend>
      {texts}
      {wrong}
      {content}
    </fieldset>
  );

  switch (draft.of) {
    case "const": return null;
    case "json": return single(<JsonArea tied={tied} text={draft.text} onText={(text) => onDraft({ of: "json", text })} />);
    case "text": return single(<TextControl shape={shape} tied={tied} text={draft.text} whole={whole} onText={(text) => onDraft({ of: "text", text })} />);
    case "flag": {
      const none = shape.nullable || (!needed && own.default === undefined);
      const options = [{ value: true, word: "Yes" }, { value: false, word: "No" }, ...(none ? [{ value: null, word: "Not given" }] : [])];
      return group(<Radios name={id} at={options.findIndex((it) => it.value === draft.value)} words={options.map((it) => it.word)} bad={errors.length > 0}
        onAt={(at) => onDraft({ of: "flag", value: options[at]!.value })} />);
    }
    case "choice": {
      const words = shape.choices.map((it) => visible(it.label));
      const none = shape.nullable || (!needed && own.default === undefined);
      if (words.length <= 5 && words.every((it) => it.length <= 40)) {
        const at = draft.at < 0 && none ? words.length : draft.at;
        return group(<Radios name={id} at={at} words={none ? [...words, "Not given"] : words} bad={errors.length > 0}
          onAt={(chosen) => onDraft({ of: "choice", at: chosen === words.length ? -1 : chosen })} />);
      }
      return single(
        <select {...tied} class="input" value={String(draft.at)} onChange={(event) => onDraft({ of: "choice", at: Number(event.currentTarget.value) })}>
          <option value="-1">{none ? "Not given" : "Choose …"}</option>
          {words.map((it, at) => <option key={at} value={String(at)}>{it}</option>)}
        </select>,
      );
    }
    case "choices": return group(
      <div class="form-checks">
        {shape.choices.map((it, at) => (
          <label key={at} class="form-check">
            <input type="checkbox" checked={draft.at.includes(at)}
              onChange={(event) => onDraft({ of: "choices", at: event.currentTarget.checked ? [...draft.at, at] : draft.at.filter((one) => one !== at) })} />
            {visible(it.label)}
          </label>
        ))}
      </div>,
    );
    case "list": return group(<Items {...props} draft={draft} shape={shape} />);
    case "map": return group(<Entries {...props} draft={draft} shape={shape} />);
    case "object": {
      const required = neededOf(own);
      const content = propertiesOf(own).map(([key, it]) => (
        <Field key={key} context={context} schema={it} draft={draft.fields.get(key) ?? { of: "const" }} path={`${path}/${pointer(key)}`} needed={required.includes(key)}
          label={key} onDraft={(next) => onDraft({ ...draft, fields: new Map(draft.fields).set(key, next) })} />
      ));
      if (content.length === 0) content.push(<p class="hint">Nothing has to be given.</p>);
      return whole ? <div class={`form-object${bad}`} id={id}>{texts}{wrong}{content}</div> : group(content, " inner");
    }
    case "union": {
      const words = shape.options.map((it) => visible(nameOf(it, context.root)));
      const inner = draft.drafts.get(draft.at);
      const choose = (at: number): void => onDraft({
        of: "union", at, drafts: draft.drafts.has(at) ? draft.drafts : new Map(draft.drafts).set(at, start(shape.options[at]!, context.root)),
      });
      return group(
        <>
          {words.length <= 6 ? <Radios name={id} at={draft.at} words={words} bad={false} onAt={choose} />
            : <select class="input" aria-label="Kind" value={String(draft.at)} onChange={(event) => choose(Number(event.currentTarget.value))}>
                {words.map((it, at) => <option key={at} value={String(at)}>{it}</option>)}
              </select>}
          {inner !== undefined && (
            <Field key={draft.at} context={{ ...context, id: `${context.id}-${draft.at}`, byPath: inner.of === "object" ? without(context.byPath, path) : context.byPath }}
              schema={shape.options[draft.at]!} draft={inner} path={path} needed label={words[draft.at]!} whole
              onDraft={(next) => onDraft({ ...draft, drafts: new Map(draft.drafts).set(draft.at, next) })} />
          )}
        </>,
      );
    }
    case "maybe": return (
      <div class={`form-maybe${bad}`} id={draft.on ? undefined : id}>
        <label class="form-check">
          <input type="checkbox" checked={draft.on} aria-describedby={draft.on ? undefined : tied["aria-describedby"]}
            onChange={(event) => onDraft({
              of: "maybe", on: event.currentTarget.checked, draft: event.currentTarget.checked && draft.draft.of === "const" ? begun(shape, context.root) : draft.draft,
            })} />
          {name === "" ? "Give a value" : <>Give <b>{visible(name)}</b></>}
        </label>
        {!draft.on && texts}
        {draft.on ? <Field {...props} draft={draft.draft} needed /> : wrong}
      </div>
    );
  }
}

/** Whether the title of a schema is that of the class that it refers to, which is no name for a field. */
const fromClass = (schema: Schema): boolean => schema.title === undefined;

function without(byPath: ReadonlyMap<string, string[]>, path: string): ReadonlyMap<string, string[]> {
  if (!byPath.has(path)) return byPath;
  const found = new Map(byPath);
  found.delete(path);
  return found;
}

function hintOf(shape: Shape): string {
  const { schema } = shape;
  const said: string[] = [];
  if (shape.kind === "text" || shape.kind === "number" || shape.kind === "decimal") {
    const format = FORMATS[String(schema.format)];
    if (format?.hint) said.push(`${format.hint[0]!.toUpperCase()}${format.hint.slice(1)}.`);
    if (format?.input === "datetime-local") said.push("In the time zone of this device.");
    if (schema.contentEncoding === "base64") said.push("Bytes, written as base64.");
    if (typeof schema.minLength === "number" && schema.minLength > 1) said.push(`At least ${schema.minLength} characters.`);
    if (typeof schema.maxLength === "number") said.push(`At most ${schema.maxLength} characters.`);
    const least = schema.minimum ?? schema.exclusiveMinimum, most = schema.maximum ?? schema.exclusiveMaximum;
    if (least !== undefined && most !== undefined) said.push(`From ${String(least)} to ${String(most)}${schema.minimum === undefined || schema.maximum === undefined ? ", limits excluded" : ""}.`);
    else if (least !== undefined) said.push(schema.minimum !== undefined ? `${String(least)} or more.` : `More than ${String(least)}.`);
    else if (most !== undefined) said.push(schema.maximum !== undefined ? `${String(most)} or less.` : `Less than ${String(most)}.`);
    if (Array.isArray(schema.examples) && schema.examples.length > 0) said.push(`Such as ${summary(schema.examples[0], 80)}.`);
    if (shape.nullable) said.push("Left empty: null.");
  }
  return visible(said.join(" "));
}

// -- controls -----------------------------------------------------------------------------------------------------------

function Radios({ name, at, words, bad, onAt }: { name: string; at: number; words: readonly string[]; bad: boolean; onAt: (at: number) => void }) {
  return (
    <div class="form-radios">
      {words.map((word, own) => (
        <label key={own} class="form-radio">
          <input type="radio" name={`${name}-radio`} checked={own === at} aria-invalid={bad || undefined} onChange={() => onAt(own)} />
          <span>{word}</span>
        </label>
      ))}
    </div>
  );
}

interface TextProps { shape: Shape; tied: Tied; text: string; whole: boolean; onText: (text: string) => void }

function TextControl({ shape, tied, text, whole, onText }: TextProps) {
  const { schema } = shape;
  if (shape.kind !== "text") {
    return <input {...tied} class="input form-number" inputMode={schema.type === "integer" ? "numeric" : "decimal"} autoComplete="off" spellcheck={false}
      value={text} onInput={(event) => onText(event.currentTarget.value)} />;
  }
  const input = FORMATS[String(schema.format)]?.input;
  if (input === "datetime-local") {
    const local = toLocal(text);
    if (local !== null) {
      return <input {...tied} type="datetime-local" step="1" class="input form-short" value={local} onInput={(event) => onText(fromLocal(event.currentTarget.value))} />;
    }
  } else if ((input === "date" && /^(\d{4}-\d\d-\d\d)?$/.test(text)) || (input === "time" && /^(\d\d:\d\d(:\d\d)?)?$/.test(text))) {
    return <input {...tied} type={input} step={input === "time" ? "1" : undefined} class="input form-short" value={text} onInput={(event) => onText(event.currentTarget.value)} />;
  } else if (input === "password") {
    return <input {...tied} type="password" autoComplete="off" class="input" value={text} onInput={(event) => onText(event.currentTarget.value)} />;
  }
  const short = input !== undefined || schema.pattern !== undefined || (typeof schema.maxLength === "number" && schema.maxLength <= 80);
  if (short && !text.includes("\n")) {
    return <input {...tied} class="input" inputMode={input === "email" ? "email" : input === "url" ? "url" : input === "decimal" ? "decimal" : undefined}
      autoComplete="off" spellcheck={input === undefined} value={text} onInput={(event) => onText(event.currentTarget.value)} />;
  }
  return <textarea {...tied} class="input form-text" rows={rowsOf(text, whole ? 3 : 1, 14)} value={text} onInput={(event) => onText(event.currentTarget.value)} />;
}

function rowsOf(text: string, least: number, most: number): number {
  let rows = 0;
  for (let from = 0; from <= text.length && rows < most; rows++) {
    const end = text.indexOf("\n", from);
    const length = (end < 0 ? text.length : end) - from;
    rows += Math.floor(length / 70);
    if (end < 0) {
      rows++;
      break;
    }
    from = end + 1;
  }
  return Math.min(Math.max(rows, least), most);
}

const two = (number: number): string => String(number).padStart(2, "0");

/** A time with a zone as the browser's control wants it; null if the control would lose something of it. */
export function toLocal(text: string): string | null {
  if (text === "") return "";
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(text)) return null;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return null;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** What the browser's control gives, with the zone of this device. */
export function fromLocal(text: string): string {
  if (text === "") return "";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return "";
  const east = -at.getTimezoneOffset();
  const zone = `${east < 0 ? "-" : "+"}${two(Math.floor(Math.abs(east) / 60))}:${two(Math.abs(east) % 60)}`;
  return `${text.length === 16 ? `${text}:00` : text.slice(0, 19)}${zone}`;
}

function JsonArea({ tied, text, onText }: { tied: Tied; text: string; onText: (text: string) => void }) {
  return <textarea {...tied} class="input form-json" rows={rowsOf(text, 3, 20)} spellcheck={false} autoCapitalize="off" autoComplete="off" value={text}
    onInput={(event) => onText(event.currentTarget.value)} />;
}

function JsonText({ context, path, text, label, about, error, schema, onText }: {
  context: Context; path: string; text: string; label: string; about: string; error: string; schema: Schema; onText: (text: string) => void;
}) {
  const id = idOf(context.id, path);
  const tied: Tied = {
    id, "aria-describedby": [about && `${id}-about`, error && `${id}-wrong`].filter(Boolean).join(" ") || undefined, "aria-invalid": error !== "", "aria-required": true,
  };
  return (
    <div class={`form-field${error ? " bad" : ""}`}>
      <label class="label" htmlFor={id}>{label}</label>
      {about && <p class="hint" id={`${id}-about`}>{about}</p>}
      <JsonArea tied={tied} text={text} onText={onText} />
      {error && <p class="wrong" id={`${id}-wrong`}><span aria-hidden="true">✗ </span>{visible(error)}</p>}
      <details class="form-schema"><summary>What fits (JSON Schema)</summary><Value value={schema} open={3} /></details>
    </div>
  );
}

function Items({ context, draft, shape, path, label, onDraft }: FieldProps & { draft: Draft & { of: "list" }; shape: Shape }) {
  const { schema } = shape;
  const fixed = shape.kind === "tuple";
  const added = useRef(false);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!added.current) return;
    added.current = false;
    const items = box.current?.querySelectorAll(":scope > .form-item");
    items?.[items.length - 1]?.querySelector<HTMLElement>("input, textarea, select")?.focus();
  });
  const set = (items: typeof draft.items): void => onDraft({ of: "list", items });
  const full = typeof schema.maxItems === "number" && draft.items.length >= schema.maxItems;
  return (
    <div ref={box} class="form-items">
      {draft.items.map((it, at) => (
        <div key={it.key} class="form-item">
          <div class="grow">
            <Field context={context} schema={itemOf(schema, at)} draft={it.draft} path={`${path}/${at}`} needed label={fixed ? String(at + 1) : `${label || "Item"} ${at + 1}`}
              onDraft={(next) => set(draft.items.map((other) => (other.key === it.key ? { key: it.key, draft: next } : other)))} />
          </div>
          {!fixed && (
            <button type="button" class="button quiet form-remove" aria-label={`Remove ${label || "item"} ${at + 1}`}
              onClick={(event) => {
                const add = event.currentTarget.closest(".form-items")?.querySelector<HTMLElement>(":scope > .form-add");
                set(draft.items.filter((other) => other.key !== it.key));
                add?.focus();
              }}>Remove</button>
          )}
        </div>
      ))}
      {!fixed && (
        <button type="button" class="button form-add" disabled={full}
          onClick={() => {
            added.current = true;
            set([...draft.items, { key: newItem(), draft: start(itemOf(schema, draft.items.length), context.root) }]);
          }}>{draft.items.length === 0 ? "Add an item" : "Add another"}</button>
      )}
    </div>
  );
}

function Entries({ context, draft, shape, path, onDraft }: FieldProps & { draft: Draft & { of: "map" }; shape: Shape }) {
  const inner = valuesOf(shape.schema);
  const added = useRef(false);
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!added.current) return;
    added.current = false;
    const names = box.current?.querySelectorAll<HTMLElement>(":scope > .form-item .form-key");
    names?.[names.length - 1]?.focus();
  });
  const set = (entries: typeof draft.entries): void => onDraft({ of: "map", entries });
  return (
    <div ref={box} class="form-items">
      {draft.entries.map((it, at) => (
        <div key={it.key} class="form-item">
          <label class="form-keyed"><span class="label">Key</span>
            <input class="input form-key" value={it.name} autoComplete="off" spellcheck={false}
              onInput={(event) => {
                const name = event.currentTarget.value;
                set(draft.entries.map((other) => (other.key === it.key ? { ...other, name } : other)));
              }} />
          </label>
          <div class="grow">
            <Field context={{ ...context, id: `${context.id}-${it.key}` }} schema={inner} draft={it.draft} path={`${path}/${pointer(it.name)}`} needed label="Value"
              onDraft={(next) => set(draft.entries.map((other) => (other.key === it.key ? { ...other, draft: next } : other)))} />
          </div>
          <button type="button" class="button quiet form-remove" aria-label={`Remove key ${it.name || at + 1}`}
            onClick={(event) => {
              const add = event.currentTarget.closest(".form-items")?.querySelector<HTMLElement>(":scope > .form-add");
              set(draft.entries.filter((other) => other.key !== it.key));
              add?.focus();
            }}>Remove</button>
        </div>
      ))}
      <button type="button" class="button form-add"
        onClick={() => {
          added.current = true;
          set([...draft.entries, { key: newItem(), name: "", draft: start(inner, context.root) }]);
        }}>{draft.entries.length === 0 ? "Add a key" : "Add another"}</button>
    </div>
  );
}
