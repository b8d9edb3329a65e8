"""The verbs that change an execution: answer, signal, cancel, retry, fork.

The process that runs the execution performs the action. If none does, a person can name the code with `--target`: then
this process runs the execution, until it has ended or waits again.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import finding
from .places import Place
from .printing import as_json, note, say
from .running import carry_on
from .troubles import DONE, NOT_NOW, USAGE, Trouble
from .values import pairs_of, value_of

if TYPE_CHECKING:
    from ..backend import AnyAction, Done, ExecutionInfo

#: After so many seconds without a reply, a line says what the command waits for.
PATIENCE = 2.0


async def answer(
    place: Place, id: str, question: str, value: str, *, wait: float, request: str | None, json: bool
) -> int:
    """Answer an open question."""
    from ..backend import Answer

    info = await finding.execution(place.backend, id)
    asked = (await place.backend.questions(execution=info.id)).questions
    if not asked:
        finding.refuse_ended(info, "it has no open question")
    found = finding.question(asked, question, info.id)
    given = value_of(value, dict(found.schema), "VALUE")
    if found.execution != info.id:  # the question of a sub-flow is answered at the outermost execution
        info = await place.backend.get(found.execution)
    action = Answer(question=found.id, value=given)
    return await _act(place, info, action, f"answered {found.id}", wait=wait, request=request, json=json)


async def signal(
    place: Place,
    id: str,
    name: str,
    value: str | None,
    *,
    delay: float | None,
    wait: float,
    request: str | None,
    json: bool,
) -> int:
    """Send a signal from outside."""
    from ..backend import Emit

    info = await finding.execution(place.backend, id)
    finding.refuse_ended(info, "it takes no signals")
    schema: Any = await finding.signal(place.backend, info, name)
    given = None if value is None else value_of(value, schema, "VALUE")
    action = Emit(name=name, value=given, delay=delay)
    return await _act(place, info, action, f"sent {name}", wait=wait, request=request, json=json)


async def cancel(place: Place, id: str, *, reason: str, wait: float, request: str | None, json: bool) -> int:
    """Cancel an execution."""
    from ..backend import Cancel

    info = await finding.execution(place.backend, id)
    finding.refuse_ended(info, "there is nothing to cancel")
    return await _act(place, info, Cancel(reason=reason), "cancelled", wait=wait, request=request, json=json)


async def retry(place: Place, id: str, *, force: bool, request: str | None, json: bool) -> int:
    """Run a failed execution again."""
    from ..backend import Retry

    info = await finding.execution(place.backend, id)
    if info.status != "failed":
        raise Trouble(NOT_NOW, f"execution {info.id!r} is {info.status}: only one that has failed is run again")
    _require_code(place, info, "retry")
    done = await place.backend.act(info.id, Retry(force=force), request=request)
    return await _print_outcome(place, info.id, done, "runs again", json)


async def fork(
    place: Place, id: str, *, at: int, new_id: str | None, state: Sequence[str], value: str | None, json: bool
) -> int:
    """Make a new execution out of the first frames of another one."""
    info = await finding.execution(place.backend, id)
    if not 1 <= at <= info.frames:
        raise Trouble(USAGE, f"--at is a frame of {info.id!r}, which has 1 to {info.frames}; not {at}")
    changed = {key: value_of(text, {}, f"--set {key}") for key, text in pairs_of(state, "--set").items()}
    given = {} if value is None else {"value": value_of(value, {}, "--value")}
    _require_code(place, info, "fork")
    made = await place.backend.fork(info.id, at=at, new_id=new_id, state=changed or None, **given)
    if not place.flows:
        say(as_json(made) if json else made.id)
        return DONE
    if not json:
        note(f"{made.id} is a fork of {info.id} at {at}")
    return await carry_on(place, made.id, json=json)


def _require_code(place: Place, info: "ExecutionInfo", verb: str) -> None:
    if place.kind != "server" and not place.flows:
        raise Trouble(
            USAGE,
            f"`{verb}` needs the code of flow {info.flow!r}: name it with --target path.py:flow, or give the address "
            "of a server that has it",
        )
    if place.flows and info.flow not in [it.name for it in place.flows]:
        names = ", ".join(it.name for it in place.flows)
        raise Trouble(
            USAGE, f"execution {info.id!r} is of flow {info.flow!r}; the code that --target names is of {names}"
        )


async def _act(
    place: Place, info: "ExecutionInfo", action: "AnyAction", did: str, *, wait: float, request: str | None, json: bool
) -> int:
    """Request an action and print its outcome; with `--target`, run the execution here. `did`: the action in words."""
    if place.flows:
        _require_code(place, info, "this")
        return await carry_on(place, info.id, first=action, request=request, did=did, json=json)
    doing = asyncio.ensure_future(place.backend.act(info.id, action, request=request, wait=wait))
    try:
        await asyncio.wait((doing,), timeout=PATIENCE)
        if not doing.done():
            note(f"waiting for a process that runs flow {info.flow!r}, up to {wait:g} s (Ctrl-C gives up)")
        done = await doing
    except TimeoutError as error:
        where = place.option()
        raise Trouble(
            NOT_NOW,
            f"{error}; start `triggerflow worker TARGET{where}`, or add --target path.py:flow to run it here",
        ) from None
    finally:
        doing.cancel()
    return await _print_outcome(place, info.id, done, did, json)


async def _print_outcome(place: Place, id: str, done: "Done", did: str, json: bool) -> int:
    if place.flows:
        if not json:
            note(f"{did}: {id}")
        return await carry_on(place, id, json=json)
    say(as_json({"id": id, "status": done.status, "value": done.value}) if json else f"{did}: {id} is {done.status}")
    return DONE
