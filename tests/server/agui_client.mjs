// `node agui_client.mjs URL`: talks to the agents at URL/{flow} with the client of the protocol, and writes what it has
// in the end as JSON. `test_agui.py` runs it.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../page/package.json", import.meta.url));
const { HttpAgent, buildResumeArray } = require("@ag-ui/client");

const [, , base] = process.argv;
const warnings = [];
console.warn = (...words) => warnings.push(words.map(String).join(" "));
console.error = () => {}; // it repeats the errors that it throws

function agent(flow, threadId, text, initialState = {}) {
  const initialMessages = [{ id: `${threadId}-m`, role: "user", content: text }];
  return new HttpAgent({ url: `${base}/${flow}`, threadId, initialMessages, initialState });
}

/** Runs an agent, and returns what it has then. */
async function run(it, parameters, extra = {}) {
  const seen = { steps: [], custom: [] };
  const subscriber = {
    onStepStartedEvent: ({ event }) => void seen.steps.push(event.stepName),
    onCustomEvent: ({ event }) => void seen.custom.push({ name: event.name, value: event.value }),
    onRunErrorEvent: ({ event }) => void Object.assign(seen, { error: event.message, code: event.code }),
    onRunFinishedEvent: ({ outcome }) => void (seen.outcome = outcome),
    ...extra,
  };
  const { result } = await it.runAgent(parameters, subscriber);
  return { ...seen, result, messages: short(it.messages), state: it.state, interrupts: it.pendingInterrupts };
}

function short(messages) {
  return messages.map(({ role, content, toolCalls, toolCallId }) => ({
    role,
    content,
    ...(toolCalls && { calls: toolCalls.map((call) => [call.id, call.function.name, call.function.arguments]) }),
    ...(toolCallId && { call: toolCallId }),
  }));
}

async function refusal(promise) {
  try {
    await promise;
    return "";
  } catch (error) {
    return String(error.message);
  }
}

const found = { warnings };
const tools = [{ name: "weather", description: "The weather.", parameters: { type: "object" } }];

const rome = agent("trip", "thread-1", "Rome", { mine: 1 });
found.first = await run(rome, { runId: "run-1", tools });
found.without_resume = await refusal(rome.runAgent({ runId: "run-x" }));
const resume = buildResumeArray(rome.pendingInterrupts, {
  [rome.pendingInterrupts[0].id]: { status: "resolved", payload: true },
});
found.second = await run(rome, { runId: "run-2", resume });
found.again = await run(rome, { runId: "run-2", resume });

// A connection that breaks in the middle of a text: the same run is asked for again.
const cut = agent("trip", "thread-2", "Rome");
const abortController = new AbortController();
const was = await run(cut, { runId: "run-1", abortController }, {
  onTextMessageContentEvent: () => abortController.abort(),
});
found.cut = await run(cut, { runId: "run-1" });
found.cut.was_cut = was.outcome === undefined && was.messages.length > 1;

found.failed = await run(agent("trip", "thread-3", "fail"), { runId: "run-1" });

const two = agent("asker", "thread-4", "?");
await run(two, {});
const answers = two.pendingInterrupts.map((it, index) => [it.id, { status: "resolved", payload: index + 1 }]);
found.two = await run(two, { resume: buildResumeArray(two.pendingInterrupts, Object.fromEntries(answers)) });

const left = agent("asker", "thread-5", "?");
await run(left, {});
const unknown = left.pendingInterrupts.map((it) => ({ interruptId: `${it.id}x`, status: "resolved", payload: 1 }));
left.pendingInterrupts = [];
found.unknown = await refusal(left.runAgent({ resume: unknown }));
const away = agent("asker", "thread-6", "?");
await run(away, {});
found.cancelled = await run(away, {
  resume: away.pendingInterrupts.map((it) => ({ interruptId: it.id, status: "cancelled" })),
});

process.stdout.write(JSON.stringify(found), () => process.exit(0));
