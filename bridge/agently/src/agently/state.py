"""State as Agently shows it: dotted keys address nested dicts, and values are copied when they are set or read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from triggerflow.extension import PLAIN_TYPES

from .adapt import carried, delegate

MISSING: Any = object()


def copied(value: Any) -> Any:
    """Copy the dicts, lists, tuples and sets of a value at every depth. Other objects are not copied."""
    kind = cast("Any", PLAIN_TYPES.get(type(value), type(value)))  # the engine's state holds types that refuse changes
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    return kind(map(copied, value)) if kind in (list, tuple, set) else value


def found(values: Any, key: str, *default: Any) -> Any:
    """The value at a dotted key, or the default. Raises `KeyError` if there is neither."""
    for name in str(key).split("."):
        if not isinstance(values, Mapping) or name not in values:
            return default[0] if default else values[key]
        values = values[name]
    return values


def placed(root: Any, path: list[str], value: Any) -> Any:
    """Set a value at a path in nested dicts; `MISSING` removes it. Returns the new root; `root` is not changed.

    Raises `TypeError` if a value on the path is not a dict.
    """
    if not path or (root is MISSING is value):
        return value
    if root is not MISSING and not isinstance(root, Mapping):
        raise TypeError(f"the key {path[0]!r} cannot be set: its parent is {root!r}, which is not a dictionary")
    tree: dict[str, Any] = {} if root is MISSING else dict(root)
    tree[path[0]] = placed(tree.get(path[0], MISSING), path[1:], value)
    return {name: item for name, item in tree.items() if item is not MISSING}


class StateData(Mapping[str, Any]):
    """Values by dotted key. `set` replaces a value and triggers `when({"runtime_data": key})` for exactly that key.

    The engine triggers by whole keys. So `set("a.b", 1)` makes two changes in the engine: it sets the tree at "a"
    without a signal, then it sets the key "a.b", which triggers. Reads show only the tree, and no key with a dot.

    `store` is the engine's state or flow data. `alone` calls a function without other changes in between. `carry`
    awaits a function on the event loop of the execution; None if any loop will do.
    """

    __slots__ = ("_alone", "_carry", "_store", "_values")

    def __init__(self, store: Any, values: Mapping[str, Any], alone: Any, carry: Any = None) -> None:
        self._store, self._values, self._alone, self._carry = store, values, alone, carry

    async def carry(self, deed: Callable[[], Any]) -> Any:
        """Call a function that changes values, from any event loop."""
        return deed() if self._carry is None else await self._carry(deed)

    def get(self, key: str | None = None, default: Any = None, inherit: bool = True) -> Any:
        """A copy of the value at a key, or the default. Without a key, a dict of all values."""
        return self.to_dict() if key is None else copied(found(self._values, key, default))

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key; `MISSING` removes it."""
        self._alone(lambda: self._set(key, value, emit))

    def _set(self, key: str, value: Any, emit: bool) -> None:
        root, *path = str(key).split(".")
        if path and not (value is MISSING and root not in self._values):
            self._store.set(root, placed(self._values.get(root, MISSING), path, copied(value)), emit=False)
        if value is MISSING:
            self._store.delete(str(key), emit=emit)
        elif emit or not path:
            self._store.set(str(key), copied(value), emit=emit)

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key. A value that is not a list becomes the first item of a new list."""
        self._alone(lambda: self._set(key, _with(found(self._values, key, []), value), emit))

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key. The signal has the value None."""
        self.set(key, MISSING, emit=emit)

    def fire(self, key: str, value: Any) -> None:
        """Trigger the chains that listen to a key, with a value. The stored value stays as it is."""
        held = self.get(key)
        self._alone(lambda: (self._set(key, value, True), self._set(key, held, False)))

    async_set, async_append, async_del = carried("set"), carried("append"), carried("delete")

    def to_dict(self, inherit: bool = True) -> dict[str, Any]:
        """A copy of all values."""
        return {key: copied(value) for key, value in self._values.items() if "." not in key}

    def __getitem__(self, key: str) -> Any:
        return copied(found(self._values, key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def _with(held: Any, value: Any) -> Any:
    return {*held, value} if isinstance(held, set) else [*held, value] if isinstance(held, list) else [held, value]


def data_methods(attribute: str, *names: str, change: Any = delegate, change_async: Any = carried) -> Any:
    """Make a class decorator that adds methods such as `get_NAME` and `set_NAME` for each name of some data.

    They call the methods of `self.<attribute>`; `change` and `change_async` make those that change it.
    """

    def add(cls: Any) -> Any:
        for name in names:
            setattr(cls, f"get_{name}", delegate(attribute, "get"))
            for verb, short in (("set", "set"), ("append", "append"), ("delete", "del")):
                setattr(cls, f"{short}_{name}", change(attribute, verb))
                setattr(cls, f"async_{short}_{name}", change_async(f"{short}_{name}"))
        return cls

    return add


class ResourceMethods:
    """Methods for resources that Agently's flows and executions have, and the engine's do not."""

    resources: Any

    def get_runtime_resource(self, key: str, default: Any = None) -> Any:
        return self.resources.get(key, default)

    def del_runtime_resource(self, key: str) -> Any:
        """Remove a resource that was given to this object. Does nothing if there is none of that name."""
        self.resources.pop(key, None)
        return self

    def clear_runtime_resources(self) -> Any:
        """Remove all resources that were given to this object."""
        self.resources.clear()
        return self
