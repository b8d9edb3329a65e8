"""What a request of AG-UI asks for: a new execution, or one that goes on after its interrupts."""

import hashlib
from typing import Any

import msgspec

from ...backend import Answer, Backend, Cancel, ExecutionInfo, QuestionInfo, StateInfo
from ...errors import TriggerFlowError, UnknownExecution
from ...wire import problem_of
from ...wire.agui import THREAD_LABEL, AgentInput, ResumeEntry
from ...wire.problems import problem
from ...wire.routes import KEY_LABEL
from ..inputs import Refused, check_text, refused
from ..problems import redacted
from ..view import View
from .items import as_list, as_object, text_of
from .projection import FINAL, Asked

Schema = dict[str, Any]


async def begin(view: View, name: str, flow: str, given: AgentInput) -> tuple[ExecutionInfo, StateInfo | None]:
    """Start the execution of a run, or answer its questions. Returns it, and the state at which the run begins (None:
    with the execution). It can be repeated: a run of a thread is one execution, and an answer counts once.

    `name` is that of the caller's grant: two callers may have the same thread. Raises `Refused`, and what the backend
    raises.
    """
    await view.check_flow(flow)
    check_text(given.thread_id, "the threadId")
    check_text(given.run_id, "the runId")
    if given.resume:
        return await _resume(view, flow, given, given.resume)
    value = start_value(given, (await view.backend.contract(flow)).start)
    mark = _digest([name, flow, given.thread_id, given.run_id])[:32]
    # What a person has said is the same when a run is sent again; of the rest the client has learned more since.
    said = [it.get("content") for it in given.messages if it.get("role") == "user"]
    mine = f"{mark}.{_digest([said, given.forwarded_props])[:32]}"
    labels = {THREAD_LABEL: given.thread_id, KEY_LABEL: mine}
    try:
        info = await view.start(flow, value, f"agui-{mark}", reuse="existing", labels=labels)
    except TriggerFlowError as error:
        raise _conflict(error) from None
    if info.labels.get(KEY_LABEL, mine) != mine:
        raise refused("not_possible", "this runId was used for another input; give each run an id of its own")
    return info, None


# -- the value of a start ----------------------------------------------------------------------------------------------


def start_value(given: AgentInput, schema: Schema) -> Any:
    """What a flow is started with, whose start value fits a schema (`{}`: it declares none).

    It is `forwardedProps.value`, if there is one. Else a flow that takes a text gets the last text of the user, one
    that takes an object those parts of the input for which it has fields, and any other one the whole input.
    """
    forwarded = as_object(given.forwarded_props)
    if "value" in forwarded:
        return forwarded["value"]
    if _takes_text(schema):
        texts = [it.get("content") for it in given.messages if it.get("role") == "user"]
        if not texts:
            raise _does_not_fit("the flow takes a text, and there is no message of the user; see forwardedProps.value")
        return text_of(texts[-1])
    whole: dict[str, Any] = {
        "threadId": given.thread_id,
        "runId": given.run_id,
        "messages": given.messages,
        "tools": given.tools or [],
        "context": given.context or [],
        "state": {} if given.state is None else given.state,
        "forwardedProps": {} if given.forwarded_props is None else given.forwarded_props,
    }
    fields = _fields(schema)
    return whole if fields is None else {key: value for key, value in whole.items() if key in fields}


def _takes_text(schema: Schema) -> bool:
    kinds = as_list(schema.get("anyOf")) or [schema]
    names = {as_object(it).get("type") for it in kinds}
    choices = as_list(schema.get("enum"))
    return ("string" in names and names <= {"string", "null"}) or any(isinstance(it, str) for it in choices)


def _fields(schema: Schema) -> set[str] | None:
    """The names of the fields of an object; None if a schema does not say them."""
    ref: Any = schema.get("$ref")
    if isinstance(ref, str) and ref.startswith("#/$defs/"):
        schema = schema.get("$defs", {}).get(ref.removeprefix("#/$defs/"), {})
    return set(as_object(schema["properties"])) if "properties" in schema else None


# -- answers -----------------------------------------------------------------------------------------------------------


