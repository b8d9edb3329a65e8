/** Starts a flow: its value as a form, and an id, labels and a delay for who wants them. */
import { useId, useState } from "preact/hooks";
import { useAccess } from "../app/access";
import { go } from "../app/route";
import { SchemaForm } from "../forms/form";
import { digest } from "../graph/client";
import { HttpError, onForget, path, post } from "../wire/http";
import type { Contract, ExecutionInfo } from "../wire/types";
import { isAny } from "./describe";
import { chosen, NO_OPTIONS, optionsOf, type Typed } from "./options";

export function StartForm({ contract }: { contract: Contract }) {
  const access = useAccess();
  const { flow } = contract;
  const reason = !contract.has_code
    ? "This server does not have the code of this flow, so it cannot start it. Start it on a server or in a program that has."
    : access.readOnly;
  return reason ? <p class="flow-reason" role="note">{reason}</p> : <Form key={flow} contract={contract} />;
}

const typedBefore = new Map<string, Typed>();
onForget(() => typedBefore.clear());

function Form({ contract }: { contract: Contract }) {
  const { flow, start } = contract;
  const [typed, setTyped] = useState(typedBefore.get(flow) ?? NO_OPTIONS);
  const [shown, setShown] = useState(chosen(typed) > 0);
  const [tried, setTried] = useState(false);
  const set = (change: Partial<Typed>): void => {
    const next = { ...typed, ...change };
    typedBefore.set(flow, next);
    setTyped(next);
  };
  const { options, wrong } = optionsOf(typed);
  const isWrong = Object.keys(wrong).length > 0;
  const number = chosen(typed), id = useId();
  const send = async (value: unknown, intent: string): Promise<void> => {
    if (isWrong) {
      setTried(true);
      setShown(true);
      document.getElementById(`${id}-${Object.keys(wrong)[0]!}`)?.focus();
      throw new HttpError({ title: "Not started", detail: "An option below does not fit.", status: 0, code: "option" });
    }
    // who starts the same value with other options means another start
    const key = number === 0 ? intent : `${intent}.${digest(JSON.stringify(options))}`;
    const info = await post<ExecutionInfo>(path("flows", flow, "executions"), { value, ...options }, { idempotency: key });
    typedBefore.delete(flow);
    go({ view: "execution", id: info.id });
  };
  return (
    <div class="flow-start">
      {isAny(start) && <p class="hint">The flow does not say what it takes.</p>}
      <SchemaForm
        schema={start} submit="Start" onSubmit={send} keep={`start ${flow}`} label={`What to start ${flow.slice(0, 100)} with`}
        extra={(
          <button class="button quiet" type="button" aria-expanded={shown} aria-controls={`${id}-options`} onClick={() => setShown(!shown)}>
            <span aria-hidden="true">{shown ? "▾" : "▸"}</span> Id, labels, delay{number > 0 ? ` (${number})` : ""}
          </button>
        )}
      />
      <div class="flow-options" id={`${id}-options`} hidden={!shown}>
        <Option id={`${id}-id`} name="Id" hint="Made for you if empty." wrong={tried ? wrong.id : undefined}>
          {(props) => <input class="input mono" {...props} value={typed.id} maxLength={600} autoComplete="off" spellcheck={false} onInput={(event) => set({ id: event.currentTarget.value })} />}
        </Option>
        <Option id={`${id}-delay`} name="Delay in seconds" hint="It begins at once if empty." wrong={tried ? wrong.delay : undefined}>
          {(props) => <input class="input" {...props} value={typed.delay} inputMode="decimal" autoComplete="off" onInput={(event) => set({ delay: event.currentTarget.value })} />}
        </Option>
        <Option id={`${id}-labels`} name="Labels" hint="One on each line, as name: value." wrong={tried ? wrong.labels : undefined}>
          {(props) => <textarea class="input flow-labels" {...props} rows={2} value={typed.labels} spellcheck={false} onInput={(event) => set({ labels: event.currentTarget.value })} />}
        </Option>
      </div>
    </div>
  );
}

interface Control { id: string; "aria-describedby": string; "aria-invalid": boolean }

function Option({ id, name, hint, wrong, children }: { id: string; name: string; hint: string; wrong: string | undefined; children: (props: Control) => preact.JSX.Element }) {
  return (
    <div class="flow-option">
      <label class="label" for={id}>{name}</label>
      {children({ id, "aria-describedby": `${id}-hint`, "aria-invalid": wrong !== undefined })}
      <p class={wrong === undefined ? "hint" : "wrong"} id={`${id}-hint`}>{wrong ?? hint}</p>
    </div>
  );
}
