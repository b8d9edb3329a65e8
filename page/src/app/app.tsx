/** The frame of the page: where one can go, whether the server answers, and the view of the address. */
import "./app.css";
import { Component, type ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useWaitingCount } from "../lists/questions";
import { visible } from "../values/text";
import { hasToken, isSignedIn, onForget, onSignIn, problemOf, signIn, signOut } from "../wire/http";
import { useAccess } from "./access";
import { later } from "./later";
import { Link } from "./link";
import { reconnect, useConnection } from "./live";
import { useRoute, type Route } from "./route";
import { Trouble, useNow } from "./ui";

const Runs = later(async () => (await import("../lists/runs")).Runs);
const Waiting = later(async () => (await import("../lists/waiting")).Waiting);
const FlowList = later(async () => (await import("../flows/list")).FlowList);
const FlowPage = later(async () => (await import("../flows/page")).FlowPage);
const ExecutionPage = later(async () => (await import("../execution/page")).ExecutionPage);
const Compare = later(async () => (await import("../compare/compare")).Compare);

export function App() {
  const route = useRoute();
  const [signedIn, setSignedIn] = useState(isSignedIn());
  useEffect(() => {
    setSignedIn(isSignedIn()); // it may have changed before we heard
    return onSignIn(setSignedIn);
  }, []);
  const [holder, setHolder] = useState(0); // who has signed in: what another token has shown does not stay
  useEffect(() => onForget(() => setHolder((it) => it + 1)), []);
  useEffect(() => {
    document.title = titleOf(route);
  }, [route]);
  const main = useRef<HTMLElement>(null);
  const skip = (): void => main.current?.focus();
  return (
    <div class="app">
      <button class="button app-skip" type="button" onClick={skip}>Skip to the content</button>
      <Navigation route={route} signedIn={signedIn} />
      <main class="app-main" ref={main} tabIndex={-1}>
        {signedIn ? <Guard key={`${holder} ${keyOf(route)}`}><View route={route} /></Guard> : <SignIn />}
      </main>
      {signedIn && <Notice />}
    </div>
  );
}

function View({ route }: { route: Route }) {
  switch (route.view) {
    case "runs":
      return <Runs route={route} />;
    case "waiting":
      return <Waiting />;
    case "flows":
      return <FlowList />;
    case "flow":
      return <FlowPage flow={route.flow} />;
    case "execution":
      return <ExecutionPage route={route} />;
    case "compare":
      return <Compare one={route.one} other={route.other} />;
  }
}

/** What begins anew when it changes. */
function keyOf(route: Route): string {
  if (route.view === "execution") return `execution ${route.id}`;
  if (route.view === "flow") return `flow ${route.flow}`;
  return route.view === "compare" ? `compare ${route.one} ${route.other}` : route.view;
}

function titleOf(route: Route): string {
  const words: Record<Route["view"], string> = {
    runs: "Runs", waiting: "Waiting for you", flows: "Flows", flow: "flow" in route ? (route.flow ?? "") : "",
    execution: "id" in route ? route.id : "", compare: "Two runs",
  };
  return `${visible(words[route.view].slice(0, 80))} · TriggerFlow`;
}

/** An error of the page itself takes away one view, not all of it. */
class Guard extends Component<{ children: ComponentChildren }, { error: unknown }> {
  state = { error: null as unknown };
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  componentDidCatch(error: unknown) {
    console.error(error);
  }
  render() {
    if (this.state.error === null) return this.props.children;
    return <Trouble problem={problemOf(this.state.error)} onAgain={() => this.setState({ error: null })} />;
  }
}

// -- navigation ---------------------------------------------------------------------------------------------------------

function Navigation({ route, signedIn }: { route: Route; signedIn: boolean }) {
  const waiting = useWaitingCount(signedIn);
  const { readOnly } = useAccess();
  const item = (to: Route, words: string, on: boolean, extra?: ComponentChildren) => (
    <Link class="app-item" to={to} aria-current={on ? "page" : undefined}>{words}{extra}</Link>
  );
  const none = waiting === "" || waiting === "0";
  return (
    <nav class="app-nav" aria-label="Main">
      <Link class="app-name" to={{ view: "runs" }} aria-label="TriggerFlow: all runs">
        <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" aria-hidden="true">
          <circle cx="4" cy="10" r="2.5" /><circle cx="16" cy="4" r="2.5" /><circle cx="16" cy="16" r="2.5" />
          <path d="M6.5 9 13.6 5.2M6.5 11l7.1 3.8" />
        </svg>
        <span>TriggerFlow</span>
      </Link>
      {item({ view: "waiting" }, "Waiting for you", route.view === "waiting",
        <span class={`app-count ${none ? "none" : ""}`} aria-label={none ? undefined : `${waiting} open questions`}>{waiting || "0"}</span>)}
      {item({ view: "runs" }, "Runs", route.view === "runs")}
      {item({ view: "flows" }, "Flows", route.view === "flows" || route.view === "flow")}
      <div class="app-foot">
        {signedIn && readOnly !== "" && readOnly !== "Loading." && <span title={readOnly}>Read only</span>}
        {signedIn && hasToken() && <button class="button quiet" type="button" onClick={signOut}>Sign out</button>}
      </div>
    </nav>
  );
}

// -- the connection -------------------------------------------------------------------------------------------------------

function Notice() {
  const { connection, problem, retryAt } = useConnection();
  const now = useNow();
  // The connection is told of when it is broken for a moment: a server that is restarted is back within a second.
  const [shown, setShown] = useState(false);
  const broken = connection === "broken" || connection === "ended";
  useEffect(() => {
    if (!broken) return setShown(false);
    const timer = setTimeout(() => setShown(true), 1000);
    return () => clearTimeout(timer);
  }, [broken]);
  const left = Math.ceil(retryAt / 1000 - now);
  const words = connection === "ended"
    ? (problem?.detail ?? problem?.title ?? "The server sends no more.")
    : `Not connected; trying again ${left > 1 ? `in ${left} s` : "now"}. What you see may be old.`;
  return (
    <div role="status">
      {broken && shown && (
        <div class="app-notice">
          <span><span aria-hidden="true">↯ </span>{words}</span>
          <button class="button" type="button" onClick={reconnect}>Try now</button>
        </div>
      )}
    </div>
  );
}

function SignIn() {
  const [text, setText] = useState("");
  const [refused, setRefused] = useState(hasToken());
  useEffect(() => onSignIn((now) => !now && setRefused(hasToken())), []);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (text.trim() !== "") signIn(text.trim());
  };
  return (
    <form class="card app-sign" onSubmit={submit}>
      <h1>Sign in</h1>
      <p class="muted">This server asks for a token. It was printed where the server was started; <code>triggerflow token</code> makes one.</p>
      <div>
        <label class="label" for="token">Token</label>
        <input class="input mono" id="token" type="password" autocomplete="off" spellcheck={false} value={text} autofocus
          aria-invalid={refused} aria-describedby="token-wrong" onInput={(event) => setText(event.currentTarget.value)} />
        <p class="wrong" id="token-wrong" role="alert">{refused ? "The server does not know this token." : " "}</p>
      </div>
      <div><button class="button primary" type="submit">Sign in</button></div>
    </form>
  );
}
