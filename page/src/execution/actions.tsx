/** What can be done with an execution: cancel, retry, fork at a moment. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { useAccess } from "../app/access";
import { Dialog } from "../app/dialog";
import { Link } from "../app/link";
import { go } from "../app/route";
import { Trouble } from "../app/ui";
import { FINAL } from "../status";
import { isAbort, newKey, path, post, problemOf } from "../wire/http";
import { parseTyped } from "../wire/json";
import type { ExecutionInfo, Problem } from "../wire/types";

type Verb = "cancel" | "retry" | "fork";

export function Actions({ info, moment, live }: { info: ExecutionInfo; moment: number; live: boolean }) {
  const [open, setOpen] = useState<Verb | null>(null);
  const { readOnly, noCode } = useAccess();
  const close = (): void => setOpen(null);
  const ended = FINAL.has(info.status);
  const code = readOnly || noCode(info.flow);
  const part = info.parent === null ? "" : "This is part of another run: act on that one.";
  return (
    <div class="row exec-actions">
      <Link class="button" to={{ view: "compare", one: info.id }}>Compare</Link>
      <Action words={live ? "Fork" : "Fork here"} onDo={() => setOpen("fork")} reason={code || part} />
      {info.status === "failed" && <Action words="Retry" onDo={() => setOpen("retry")} reason={code || part} />}
      {!ended && <Action words="Cancel" danger onDo={() => setOpen("cancel")} reason={readOnly || part} />}
      {open === "cancel" && <CancelDialog info={info} onClose={close} />}
      {open === "retry" && <RetryDialog info={info} onClose={close} />}
      {open === "fork" && <ForkDialog info={info} moment={moment} onClose={close} />}
    </div>
  );
}

/** A button that says why it can do nothing, also to those who cannot point at it. */
function Action({ words, onDo, reason, danger }: { words: string; onDo(): void; reason: string; danger?: boolean }) {
  const off = reason !== "";
  return (
    <button class={`button ${danger ? "danger" : ""}`} type="button" aria-disabled={off} title={off ? reason : undefined}
      aria-label={off ? `${words}. Not possible: ${reason}` : undefined} onClick={() => !off && onDo()}>
      {words}
    </button>
  );
}

/** One intent of a person: it can be sent again after a failure, and happens once. */
function useIntent(): { busy: boolean; problem: Problem | null; send<T>(call: (key: string, signal: AbortSignal) => Promise<T>, then: (found: T) => void): void; renew(): void } {
  const key = useRef("");
  if (key.current === "") key.current = newKey();
  const abort = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => () => abort.current?.abort(), []);
  return {
    busy,
    problem,
    send(call, then) {
      if (busy) return;
      const mine = new AbortController();
      abort.current = mine;
      setBusy(true);
      setProblem(null);
      call(key.current, mine.signal)
        .then((found) => {
          setBusy(false);
          then(found);
        })
        .catch((error: unknown) => {
          if (isAbort(error)) return;
          setBusy(false);
          setProblem(problemOf(error));
        });
    },
    renew() {
      key.current = "";
    },
  };
}

function Buttons({ words, busy, onClose, danger, keep = "Close", children }: {
  words: string; busy: boolean; onClose(): void; danger?: boolean; keep?: string; children?: ComponentChildren;
}) {
  return (
    <div class="dialog-buttons">
      {children}
      <button class="button" type="button" onClick={onClose}>{keep}</button>
      <button class={`button primary ${danger ? "danger" : ""}`} type="submit" disabled={busy}>{busy ? "Sending …" : words}</button>
    </div>
  );
}

