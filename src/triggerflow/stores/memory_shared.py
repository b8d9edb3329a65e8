"""The shared data of flows in a `MemoryStore`: changes, folded values, and who listens to which keys."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from .protocol import FINAL_STATUSES, Append, SharedChange, SharedLog


class _Listener(msgspec.Struct):
    keys: frozenset[str]
    heard: int


class _FlowData:
    """The shared data of one flow."""

    def __init__(self) -> None:
        self.newest = 0
        #: the number up to which deleted keys were folded: a reader that knows fewer changes has to read all again
        self.floor = 0
        #: by key: up to which number its changes were folded, and the value
        self.values: dict[str, tuple[int, bytes]] = {}
        self.changes: list[SharedChange] = []
        #: by the id of the execution
        self.listeners: dict[str, _Listener] = {}

    def add(self, changes: Sequence[SharedChange], by: str | None) -> None:
        for change in changes:
            self.newest += 1
            self.changes.append(msgspec.structs.replace(change, number=self.newest, by=by))

    def folded(self, keys: Collection[str]) -> int:
        """Up to which number changes of these keys were folded."""
        return max((self.values[key][0] for key in keys if key in self.values), default=0)


class SharedTables:
    """The shared data of all flows."""

    def __init__(self) -> None:
        self._flows: dict[str, _FlowData] = {}

    def _of(self, flow: str) -> _FlowData:
        return self._flows.setdefault(flow, _FlowData())

    def has(self, flow: str) -> bool:
        """Whether a flow has shared data, or executions that listen to some."""
        return flow in self._flows

    def newest(self, flow: str) -> int:
        """The number of the newest change of a flow."""
        return self._flows[flow].newest if flow in self._flows else 0

    def apply(self, flow: str, add: Append) -> None:
        """Apply what an append says about shared data. The append was accepted."""
        if add.listens is not None:
            self.listen(flow, add.execution, add.listens, add.heard)
        data = self._of(flow)
        listener = data.listeners.get(add.execution)
        if listener is not None and add.heard is not None:
            listener.heard = max(listener.heard, add.heard)
        before = data.newest
        data.add(add.shared, add.execution)
        if listener is not None and listener.heard >= before:
            listener.heard = data.newest
        if add.status in FINAL_STATUSES:
            self.forget(flow, add.execution)

    def listen(self, flow: str, execution: str, keys: Collection[str], heard: int | None) -> None:
        """Let an execution listen to exactly these keys."""
        if not keys:
            self.forget(flow, execution)
            return
        data = self._of(flow)
        heard = data.newest if heard is None else heard
        data.listeners[execution] = _Listener(frozenset(keys), max(heard, data.folded(keys)))

    def forget(self, flow: str, execution: str) -> None:
        """Let an execution listen to nothing any more."""
        if flow in self._flows:
            self._flows[flow].listeners.pop(execution, None)

    def heard(self, flow: str, execution: str) -> int | None:
        """Up to which change an execution has taken them; None if it does not listen."""
        listener = self._flows[flow].listeners.get(execution) if flow in self._flows else None
        return None if listener is None else listener.heard

    def behind(self, flow: str) -> Iterator[str]:
        """The ids of the executions that have not heard of a change which they have to take."""
        data = self._flows.get(flow)
        for execution, listener in () if data is None else data.listeners.items():
            assert data is not None
            if any(_is_news(change, execution, listener) for change in data.changes):
                yield execution

    def change(self, flow: str, changes: Sequence[SharedChange]) -> int:
        """See `Store.change_shared`."""
        data = self._of(flow)
        data.add(changes, None)
        return data.newest

    def log(self, flow: str, after: int, limit: int) -> SharedLog:
        """See `Store.shared`."""
        data = self._flows.get(flow)
        if data is None:
            return SharedLog(newest=0, whole=after > 0)
        whole = after < data.floor or after > data.newest
        after = 0 if whole else after
        values = {key: it for key, it in data.values.items() if it[0] > after}
        changes = [change for change in data.changes if change.number > after]
        return SharedLog(newest=data.newest, whole=whole, values=values, changes=changes[:limit])

    def fold(self, flow: str, values: Mapping[str, tuple[int, bytes | None]]) -> list[str]:
        """See `Store.fold_shared`. Returns the keys that were folded."""
        data = self._of(flow)
        done: list[str] = []
        for key, (number, value) in values.items():
            upto = [change for change in data.changes if change.key == key and change.number <= number]
            news = any(_is_news(it, name, one) for name, one in data.listeners.items() for it in upto)
            if news or not upto:
                continue
            data.changes = [it for it in data.changes if it.key != key or it.number > number]
            if value is None:
                data.values.pop(key, None)
                data.floor = max(data.floor, number)
            else:
                data.values[key] = (number, value)
            done.append(key)
        return done


def _is_news(change: SharedChange, execution: str, listener: _Listener) -> bool:
    return change.emit and change.number > listener.heard and change.key in listener.keys and change.by != execution
