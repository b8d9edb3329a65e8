/** What may be done here: what the token grants, and of which flows the server has the code. */
import { useEffect, useState } from "preact/hooks";
import { get, HttpError, onForget, onSignIn } from "../wire/http";
import type { AccessInfo, FlowInfo } from "../wire/types";
import { useChanges } from "./live";

let access: AccessInfo | null = null;
let flows: FlowInfo[] | null = null;
const watchers = new Set<() => void>();
let reading = false;
let asked = false;

function read(): void {
  asked = true;
  if (reading) return;
  reading = true;
  Promise.all([
    get<AccessInfo>("access").catch((error: unknown) => {
      if (error instanceof HttpError && error.problem.status === 404) return null; // an earlier server
      throw error;
    }),
    get<FlowInfo[]>("flows"),
  ])
    .then(([found, all]) => {
      access = found ?? { name: "", act: true, flows: null };
      flows = all;
      for (const watcher of watchers) watcher();
    })
    .catch(() => {
      asked = false; // the views say what is wrong
    })
    .finally(() => {
      reading = false;
    });
}

onForget(() => {
  access = flows = null;
  reading = asked = false;
  for (const watcher of watchers) watcher();
});
onSignIn((signedIn) => signedIn && watchers.size > 0 && read());

export interface Access {
  /** Why nothing can be changed here; "" if it can. */
  readOnly: string;
  /** Why this flow cannot be started, forked or retried here; "" if it can. */
  noCode(flow: string): string;
  /** What the server has told of its flows, null before it has. */
  flows: FlowInfo[] | null;
}

const READ_ONLY = "Read only: here you can look, but not change anything.";

/** What may be done here. Until the server has said so, nothing. */
export function useAccess(): Access {
  const [, draw] = useState({});
  useEffect(() => {
    const watcher = (): void => draw({});
    watchers.add(watcher);
    if (!asked) read();
    watcher();
    return () => void watchers.delete(watcher);
  }, []);
  useChanges((_, resync) => {
    if (resync || !asked) read();
  });
  return {
    readOnly: access === null ? "Loading." : access.act ? "" : READ_ONLY,
    noCode(flow) {
      const found = flows?.find((it) => it.name === flow);
      return found?.has_code ? "" : `This server does not have the code of ${flow}.`;
    },
    flows,
  };
}