async def _resume(
    view: View, flow: str, given: AgentInput, entries: list[ResumeEntry]
) -> tuple[ExecutionInfo, StateInfo]:
    asked = [_asked(entry) for entry in entries]
    first = asked[0]
    if any(it[:2] != first[:2] for it in asked):
        raise _unknown("the interrupts are not those of one run")
    if len(set(asked)) < len(asked):
        raise refused("bad_request", "an interrupt is answered twice")
    backend, id = view.backend, first.execution
    at = await _asked_at(view, flow, given.thread_id, first)
    asked_then = {it.id: it for it in at.questions}
    for it in asked:
        if it.question not in asked_then:
            raise _unknown(f"there is no interrupt {it.id[:200]!r} here")
    open_now = {it.id: it.since for it in await open_questions(backend, id)}
    still_open = {
        key for key, it in asked_then.items() if key in open_now and (it.since is None or open_now[key] <= it.since)
    }
    left = sorted(still_open - {it.question for it in asked})
    if left:
        names = ", ".join(repr(Asked(id, first.moment, it).id) for it in left[:10])
        raise refused("not_possible", f"a resume answers or cancels all interrupts of its run; it lacks {names}")
    try:
        abandoned = [
            it.question
            for it, entry in zip(asked, entries, strict=True)
            if entry.status == "cancelled" and it.question in still_open
        ]
        if abandoned:
            reason = f"nobody answers the question {abandoned[0]!r}"
            await backend.act(id, Cancel(reason=reason), request=_request(id, "cancel"))
        info = await backend.get(id)
        if info.status in FINAL and any(entry.status == "cancelled" for entry in entries):
            return info, at  # nobody waits for the other answers
        for it, entry in zip(asked, entries, strict=True):
            is_asked_again = it.question in open_now and it.question not in still_open
            if entry.status == "resolved" and not is_asked_again:
                answer = Answer(question=it.question, value=entry.payload)
                await backend.act(id, answer, request=_request(*it, entry.payload))
    except TriggerFlowError as error:
        raise _conflict(error) from None
    return await backend.get(id), at


def _asked(entry: ResumeEntry) -> Asked:
    found = Asked.read(entry.interrupt_id)
    if found is None:
        raise _unknown(f"there is no interrupt {entry.interrupt_id[:200]!r} here")
    return found


async def _asked_at(view: View, flow: str, thread: str, asked: Asked) -> StateInfo:
    """The execution as it was when a run of this thread has asked."""
    missing = _unknown(f"there is no interrupt {asked.id[:200]!r} here")
    try:
        check_text(asked.execution, "an interruptId", 512)
        await view.check(asked.execution)
        info = await view.backend.get(asked.execution)
    except (UnknownExecution, ValueError):
        raise missing from None
    if info.flow != flow or info.labels.get(THREAD_LABEL) != thread or asked.moment > info.frames:
        raise missing
    return await view.backend.state_at(asked.execution, asked.moment)


async def open_questions(backend: Backend, id: str) -> list[QuestionInfo]:
    """The open questions of an execution and its sub-flows, the oldest first."""
    page = await backend.questions(execution=id, limit=1000)
    found = list(page.questions)
    while page.next is not None:
        page = await backend.questions(execution=id, after=page.next, limit=1000)
        found += page.questions
    return found


async def waits(backend: Backend, id: str) -> bool:
    """Whether nothing of an execution runs: it waits, or all sub-flows that it runs do."""
    info = await backend.get(id)
    if info.status in (*FINAL, "waiting"):
        return True
    page = await backend.executions(parent=id, status=("created", "running", "waiting"), limit=1000)
    if page.next is not None or not page.executions:
        return False
    return all([it.status == "waiting" or await waits(backend, it.id) for it in page.executions])


# -- problems ----------------------------------------------------------------------------------------------------------


def _unknown(detail: str) -> Refused:
    return refused("unknown_question", detail)


def _does_not_fit(detail: str) -> Refused:
    """What fits depends on the flow, and the description of the server cannot say it: 409, and not 422."""
    return Refused(msgspec.structs.replace(problem("not_possible", detail), code="value_does_not_fit"))


def _conflict(error: TriggerFlowError) -> Exception:
    found = problem_of(error)
    return _does_not_fit(found.detail) if found.code == "value_does_not_fit" else redacted(error)


def _request(*parts: Any) -> str:
    """The id of a request: the same answer to the same question is the same one."""
    return f"agui.{_digest(list(parts))[:40]}"


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()
