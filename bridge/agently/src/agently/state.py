"""State as Agently shows it: dotted keys lead into nested dicts, and what goes in or out is a copy. And settings."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from triggerflow.persistence import read
from triggerflow.portal import run_sync

MISSING: Any = object()


def is_a(value: Any, *kinds: type) -> bool:
    """`isinstance`, after which a type checker still takes the value for anything: what it holds is not known."""
    return isinstance(value, kinds)


_COPIED: Any = (list, tuple, set)


def copied(value: Any) -> Any:
    """The value with its dicts, lists, tuples and sets copied at every depth; other objects are passed as they are."""
    kind = cast("Any", type(value))
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    return kind([copied(item) for item in value]) if kind in _COPIED else value


def found(values: Any, key: str, default: Any = MISSING) -> Any:
    """What a dotted key leads to."""
    for name in str(key).split("."):
        values = values.get(name, MISSING) if is_a(values, Mapping) else MISSING
    return default if values is MISSING else values


def placed(root: Any, path: list[str], value: Any) -> Any:
    """Nested dicts with the value at a path, copied along it; `MISSING` takes out what stands there."""
    if not path:
        return value
    tree: dict[str, Any] = dict(root) if is_a(root, Mapping) else {}
    tree[path[0]] = placed(tree.get(path[0]), path[1:], value)
    return {name: item for name, item in tree.items() if item is not MISSING}


def view(get: Callable[[Any], Any]) -> Any:
    """A property that needs no more than an expression."""
    return property(get)


def method(call: Callable[[Any], Any] | Callable[[Any, Any], Any]) -> Any:
    """A method that needs no more than an expression."""
    return call


def delegate(attribute: str, method: str) -> Any:
    """A method that calls a method of an attribute."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(getattr(self, attribute), method)(*args, **options)

    return call


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

    def fire(self, key: str, value: Any) -> None:
        """Trigger what waits for a change at a key, and change nothing."""
        held = self.get(key)
        self.set(key, value)
        self.set(key, held, emit=False)

    async_set, async_append, async_del = later("set"), later("append"), later("delete")

    def to_dict(self) -> dict[str, Any]:
        """A copy of all values."""
        return {key: copied(value) for key, value in self._values.items() if "." not in key}

    shown = view(to_dict)
    keys, values, items = delegate("shown", "keys"), delegate("shown", "values"), delegate("shown", "items")
    __iter__, __len__ = delegate("shown", "__iter__"), delegate("shown", "__len__")

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return self.get(key)

    def __contains__(self, key: str) -> bool:
        return found(self._values, key) is not MISSING


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

    def load_settings(self, data_type: str, path: str | Path, *, auto_load_env: bool = True) -> "Settings":
        """Read a "json_file", "yaml_file" or "toml_file", or ("json" ...) such a text.

        `${ENV.NAME}` in a text value stands for that variable of the environment, unless `auto_load_env` is off.
        """
        source = Path(path) if data_type.endswith("_file") else path
        if data_type.startswith("toml"):
            values = tomllib.loads(source.read_text("utf-8") if isinstance(source, Path) else source)
        else:
            values = read(source, "utf-8")
        for key, value in values.items():
            self.set_settings(key, _filled(value) if auto_load_env else value)
        return self


def _filled(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$\{\s*ENV\.(\w+)\s*\}", lambda it: os.environ.get(it[1], it[0]), value)
    if is_a(value, dict):
        return {key: _filled(item) for key, item in value.items()}
    return [_filled(item) for item in value] if is_a(value, list) else value


def _merged(below: Any, above: Any) -> Any:
    if not (is_a(below, dict) and is_a(above, dict)):
        return copied(below if above is MISSING else above)
    return {**copied(below), **{key: _merged(below.get(key, MISSING), value) for key, value in above.items()}}


#: What `Agently.set_settings` sets.
GLOBAL = Settings()
