"""The data that the durable executions of a flow share, in their store (decision 0037).

The store numbers the changes of all processes. A `SharedView` has the changes up to one number. An execution adds its
own changes that are not committed yet; they are committed with its records. A view reads new changes after a commit
that reports them, when the store announces them, and when a reader refreshes it. So a chunk sees every change that was
committed before the commit that has started it.

An execution that *listens* has a number in the store, too: up to which change it has recorded those of its keys. The
number is stored with these records, so each change is recorded once. A parked execution with changes after its number
is work for any worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from ..._core import events
from ..._core.errors import (
    ExecutionSuspended,
    PayloadError,
    SnapshotError,
    StoreDamaged,
    StoreError,
    UsageError,
)
from ..._core.freezing import freeze
from ..._core.frozen import FrozenList
from ..._core.machine import FINAL
from ..._core.state import UNSET
from ..._core.values import items_of
from ...run import ingress
from ...run.shared import By, Operation, SharedData, builtin_name, list_at
from ...serialize.payload import Types
from ...stores.protocol import Append, SharedChange, SharedLog, Store
from ..format.payloads import UNREADABLE

if TYPE_CHECKING:
    from ..hub import Watch
    from .stored import Stored

logger = logging.getLogger("triggerflow")

#: After so many changes of a flow, a process folds them into values.
FOLD_EVERY = 100

#: How many changes are read from the store in one call.
PAGE = 1000

#: Held while a value is read or a change is applied: sync chunks read on threads.
LOCK = RLock()

_UNREAD: Any = object()
_decode = msgspec.json.Decoder().decode

Follow = Callable[["SharedView"], "asyncio.Task[None]"]


class _Entry:
    """The value at one key: a value, and the items that were appended to it and not read yet."""

    __slots__ = ("appended", "data", "value")

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.value: Any = _UNREAD if data is not None else ()
        self.appended: list[bytes] = []

    def read(self, types: Types) -> Any:
        """The value. Raises `SnapshotError` for a type that is not registered."""
        if self.value is _UNREAD:
            self.value, self.data = freeze(_unpack(types, self.data or b"")), None
        if self.appended:
            held = items_of(self.value)
            # Another process has set it to something else than a list meanwhile: an append to that is left out, see
            # `StoredShared.known`.
            if held is not None:
                self.value = FrozenList([*held, *(freeze(_unpack(types, data)) for data in self.appended)])
            self.appended = []
        return self.value


class SharedView:
    """The shared data of one flow, as one process knows it: with all changes up to `number`."""

    def __init__(self, store: Store, flow: str, types: Types, follow: Follow | None = None) -> None:
        self.flow = flow
        self.number = 0
        #: of the executions that are open in this process, by id: those that have made a change, and those that listen
        self.makers: WeakValueDictionary[str, StoredShared] = WeakValueDictionary()
        self._listeners: WeakValueDictionary[str, StoredShared] = WeakValueDictionary()
        self._follow = follow
        self._following: asyncio.Task[None] | None = None
        self._store = store
        self._types = types
        self._entries: dict[str, _Entry] = {}
        #: up to which change listeners were told; more than `number` while all is read again
        self._told = 0
        #: keys with changes that this view has not folded
        self._unfolded: dict[str, None] = {}
        self._fold_at = FOLD_EVERY
        #: the number of the last refresh that has begun, and of the last one that has succeeded; one runs at a time
        self._begun = self._read = 0
        self._refreshing = asyncio.Lock()

    def keys(self) -> Iterable[str]:
        """The keys that have a value."""
        return self._entries.keys()

    def read(self, key: str) -> Any:
        """The value at a key; UNSET if there is none. Raises `SnapshotError` for a type that is not registered."""
        with LOCK:
            entry = self._entries.get(key)
            return UNSET if entry is None else entry.read(self._types)

    def get(self, key: str, default: Any) -> Any:
        """The value at a key, or the default. Raises `SnapshotError`."""
        value = self.read(key)
        return freeze(default) if value is UNSET else value

    async def change(self, op: Operation, key: str, value: Any, emit: bool) -> None:
        """Change the data from outside of the executions. Raises `StoreError`, `PayloadError`, and `TypeError` for an
        append to a value that is no list."""
        value = freeze(value)
        data = b"" if op == "delete" else _pack(self._types, key, value)
        if op == "append":
            await self.refresh()
            list_at("flow_data", key, self.get(key, ()))
        await self._store.change_shared(self.flow, [SharedChange(key=key, op=op, data=data, emit=bool(emit))])
        await self.refresh()
        if self.is_to_fold:
            await self.fold()

    async def refresh(self) -> None:
        """Take all changes that were committed before this call. Raises `StoreError`.

        Calls at the same time share a query, for example those of the executions that a worker opens."""
        wanted = self._begun + 1
        async with self._refreshing:
            if self._read < wanted:
                self._begun = number = self._begun + 1
                await self._read_all()
                self._read = number

    async def _read_all(self) -> None:
        while True:
            log = await self._store.shared(self.flow, after=self.number, limit=PAGE)
            self._merge(log)
            for change in log.changes:
                self._take(change)
            if len(log.changes) < PAGE:
                self.number = max(self.number, log.newest)
                return

    def listen(self, id: str, listener: StoredShared) -> None:
        """An execution that is open in this process listens. While one does, the view follows the store."""
        self._listeners[id] = listener
        if (self._following is None or self._following.done()) and self._follow is not None:
            self._following = self._follow(self)

    def leave(self, id: str) -> None:
        """An execution is not open in this process any more."""
        self.makers.pop(id, None)
        if self._listeners.pop(id, None) is not None and not self._listeners and self._following is not None:
            self._following.cancel()
            self._following = None

    async def follow(self, watch: Watch) -> None:
        """Take changes whenever the store announces some, until the store is closed."""
        with watch:
            while True:
                try:
                    await watch.changed()
                except (StoreError, UsageError):  # the store was closed
                    return
                try:
                    await self.refresh()
                except (StoreError, UsageError) as error:  # the next change, or the next commit, tries again
                    logger.warning("the shared data of flow %r cannot be read: %s", self.flow, error)

    def committed(self, changes: list[tuple[str, SharedChange]], newest: int) -> bool:
        """Take changes that this process has just committed, as (execution, change), if no other ones are between them
        and what is known. Returns False if the view has to be refreshed."""
        if self.number + len(changes) == newest:
            for by, change in changes:
                self._take(msgspec.structs.replace(change, number=self.number + 1, by=by))
        return self.number >= newest

    def _merge(self, log: SharedLog) -> None:
        """Take folded values. Nothing that is known already is in them: a commit may have come before this answer."""
        # Another thread may read meanwhile; it sees the old entries or the new ones.
        if log.whole:
            self._entries, self.number = {}, 0
        for key, (number, data) in log.values.items():
            if number > self.number:
                self._entries[key] = _Entry(data)

    def _take(self, change: SharedChange) -> None:
        """Take one change, if it is new."""
        if change.number <= self.number:
            return
        with LOCK:
            self.number = change.number
            self._apply(change)
            if change.by is not None and (maker := self.makers.get(change.by)) is not None:
                maker.known(change)
        if change.number <= self._told:
            return
        self._told = change.number
        self._unfolded[change.key] = None
        for listener in list(self._listeners.values()):
            listener.deliver(change)

    def _apply(self, change: SharedChange) -> None:
        if change.op == "delete":
            self._entries.pop(change.key, None)
        elif change.op == "set":
            self._entries[change.key] = _Entry(change.data)
        else:
            self._entries.setdefault(change.key, _Entry(None)).appended.append(change.data)

    async def since(self, number: int, keys: Collection[str]) -> tuple[list[tuple[SharedChange, Any]], int]:
        """The changes of these keys after a number that listeners have to take, each with the value after it, and up to
        which number these are all. Raises `StoreError`, `SnapshotError`."""
        found: list[tuple[SharedChange, Any]] = []
        past = SharedView(self._store, self.flow, self._types)
        while True:
            log = await self._store.shared(self.flow, after=past.number, limit=PAGE)
            past._merge(log)
            for change in log.changes:
                past._take(change)
                if change.number > number and change.emit and change.key in keys:
                    value = past.read(change.key)
                    found.append((change, None if value is UNSET else value))
            if len(log.changes) < PAGE:
                return found, log.newest

    @property
    def is_to_fold(self) -> bool:
        """Whether many changes were made since the last fold."""
        return self.number >= self._fold_at

    async def fold(self) -> None:
        """Fold changes into values, so that the store need not keep them. Folding is no part of any change: what fails
        is tried again after more changes."""
        self._fold_at = self.number + FOLD_EVERY
        unfolded, self._unfolded = self._unfolded, {}  # from here on, changes are for the next fold
        values: dict[str, tuple[int, bytes | None]] = {}
        for key in unfolded:
            with suppress(SnapshotError, PayloadError):
                value = self.read(key)
                values[key] = (self.number, None if value is UNSET else _pack(self._types, key, value))
        try:
            with suppress(StoreError, UsageError, ExecutionSuspended):
                for key in await self._store.fold_shared(self.flow, values):
                    del unfolded[key]
        finally:
            self._unfolded = {**unfolded, **self._unfolded}


class StoredShared(SharedData):
    """The shared data as one durable execution sees it: what its process knows, and its own changes.

    `of` is the data of the flow in this process; what it has, durable executions read where the store has no value.
    """

    __slots__ = (
        "__weakref__",
        "_is_attached",
        "_is_noted",
        "_known",
        "_pending",
        "_stored",
        "_taken",
        "has_part",
        "heard",
        "of",
        "registers",
        "view",
    )

    def __init__(self, stored: Stored, view: SharedView, of: SharedData) -> None:
        super().__init__()
        self.resources = of.resources
        self.view = view
        #: up to which change the execution has taken those of its keys
        self.heard = 0
        self.of = of
        self._stored = stored
        #: the own changes that the view does not have yet, with their values; the first `_taken` are being written
        self._pending: list[tuple[SharedChange, Any]] = []
        self._taken = 0
        #: up to which number the view has told of own changes
        self._known = 0
        #: whether changes are delivered
        self._is_attached = False
        #: whether the next append begins to listen and has to name the keys: the view has to be new then
        self.registers = False
        #: whether the view knows this execution
        self._is_noted = False
        #: whether appends may have a part of this: it has made a change, or it listens
        self.has_part = False

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def values(self) -> dict[str, Any]:
        """See `SharedData.values`."""
        keys = {**self.of.values, **dict.fromkeys(self._keys())}
        return {key: value for key in keys if (value := self.get(key, UNSET)) is not UNSET}

    def _keys(self) -> Iterable[str]:
        return [*self.view.keys(), *(change.key for change, _ in self._pending)]

    def get(self, key: str, default: Any = None) -> Any:
        """See `SharedData.get`."""
        with LOCK:
            value = self.view.read(key)
            for change, item in self._pending:
                if change.key != key:
                    continue
                if change.op != "append":
                    value = item
                elif value is UNSET:
                    value = FrozenList([item])
                elif (held := items_of(value)) is not None:
                    value = FrozenList([*held, item])
        return self.of.get(key, default) if value is UNSET else value

    async def refresh(self) -> None:
        """See `SharedData.refresh`."""
        await self.view.refresh()

    # -- changing ----------------------------------------------------------------------------------------------------

    def is_recorded(self, execution: Any) -> bool:
        """See `SharedData.is_recorded`: always."""
        return True

    def set(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.set`."""
        self._change("set", key, freeze(value), emit, by)

    def append(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.append`."""
        self._change("append", key, freeze(value), emit, by)

    def delete(self, key: str, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.delete`."""
        self._change("delete", key, UNSET, emit, by)

    def _change(self, op: Operation, key: str, value: Any, emit: bool, by: By) -> None:
        runtime = self._stored.runtime
        ingress.call(runtime, lambda: self._record(op, key, value, emit, by), f"flow_state.async_{op}")

    def _record(self, op: Operation, key: str, value: Any, emit: bool, by: By) -> None:
        runtime = self._stored.runtime
        ingress.driver_of(runtime)
        run, digest = (None, None) if by is None else by[1:]
        recorded = None if value is UNSET else value
        event = events.FlowDataChanged(runtime.environment.now(), run, key, recorded, digest, op, bool(emit))
        if op == "append":
            held = list_at("flow_data", key, self.get(key, ()))
            if key in runtime.machine.plan.flow_data:  # what listens to it gets the whole list
                event.op, event.value = "set", FrozenList([*held, value])
        data = b"" if op == "delete" else _pack(runtime.program.types, key, value)
        self._is_noted = self.has_part = True
        self.view.makers[runtime.id] = self
        self._pending.append((SharedChange(key=key, op=op, data=data, emit=bool(emit)), value))
        try:
            ingress.submit(runtime, event)
        except BaseException:
            self._pending.pop()
            raise

    # -- committing --------------------------------------------------------------------------------------------------

    def complete(self, append: Append) -> None:
        """Add the changes that are not in any append yet, and what the execution listens to."""
        if self._pending:
            append.shared = [change for change, _ in self._pending[self._taken :]]
            self._taken = len(self._pending)
        if self.registers:
            self.registers, self._is_attached = False, True
            append.listens, self.heard = self._listens_to, self.view.number
        if self._is_attached and self._listens_to:
            append.heard = self.heard

    def known(self, change: SharedChange) -> None:
        """An own change is in the view from now on."""
        if self._taken and change.number > self._known:
            self._known = change.number
            del self._pending[0]
            self._taken -= 1
            if change.op == "append":
                self._warn_if_left_out(change.key)

    def _warn_if_left_out(self, key: str) -> None:
        """Log that an own append had no effect, because the store has another change before it."""
        with suppress(SnapshotError, StoreDamaged):  # a read of the key raises the error
            held = self.view.read(key)
            if items_of(held) is None:
                text = "%r: an append to flow_data[%r] had no effect: another process had set it to a value of type %s"
                logger.warning(text, self._stored.runtime, key, builtin_name(held))

    def written(self) -> None:
        """The last append was committed, and its changes are in the view."""
        with LOCK:
            del self._pending[: self._taken]
            self._taken = 0

    def drop(self) -> None:
        """Drop what is not committed: the execution was suspended here."""
        self.has_part = False
        self._pending, self._taken, self._is_attached, self.registers = [], 0, False, False
        self._leave()

    # -- listening ---------------------------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether it listens to any key."""
        return bool(self._listens_to)

    def forget(self, execution: Any) -> None:
        """See `SharedData.forget`: the execution has ended."""
        self._is_attached = False
        self._leave()

    def _leave(self) -> None:
        if self._is_noted:
            self._is_noted = False
            self.view.leave(self._stored.runtime.id)

    def listen(self, execution: Any) -> None:
        """See `SharedData.listen`; `begin` and `attach` do what is needed."""

    @property
    def _listens_to(self) -> Collection[str]:
        return self._stored.runtime.machine.plan.flow_data.keys()

    def begin(self, *, is_new: bool, heard: int | None = None) -> None:
        """The execution was opened here. `heard`: what its row says."""
        self.heard = heard or 0
        self._known = self.view.number
        self._is_attached = False
        self.registers = False
        if self._listens_to:
            self.registers = is_new
            self._is_noted = self.has_part = self._stored.session.has_listeners = True
            self.view.listen(self._stored.runtime.id, self)

    async def attach(self, heard: int | None, *, moved: bool) -> None:
        """Take what was changed since the execution was open for the last time, and listen from now on.

        `moved`: it has another definition now, and may listen to other keys. Raises `StoreError`, `SnapshotError`.
        """
        runtime = self._stored.runtime
        if runtime.machine.state.status in FINAL:
            return
        own = False
        while heard is not None and self._listens_to and heard < self.view.number:
            missed, heard = await self.view.since(heard, self._listens_to)
            for change, value in missed:
                own = own or change.by == runtime.id
                self._post(change, value)
            self.heard = heard
        self._is_attached = heard is not None and self.listens
        is_other = (heard is None and bool(self._listens_to)) or (moved and heard is not None)
        self.registers = is_other
        if is_other:
            self.has_part = self._stored.session.has_listeners = True
        if (is_other or own) and runtime.log is not None:
            await runtime.log.touch()

    def deliver(self, change: SharedChange) -> None:
        """Record a change that the view has just taken, if the execution listens to the key."""
        if not self._is_attached or change.number <= self.heard:
            return
        self.heard = change.number
        if not change.emit or change.key not in self._listens_to:
            return
        try:
            value = self.view.read(change.key)
        except (SnapshotError, StoreDamaged) as error:
            why = ExecutionSuspended(f"{self._stored.runtime!r} was suspended: a change of shared data: {error}")
            why.__cause__ = error
            self._stored.suspend(why)
            return
        self._post(change, None if value is UNSET else value)

    def _post(self, change: SharedChange, value: Any) -> None:
        runtime = self._stored.runtime
        if change.by != runtime.id and runtime.log is not None and runtime.log.suspended is None:
            ingress.post(runtime, events.FlowDataChanged(runtime.environment.now(), None, change.key, value))


class OwnShared(SharedData):
    """The copy of the shared data that a durable sub-flow has: its own changes are in its records.

    What the step has not captured and the sub-flow has not changed, it reads from the data of its flow."""

    __slots__ = ("_stored", "of", "view")

    def __init__(self, stored: Stored, view: SharedView, of: SharedData) -> None:
        super().__init__()
        self.resources = of.resources
        self.view = view
        self.of = of
        self._stored = stored

    @property
    def _own(self) -> dict[str, Any]:
        return self._stored.runtime.machine.state.flow_data or {}

    @property
    def values(self) -> dict[str, Any]:
        """See `SharedData.values`."""
        keys = {**self.of.values, **dict.fromkeys((*self.view.keys(), *self._own))}
        self.own = set(self._own)
        return {key: value for key in keys if (value := self.get(key, UNSET)) is not UNSET}

    def get(self, key: str, default: Any = None) -> Any:
        """See `SharedData.get`."""
        if key in self._own:
            value = self._own[key]
            return default if value is UNSET else value
        value = self.view.read(key)
        return self.of.get(key, default) if value is UNSET else value

    async def refresh(self) -> None:
        """See `SharedData.refresh`."""
        await self.view.refresh()

    def is_recorded(self, execution: Any) -> bool:
        """See `SharedData.is_recorded`: always."""
        return True

    def set(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.set`."""
        self._change("set", key, value, emit, by)

    def append(self, key: str, value: Any, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.append`."""
        self._change("append", key, value, emit, by)

    def delete(self, key: str, *, emit: bool = True, by: By = None) -> None:
        """See `SharedData.delete`."""
        self._change("delete", key, None, emit, by)

    def _change(self, op: Operation, key: str, value: Any, emit: bool, by: By) -> None:
        ingress.call(self._stored.runtime, lambda: self._record(op, key, value, emit, by), f"flow_state.async_{op}")

    def _record(self, op: Operation, key: str, value: Any, emit: bool, by: By) -> None:
        runtime = self._stored.runtime
        ingress.driver_of(runtime)
        if op == "append":
            held = list_at("flow_data", key, self.get(key, ()))
            if self._own.get(key, UNSET) is UNSET:
                op, value = "set", [*held, value]
        run, digest = (None, None) if by is None else by[1:]
        event = events.FlowDataChanged(runtime.environment.now(), run, key, value, digest, op, bool(emit), own=True)
        ingress.submit(runtime, event)


def _pack(types: Types, key: str, value: Any) -> bytes:
    """A value as the store gets it. Raises `PayloadError`."""
    where = f"flow_data[{key!r}]"
    try:
        return msgspec.json.encode(types.pack(value, where))
    except ValueError as error:  # for example, an integer with thousands of digits
        raise PayloadError(f"{where} cannot be recorded: {error}") from None


def _unpack(types: Types, data: bytes) -> Any:
    try:
        packed = _decode(data)
    except UNREADABLE as error:
        raise StoreDamaged(f"a stored value of shared data cannot be read: {error}") from error
    return types.unpack(packed)