function CancelDialog({ info, onClose }: { info: ExecutionInfo; onClose(): void }) {
  const { busy, problem, send, renew } = useIntent();
  const [reason, setReason] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    const body = reason.trim() === "" ? {} : { reason: reason.trim() };
    send((idempotency, signal) => post(path("executions", info.id, "cancel"), body, { idempotency, signal }), onClose);
  };
  return (
    <Dialog title="Cancel this run?" onClose={onClose}>
      <form onSubmit={submit} class="exec-form">
        <p>Chunks that run now are stopped, and nothing more is started. What it has done stays. This cannot be undone; a fork can go on from here.</p>
        <div>
          <label class="label" for="cancel-reason">Reason <span class="hint">(optional, it is recorded)</span></label>
          <input class="input" id="cancel-reason" value={reason} maxLength={500}
            onInput={(event) => {
              setReason(event.currentTarget.value);
              renew();
            }} />
        </div>
        {problem && <Trouble problem={problem} />}
        <Buttons words="Cancel run" keep="Keep it" danger busy={busy} onClose={onClose} />
      </form>
    </Dialog>
  );
}

function RetryDialog({ info, onClose }: { info: ExecutionInfo; onClose(): void }) {
  const { busy, problem, send, renew } = useIntent();
  const [force, setForce] = useState(false);
  const submit = (event: Event): void => {
    event.preventDefault();
    send((idempotency, signal) => post(path("executions", info.id, "retry"), force ? { force } : {}, { idempotency, signal }), () => {
      go({ view: "execution", id: info.id }); // what comes is not in the past
      onClose();
    });
  };
  return (
    <Dialog title="Run what has failed again?" onClose={onClose}>
      <form onSubmit={submit} class="exec-form">
        <p>It goes on from its state before the failure, with the same input. What was done before is not done again.</p>
        {info.error && <p class="mono exec-error-text">{info.error.slice(0, 500)}</p>}
        <label class="exec-check"><input type="checkbox" checked={force}
          onChange={(event) => {
            setForce(event.currentTarget.checked);
            renew();
          }} /> Even if the flow has changed since then</label>
        {problem && <Trouble problem={problem} />}
        <Buttons words="Retry" busy={busy} onClose={onClose} />
      </form>
    </Dialog>
  );
}

function ForkDialog({ info, moment, onClose }: { info: ExecutionInfo; moment: number; onClose(): void }) {
  const { busy, problem, send, renew } = useIntent();
  const [at] = useState(moment); // while it is open the run may go on
  const [id, setId] = useState("");
  const [state, setState] = useState("");
  const [wrong, setWrong] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    const body: Record<string, unknown> = { at };
    if (id.trim() !== "") body.id = id.trim();
    if (state.trim() !== "") {
      try {
        const found = parseTyped(state);
        if (typeof found !== "object" || found === null || Array.isArray(found)) throw new SyntaxError("write an object, such as {\"topic\": \"oars\"}");
        body.state = found;
      } catch (error) {
        setWrong(error instanceof Error ? error.message : String(error));
        return;
      }
    }
    send((idempotency, signal) => post<ExecutionInfo>(path("executions", info.id, "forks"), body, { idempotency, signal }), (made) => {
      onClose();
      go({ view: "execution", id: made.id });
    });
  };
  return (
    <Dialog title={`Fork at moment ${at.toLocaleString()}`} onClose={onClose}>
      <form onSubmit={submit} class="exec-form">
        <p>A new run begins with what this one had done up to moment {at.toLocaleString()}, and goes its own way from there. This run stays as it is.</p>
        <div>
          <label class="label" for="fork-id">Id of the new run <span class="hint">(optional)</span></label>
          <input class="input mono" id="fork-id" value={id} maxLength={500} autocomplete="off" spellcheck={false}
            onInput={(event) => {
              setId(event.currentTarget.value);
              renew();
            }} />
        </div>
        <div>
          <label class="label" for="fork-state">Change the state <span class="hint">(optional, JSON)</span></label>
          <textarea class="input mono" id="fork-state" value={state} spellcheck={false} placeholder={'{"topic": "oars"}'} aria-invalid={wrong !== ""}
            aria-describedby="fork-wrong"
            onInput={(event) => {
              setState(event.currentTarget.value);
              setWrong("");
              renew();
            }} />
          <p class="wrong" id="fork-wrong" role="alert">{wrong || " "}</p>
        </div>
        {problem && <Trouble problem={problem} />}
        <Buttons words="Fork" busy={busy} onClose={onClose} />
      </form>
    </Dialog>
  );
}
