/** What can be done with an execution: cancel, retry, fork at a moment. */
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { useAccess } from "../app/access";
import { Dialog } from "../app/dialog";
import { Link } from "../app/link";
import { go } from "../app/route";
import { ProblemNote } from "../forms/problem";
import type { Moment } from "../model/track";
import { FINAL } from "../status";
import { isAbort, newKey, path, post, problemOf } from "../wire/http";
import { isObject, parseTyped, stringify } from "../wire/json";
import type { ExecutionInfo, Problem } from "../wire/types";

const DIALOGS = { fork: ForkDialog, retry: RetryDialog, cancel: CancelDialog };

interface DialogProps { info: ExecutionInfo; moment: number; onClose(): void }

/** Why nothing can be forked at a moment; "" if it can. */
export function noFork(moment: Pick<Moment, "number" | "recorded">): string {
  if (moment.number < 1) return "Nothing has happened yet: start a new run instead.";
  if (FINAL.has(moment.recorded)) return "The run has ended at this moment: move the slider to an earlier one, and fork there.";
  return "";
}

export function Actions({ info, moment, live }: { info: ExecutionInfo; moment: Moment; live: boolean }) {
  const [open, setOpen] = useState<keyof typeof DIALOGS | null>(null);
  const { readOnly, noCode } = useAccess();
  const Open = open && DIALOGS[open];
  const part = info.parent === null ? "" : "This is part of another run: act on that one.";
  const code = readOnly || noCode(info.flow) || part;
  return (
    <div class="row exec-actions">
      <Link class="button" to={{ view: "compare", one: info.id }}>Compare</Link>
      <Action words={live ? "Fork" : "Fork here"} onDo={() => setOpen("fork")} reason={code || noFork(moment)} />
      {info.status === "failed" ? <Action words="Retry" onDo={() => setOpen("retry")} reason={code} />
        : <Action words="Cancel" danger onDo={() => setOpen("cancel")} reason={FINAL.has(info.status) ? "This run has ended." : readOnly || part} />}
      {Open && <Open info={info} moment={moment.number} onClose={() => setOpen(null)} />}
    </div>
  );
}

/** A button that says why it can do nothing, also to those who cannot point at it. */
function Action({ words, onDo, reason, danger }: { words: string; onDo(): void; reason: string; danger?: boolean }) {
  return (
    <button class={`button ${danger ? "danger" : ""}`} type="button" aria-disabled={reason !== ""} title={reason || undefined}
      aria-label={reason ? `${words}. Not possible: ${reason}` : undefined} onClick={() => !reason && onDo()}>
      {words}
    </button>
  );
}

/** A dialog that sends one call. `body` may throw why there is none yet; the same body is sent with the same key, so that
 * what is sent again after a failure happens once. */
