"""Settings, in three levels: Agently, flow or agent, execution."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from .state import MISSING, copied, found, placed

_PLACE = r"\$\{\s*([^{}]+?)\s*\}"


class Settings(MutableMapping[str, Any]):
    """Values by dotted key; what is not here the parent has. Dicts of both are merged."""

    def __init__(self, parent: "Settings | None" = None) -> None:
        self.parent, self.data = parent, dict[str, Any]()

    def get(self, key: str | None = None, default: Any = None, inherit: bool = True) -> Any:
        """A copy of the value at a key, or the default; without a key all."""
        above = MISSING if self.parent is None or not inherit else self.parent.get(key, MISSING)
        here = self.data if key is None else found(self.data, key, MISSING)
        return default if here is above is MISSING else merged(above, here)

    def __getitem__(self, key: str) -> Any:
        return found(self.get(), key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.get())

    def __len__(self) -> int:
        return len(self.get())

    def __setitem__(self, key: str, value: Any) -> None:
        self.data = placed(self.data, key.split("."), copied(value))

    def __delitem__(self, key: str) -> None:
        found(self.data, key)
        self.data = placed(self.data, key.split("."), MISSING)

    def set_settings(
        self, key: str, value: Any, *, auto_load_env: bool = False, raise_empty: bool = False
    ) -> "Settings":
        """Set a value at this level; a dict is merged with what is there."""
        value = filled(value, {f"ENV.{name}": it for name, it in os.environ.items()}) if auto_load_env else value
        self.data = placed(self.data, key.split("."), merged(found(self.data, key, MISSING), value))
        return self

    def update(self, values: Mapping[str, Any], **options: Any) -> None:
        """Set several values; dicts are merged with what is there."""
        for key, value in values.items():
            self.set_settings(key, value, **options)

    def load_settings(
        self, data_type: str, value: str | Path, *, auto_load_env: bool = False, raise_empty: bool = False
    ) -> "Settings":
        """Read a "json_file", "yaml_file" or "toml_file", or ("json" ...) such a text.

        With `auto_load_env`, `${ENV.NAME}` in a text value stands for that variable of the environment.
        """
        text = Path(value).read_text("utf-8") if data_type.endswith("_file") else str(value)
        values = {"json": json.loads, "toml": tomllib.loads, "yaml": _yaml}[data_type.removesuffix("_file")](text)
        self.update(values, auto_load_env=auto_load_env)
        return self

    set = __setitem__


def _yaml(text: str) -> Any:
    import yaml  # who writes no YAML needs no parser for it

    return yaml.safe_load(text)


def filled(value: Any, known: Mapping[str, Any]) -> Any:
    """The value with what is known in the place of each `${name}`; what is not known stays as it is."""
    if isinstance(value, str):
        whole = re.fullmatch(_PLACE, value)
        return known.get(whole[1], value) if whole else re.sub(_PLACE, lambda it: str(known.get(it[1], it[0])), value)
    if isinstance(value, dict):
        return {filled(key, known): filled(item, known) for key, item in value.items()}
    return type(value)([filled(item, known) for item in value]) if type(value) in (list, tuple) else value


def merged(below: Any, above: Any) -> Any:
    """Two values as one: dicts of both are merged at every depth, else the second stands, unless it is `MISSING`."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copied(below if above is MISSING else above)
    return {**copied(below), **{key: merged(below.get(key, MISSING), value) for key, value in above.items()}}


#: What `Agently.set_settings` sets.
GLOBAL = Settings()
