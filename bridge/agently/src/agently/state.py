"""State as Agently shows it: dotted keys lead into nested dicts, and what goes in or out is a copy. And settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from triggerflow.persistence import read
from triggerflow.portal import run_sync

MISSING: Any = object()


def copied(value: Any) -> Any:
    """The value with its dicts, lists, tuples and sets copied at every depth; other objects are passed as they are."""
    kind = type(value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    return kind(copied(item) for item in value) if kind in (list, tuple, set) else value


def found(values: Any, key: str, default: Any = MISSING) -> Any:
    """What a dotted key leads to."""
    for name in str(key).split("."):
        values = values.get(name, MISSING) if isinstance(values, Mapping) else MISSING
    return default if values is MISSING else values


def placed(root: Any, path: list[str], value: Any) -> Any:
    """Nested dicts with the value at a path, copied along it; `MISSING` takes out what stands there."""
    if not path:
        return value
    tree = dict(root) if isinstance(root, Mapping) else {}
    tree[path[0]] = placed(tree.get(path[0]), path[1:], value)
    return {name: item for name, item in tree.items() if item is not MISSING}


def delegate(attribute: str, method: str) -> Any:
    """A method that calls a method of an attribute."""
    return lambda self, *args, **options: getattr(getattr(self, attribute), method)(*args, **options)


def twin(method: str) -> Any:
    """The sync twin of an async method, for scripts; inside a running loop it raises `BlockingCallError`."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        return run_sync(lambda: getattr(self, method)(*args, **options), method, getattr(self, "loop", None))

    return call


def later(method: str) -> Any:
    """The async twin of a method that does not wait."""

    async def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self, method)(*args, **options)

    return call


class StateData:
    """Values by key. `set` replaces, and triggers `when({"runtime_data": key})` for exactly the key it was given.

    The engine fires by whole keys: a dotted change is a silent change of the tree at its first segment, then a change
    at the dotted key itself, which triggers; keys with a dot are therefore not shown. `store` takes the changes.
    """

    __slots__ = ("_store", "_values")

    def __init__(self, store: Any, values: Mapping[str, Any]) -> None:
        self._store, self._values = store, values

    def get(self, key: str | None = None, default: Any = None, *, inherit: bool = True) -> Any:
        """A copy of the value at a key, or the default; without a key all values."""
        return self.to_dict() if key is None else copied(found(self._values, key, default))

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Replace the value at a key; `MISSING` removes it."""
        root, *path = str(key).split(".")
        if path:
            self._store.set(root, placed(self._values.get(root), path, copied(value)), emit=False)
        if value is MISSING:
            self._store.delete(str(key), emit=emit)
        elif emit or not path:
            self._store.set(str(key), copied(value), emit=emit)

    def append(self, key: str, value: Any, *, emit: bool = True) -> None:
        """Append to the list at a key; a value that is no list becomes the first item of one."""
        held = found(self._values, key, [])
        self.set(key, [*held, value] if isinstance(held, list | tuple) else [held, value], emit=emit)

    def delete(self, key: str, *, emit: bool = True) -> None:
        """Remove a key; triggers with the value None."""
        self.set(key, MISSING, emit=emit)

    async_set, async_append, async_del = later("set"), later("append"), later("delete")

    def to_dict(self) -> dict[str, Any]:
        """A copy of all values."""
        return {key: copied(value) for key, value in self._values.items() if "." not in key}

    _shown = property(to_dict)
    keys, values, items = delegate("_shown", "keys"), delegate("_shown", "values"), delegate("_shown", "items")

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return self.get(key)

    def __contains__(self, key: str) -> bool:
        return found(self._values, key) is not MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def data_methods(attribute: str, *names: str, change: Any = delegate, change_async: Any = later) -> Any:
    """A class decorator: the methods for data, under all names the data goes by, delegated to an attribute."""

    def add(cls: Any) -> Any:
        for name in names:
            setattr(cls, f"get_{name}", delegate(attribute, "get"))
            for verb, short in (("set", "set"), ("append", "append"), ("delete", "del")):
                setattr(cls, f"{short}_{name}", change(attribute, verb))
                setattr(cls, f"async_{short}_{name}", change_async(f"{short}_{name}"))
        return cls

    return add


class Settings:
    """Values by dotted key; what is not here the parent has (Agently, flow, execution). Dicts of both are merged."""

    def __init__(self, parent: "Settings | None" = None) -> None:
        self.parent, self.data = parent, dict[str, Any]()

    def get(self, key: str | None = None, default: Any = None) -> Any:
        """A copy of the value at a key, or the default; without a key all."""
        above = MISSING if self.parent is None else self.parent.get(key, MISSING)
        here = self.data if key is None else found(self.data, key)
        return default if here is above is MISSING else _merged(above, here)

    def set_settings(self, key: str, value: Any) -> "Settings":
        """Set a value at this level; a dict is merged with what is there."""
        self.data = placed(self.data, key.split("."), _merged(found(self.data, key), value))
        return self

    def load_settings(self, data_type: str, path: str | Path) -> "Settings":
        """Read a "json_file" or "yaml_file"; which it is, its name says."""
        for key, value in read(Path(path), "utf-8").items():
            self.set_settings(key, value)
        return self


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copied(below if above is MISSING else above)
    return {**copied(below), **{key: _merged(below.get(key, MISSING), value) for key, value in above.items()}}


#: What `Agently.set_settings` sets.
GLOBAL = Settings()