function ActDialog({ title, act, keep = "Close", danger, to, body, words, onDone, onClose, children }: {
  title: string; act: string; keep?: string; danger?: boolean; to: string; body(): object | null;
  /** What the problems of this call mean, by their codes. */
  words?: Record<string, string>;
  onDone(made: ExecutionInfo): void; onClose(): void; children: ComponentChildren;
}) {
  const intent = useRef({ text: "", key: "" });
  const sent = useRef(new AbortController());
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => () => sent.current.abort(), []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const found = body();
    if (found === null || busy) return;
    const text = stringify(found);
    if (intent.current.text !== text) intent.current = { text, key: newKey() };
    setBusy(true);
    setProblem(null);
    try {
      const options = { idempotency: intent.current.key, signal: sent.current.signal };
      const made = await post<ExecutionInfo>(to, found, options);
      onClose();
      onDone(made);
    } catch (error) {
      if (isAbort(error)) return;
      setProblem(problemOf(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit} class="exec-form">
        {children}
        {problem && <div role="alert"><ProblemNote problem={problem} words={words} /></div>}
        <div class="dialog-buttons">
          <button class="button" type="button" onClick={onClose}>{keep}</button>
          <button class={`button primary ${danger ? "danger" : ""}`} type="submit" disabled={busy}>{busy ? "Sending …" : act}</button>
        </div>
      </form>
    </Dialog>
  );
}

/** A line of text that need not be given. */
function Optional({ label, hint, class: look = "", onText }: {
  label: string; hint: string; class?: string; onText(text: string): void;
}) {
  const id = useId();
  return (
    <div>
      <label class="label" for={id}>{label} <span class="hint">({hint})</span></label>
      <input class={`input ${look}`} id={id} maxLength={500} autocomplete="off" spellcheck={false}
        onInput={(event) => onText(event.currentTarget.value.trim())} />
    </div>
  );
}

function CancelDialog({ info, onClose }: DialogProps) {
  const [reason, setReason] = useState("");
  return (
    <ActDialog
      title="Cancel this run?" act="Cancel run" keep="Keep it" danger to={path("executions", info.id, "cancel")}
      body={() => (reason ? { reason } : {})} onDone={() => {}} onClose={onClose}
    >
      <p>Chunks that run now are stopped, and nothing more is started. This cannot be undone; a fork can go on from an earlier moment.</p>
      <Optional label="Reason" hint="optional, it is recorded" onText={setReason} />
    </ActDialog>
  );
}

function RetryDialog({ info, onClose }: DialogProps) {
  const [force, setForce] = useState(false);
  return (
    <ActDialog
      title="Run what has failed again?" act="Retry" to={path("executions", info.id, "retry")} body={() => (force ? { force } : {})}
      words={{
        not_possible: "This run cannot be retried: it has not failed, or goes on already.",
        definition_does_not_fit: "The flow has changed since this run failed. Tick the box to run it again nevertheless.",
      }}
      onDone={() => go({ view: "execution", id: info.id })} // what comes is not in the past
      onClose={onClose}
    >
      <p>It goes on from its state before the failure, with the same input. What was done before is not done again.</p>
      {info.error && <p class="mono exec-error-text">{info.error.slice(0, 500)}</p>}
      <label class="exec-check">
        <input type="checkbox" checked={force} onChange={(event) => setForce(event.currentTarget.checked)} /> Even if the flow has changed since then
      </label>
    </ActDialog>
  );
}

function ForkDialog({ info, moment, onClose }: DialogProps) {
  const [at] = useState(moment); // while it is open the run may go on
  const [id, setId] = useState("");
  const [state, setState] = useState("");
  const [wrong, setWrong] = useState("");
  const body = (): object | null => {
    const given = { at, id: id || undefined };
    if (!state.trim()) return given;
    try {
      const found = parseTyped(state);
      if (!isObject(found)) throw new SyntaxError('write an object, such as {"topic": "oars"}');
      return { ...given, state: found };
    } catch (error) {
      setWrong((error as Error).message);
      return null;
    }
  };
  return (
    <ActDialog
      title={`Fork at moment ${at.toLocaleString()}`} act="Fork" to={path("executions", info.id, "forks")} body={body}
      words={{
        not_possible: "This cannot be forked at this moment: choose an earlier one.",
        conflict: id === "" ? "This is not possible now." : "There is a run with this id already: choose another one.",
        records_trimmed: "What happened up to this moment was deleted: choose a later one.",
      }}
      onDone={(made) => go({ view: "execution", id: made.id })} onClose={onClose}
    >
      <p>A new run begins with what this one had done up to this moment, and goes its own way. This run stays as it is.</p>
      <Optional label="Id of the new run" hint="optional" class="mono" onText={setId} />
      <div>
        <label class="label" for="fork-state">Change the state <span class="hint">(optional, JSON)</span></label>
        <textarea class="input mono" id="fork-state" value={state} spellcheck={false} placeholder={'{"topic": "oars"}'}
          aria-invalid={wrong !== ""} aria-describedby="fork-wrong"
          onInput={(event) => {
            setState(event.currentTarget.value);
            setWrong("");
          }} />
        <p class="wrong" id="fork-wrong" role="alert">{wrong || " "}</p>
      </div>
    </ActDialog>
  );
}
