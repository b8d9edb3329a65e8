"""State as Agently shows it: dotted keys lead into nested dicts, and what goes in or out is a copy."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from .adapt import carried, delegate

MISSING: Any = object()


def copied(value: Any) -> Any:
    """The value with its dicts, lists, tuples and sets copied at every depth; other objects are passed as they are."""
    kind = cast("Any", type(value))
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    return kind(map(copied, value)) if kind in (list, tuple, set) else value


def found(values: Any, key: str, *default: Any) -> Any:
    """What a dotted key leads to, or the default. Raises `KeyError` without one."""
    for name in str(key).split("."):
        if not isinstance(values, Mapping) or name not in values:
            return default[0] if default else values[key]
        values = values[name]
    return values


def placed(root: Any, path: list[str], value: Any) -> Any:
    """Nested dicts with the value at a path, copied along it; `MISSING` takes out what stands there."""
    if not path or (root is MISSING is value):
        return value
    if root is not MISSING and not isinstance(root, Mapping):
        raise TypeError(f"there is no place for {path[0]!r}: what stands above it is {root!r} and not a dictionary")
    tree: dict[str, Any] = {} if root is MISSING else dict(root)
    tree[path[0]] = placed(tree.get(path[0], MISSING), path[1:], value)
    return {name: item for name, item in tree.items() if item is not MISSING}


class StateData(Mapping[str, Any]):
    """Values by key. `set` replaces, and triggers `when({"runtime_data": key})` for exactly the key it was given.

    The engine fires by whole keys: a dotted change is a silent change of the tree at its first segment, then a change
    at the dotted key itself, which triggers; keys with a dot are therefore not shown. `store` takes the changes,
    `alone` makes one with no other in between, and `carry` awaits one on the loop where it has to be made, if on one.
    """

    __slots__ = ("_alone", "_carry", "_store", "_values")

    def __init__(self, store: Any, values: Mapping[str, Any], alone: Any, carry: Any = None) -> None:
        self._store, self._values, self._alone, self._carry = store, values, alone, carry

    async def carry(self, deed: Callable[[], Any]) -> Any:
        """Make a change from any event loop."""
        return deed() if self._carry is None else await self._carry(deed)

    def get(self, key: str | None = None, default: Any = None, inherit: bool = True) -> Any:
        """A copy of the value at a key, or the default; without a key all values."""
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
        """Append to the list at a key; a value that is no list becomes the first item of one."""
        self._alone(lambda: self._set(key, _with(found(self._values, key, []), value), emit))

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key; triggers with the value None."""
        self.set(key, MISSING, emit=emit)

    def fire(self, key: str, value: Any) -> None:
        """Trigger what waits for a change at a key, and change nothing."""
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
    """A class decorator: the methods for data, under all names the data goes by, delegated to an attribute."""

    def add(cls: Any) -> Any:
        for name in names:
            setattr(cls, f"get_{name}", delegate(attribute, "get"))
            for verb, short in (("set", "set"), ("append", "append"), ("delete", "del")):
                setattr(cls, f"{short}_{name}", change(attribute, verb))
                setattr(cls, f"async_{short}_{name}", change_async(f"{short}_{name}"))
        return cls

    return add


class ResourceMethods:
    """What Agently's flows and executions can do with their resources beyond what the engine's can."""

    resources: Any

    def get_runtime_resource(self, key: str, default: Any = None) -> Any:
        return self.resources.get(key, default)

    def del_runtime_resource(self, key: str) -> Any:
        """Take a resource away that was given here, if it is there."""
        self.resources.pop(key, None)
        return self

    def clear_runtime_resources(self) -> Any:
        """Take away all resources that were given here."""
        self.resources.clear()
        return self
