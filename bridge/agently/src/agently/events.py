"""Run contexts, runtime events, and the event centre, which calls the registered hooks with each event."""

import asyncio
import functools
import json
import logging
import traceback
from collections.abc import Awaitable, Iterable, Mapping
from contextvars import ContextVar
from time import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from triggerflow.extension import on_a_loop, run_sync

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
logger = logging.getLogger("agently")
#: True while a hook runs. A hook that runs a flow must not wait for other hooks, because they may wait for that hook.
_in_hook: ContextVar[bool] = ContextVar("_in_hook", default=False)


class Record(SimpleNamespace):
    """An object with named values, and with the methods of a Pydantic model that dump and copy it."""

    def model_dump(self, *, mode: str = "python", exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        shown = {key: it for key, it in vars(self).items() if not (exclude_none and it is None)}
        shown = {
            key: it.model_dump(exclude_none=exclude_none) if isinstance(it, Record) else it for key, it in shown.items()
        }
        return shown if mode == "python" else json.loads(json.dumps(shown, default=str))

    def model_dump_json(self, **options: Any) -> str:
        return json.dumps(self.model_dump(**options), default=str)

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Any:
        return type(self)(**{**vars(self), **(update or {})})


class RunContext(Record):
    """The lineage of a run: its id and kind, and the ids of the runs that started it."""

    run_id: str

    def __init__(self, run_id: str, run_kind: str = "workflow_execution", **more: Any) -> None:
        own = {"run_id": run_id, "run_kind": run_kind, "root_run_id": run_id, "meta": {}}
        rest = ("parent_run_id", "agent_id", "agent_name", "session_id", "response_id", "execution_id")
        super().__init__(**{**own, **dict.fromkeys(rest), **more})

    @classmethod
    def create(cls, *, run_kind: str, parent: "RunContext | None" = None, **about: Any) -> "RunContext":
        given = {key: it for key, it in about.items() if it is not None}
        above: dict[str, Any] = {"meta": {}} if parent is None else {**vars(parent), "parent_run_id": parent.run_id}
        given["meta"] = {**above["meta"], **given.get("meta", {})}
        return cls(**{**above, "run_id": uuid4().hex, "run_kind": run_kind, **given})

    def create_child(self, **about: Any) -> "RunContext":
        return self.create(parent=self, **about)


class ErrorInfo(Record):
    """An exception as data."""

    def __init__(self, type: str, message: str, **more: Any) -> None:
        rest = dict.fromkeys(("module", "traceback", "retryable", "fatal", "code"))
        super().__init__(**{"type": type, "message": message, **rest, "details": {}, **more})

    @classmethod
    def from_exception(cls, error: BaseException) -> "ErrorInfo":
        text, kind = "".join(traceback.format_exception(error)), type(error)
        return cls(kind.__name__, str(error), module=kind.__module__, traceback=text)


class RuntimeEvent(Record):
    """Something that happened; `timestamp` in milliseconds since the epoch."""

    event_type: str

    def __init__(self, event_type: str = "", level: str = "INFO", error: Any = None, run: Any = None, **more: Any):
        if not event_type or level not in LEVELS:
            raise ValueError(f"a RuntimeEvent has an event_type and one of the levels {LEVELS}, not {level!r}")
        error = ErrorInfo.from_exception(error) if isinstance(error, BaseException) else error
        about = {"event_id": uuid4().hex, "event_type": event_type, "source": "Agently", "level": level}
        about |= {"message": None, "payload": None, "error": ErrorInfo(**error) if isinstance(error, dict) else error}
        about |= {
            "run": RunContext(**run) if isinstance(run, dict) else run,
            "meta": {},
            "timestamp": int(time() * 1000),
        }
        super().__init__(**{**about, **more})


class EventCenter:
    """Calls the registered hooks with each event. An exception of a hook is logged; the run and other hooks go on."""

    def __init__(self) -> None:
        self.hooks: dict[str, tuple[Any, frozenset[str] | None]] = {}
        self.tasks: set[asyncio.Future[None]] = set()

    def register_hook(
        self, callback: Any, *, event_types: str | Iterable[str] | None = None, hook_name: str | None = None
    ) -> None:
        types = [event_types] if isinstance(event_types, str) else event_types
        name = hook_name or getattr(callback, "__name__", repr(callback))
        self.hooks[name] = (callback, None if types is None else frozenset(types))

    def unregister_hook(self, hook_name: str) -> None:
        self.hooks.pop(hook_name, None)

    def create_emitter(self, source: str | None = None, *, base_meta: Any = None, base_run: Any = None) -> "Emitter":
        return Emitter(self, {"source": source or "Agently", "run": base_run}, dict(base_meta or {}))

    def emit(self, event: Mapping[str, Any] | RuntimeEvent) -> None:
        """Call the hooks for this type of event. Async hooks are only started here; `drain` awaits them."""
        event = event if isinstance(event, RuntimeEvent) else RuntimeEvent(**event)
        for callback, types in list(self.hooks.values()):
            if types is None or event.event_type in types:
                try:
                    if isinstance(answer := callback(event), Awaitable):
                        self._start(answer)
                except Exception:
                    logger.exception("an event hook failed on %s", event.event_type)

    async def async_emit(self, event: Mapping[str, Any] | RuntimeEvent) -> None:
        self.emit(event)
        await self.drain()

    async def drain(self) -> None:
        """Wait until the async hooks that were started on this event loop have ended."""
        loop = asyncio.get_running_loop()
        while not _in_hook.get() and (ours := [task for task in self.tasks if task.get_loop() is loop]):
            await asyncio.wait(ours)

    def _start(self, answer: Awaitable[Any]) -> None:
        async def guarded() -> None:
            _in_hook.set(True)
            try:
                await answer
            except Exception:
                logger.exception("an async event hook failed")

        if on_a_loop():
            self.tasks.add(task := asyncio.ensure_future(guarded()))
            task.add_done_callback(self.tasks.discard)
        else:
            run_sync(guarded, "async_emit")


class Emitter:
    """Emits events of one source: `emit(type, level=, message=, payload=, error=, run=, meta=)`.

    Each level has a method, such as `info("text")`; `error` and `critical` also raise the error. Each method has a twin
    with `async_`, which waits for the async hooks.
    """

    def __init__(self, center: EventCenter, base: dict[str, Any], meta: dict[str, Any]) -> None:
        self._center, self._base, self._meta, self.update_base_meta = center, base, meta, meta.update
        says = {level.lower(): functools.partial(self._say, level) for level in LEVELS} | {"emit": self.emit}
        for name, say in says.items():
            setattr(self, name, say)
            setattr(self, f"async_{name}", functools.partial(self._later, say))

    def emit(self, event_type: str, **more: Any) -> None:
        given = {key: it for key, it in more.items() if it is not None}
        meta = {**self._meta, **given.pop("meta", {})}
        self._center.emit({**self._base, **given, "event_type": event_type, "meta": meta})

    def _say(self, level: str, said: Any, *, event_type: str | None = None, **more: Any) -> None:
        error = None if level in LEVELS[:3] else said if isinstance(said, Exception) else RuntimeError(said)
        self.emit(event_type or f"runtime.{level.lower()}", level=level, error=error, message=str(said), **more)
        if error is not None:
            raise error

    async def _later(self, send: Any, *args: Any, **options: Any) -> None:
        try:
            send(*args, **options)
        finally:
            await self._center.drain()


#: The event centre of this process, `Agently.event_center`.
CENTER = EventCenter()
