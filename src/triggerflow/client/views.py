"""Views: what the reading methods of a remote handle read, an execution at one moment.

A handle keeps no state. `async_committed(read)` makes a view and calls `read`; the methods that `read` calls take their
data from the view. If a part of it has not been fetched yet, it is fetched, and `read` is called again.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from ..backend import Backend, ExecutionInfo, Frame, Moment, StateInfo
from ..errors import UnknownExecution

T = TypeVar("T")


class _Missing(BaseException):  # no `Exception`, so that no `except Exception` in `read` catches it
    """A part of the view has not been fetched yet."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.part = part


class View:
    """One execution at one moment: parts that are fetched later are of the same moment."""

    def __init__(self, backend: Backend, id: str, *, may_lack: bool) -> None:
        self._backend = backend
        self._id = id
        #: whether the execution may not exist yet: then its status is shown as "created"
        self._may_lack = may_lack
        self._parts: dict[str, Any] = {}

    @property
    def info(self) -> ExecutionInfo | None:
        """The execution as in a list; None if it does not exist yet."""
        return self._part("info")

    @property
    def state(self) -> StateInfo | None:
        """Its state; None if it does not exist yet."""
        return self._part("state")

    @property
    def interrupts(self) -> dict[str, dict[str, Any]]:
        """All interrupts by id, open and closed, as `Execution.get_interrupts` shows them."""
        return self._part("interrupts")

    def _part(self, part: str) -> Any:
        if part not in self._parts:
            raise _Missing(part)
        return self._parts[part]

    async def fetch(self, part: str) -> None:
        """Fetch a part."""
        if "info" not in self._parts:
            self._parts["info"] = await self._info()
        info: ExecutionInfo | None = self._parts["info"]
        if part == "state":
            self._parts[part] = None if info is None else await self._backend.state_at(self._id, info.frames)
        elif part == "interrupts":
            self._parts[part] = {} if info is None else await self._interrupts(info.frames)

    async def _info(self) -> ExecutionInfo | None:
        try:
            return await self._backend.get(self._id)
        except UnknownExecution:
            if self._may_lack:
                return None
            raise

    async def _interrupts(self, last: int) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        moment = Moment()
        async for frame in self._backend.frames(self._id):
            if frame.number > last:
                break
            moment.take(frame)
            _take(frame, moment, found)
        return found


def _take(frame: Frame, moment: Moment, found: dict[str, dict[str, Any]]) -> None:
    record = frame.record
    if frame.state is not None:  # earlier frames are gone, and with them the interrupts that were closed
        found.clear()
        found.update(open_interrupts(frame.state))
    elif frame.kind == "paused":
        found[record["interrupt"]] = {
            "id": record["interrupt"],
            "type": record.get("type", "pause"),
            "payload": record.get("payload"),
            "resume_event": record.get("resume_event"),
            "expires": record.get("expires"),
            "status": "waiting",
            "response": None,
        }
    elif frame.kind == "resumed" and record["interrupt"] in found:
        found[record["interrupt"]] |= {"status": "resumed", "response": record.get("value")}
    elif frame.kind == "withdrawn" and record["interrupt"] in found:
        found[record["interrupt"]]["status"] = "expired" if record.get("expired") else "retracted"
    for change in frame.questions:
        if not change.open and change.id in found and found[change.id]["status"] == "waiting":
            found[change.id]["status"] = "expired" if frame.kind == "timer_fired" else "retracted"


def open_interrupts(state: StateInfo) -> dict[str, dict[str, Any]]:
    """The open interrupts of a state by id, as `Execution.get_pending_interrupts` shows them."""
    return {
        it.id: {
            "id": it.id,
            "type": it.type,
            "payload": it.payload,
            "resume_event": it.resume_event,
            "expires": it.expires,
            "status": "waiting",
            "response": None,
        }
        for it in state.questions
    }


#: The view that a call of `look` has made for its `read`, with the backend and the id of its execution.
_present: ContextVar[tuple[Backend, str, View] | None] = ContextVar("triggerflow_client_view", default=None)


def present(backend: Backend, id: str) -> View | None:
    """The view of this execution, if the caller runs inside of `look`; None otherwise."""
    found = _present.get()
    return found[2] if found is not None and found[0] is backend and found[1] == id else None


async def look(backend: Backend, id: str, read: Callable[[], T], *, may_lack: bool) -> T:
    """Call `read` inside of a view of an execution, and return what it returns."""
    view = View(backend, id, may_lack=may_lack)
    while True:
        token = _present.set((backend, id, view))
        try:
            return read()
        except _Missing as missing:
            part = missing.part
        finally:
            _present.reset(token)
        await view.fetch(part)
