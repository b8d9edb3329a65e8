"""Settings on three levels: of `Agently`, of a flow or agent, and of an execution."""

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
    """Values by dotted key. A key without a value here has that of the parent; if both are dicts, they are merged."""

    def __init__(self, parent: "Settings | None" = None) -> None:
        self.parent, self.data = parent, dict[str, Any]()

    def get(self, key: str | None = None, default: Any = None, inherit: bool = True) -> Any:
        """A copy of the value at a key, or the default. Without a key, a dict of all values."""
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
        """Set a value on this level. A dict is merged into the dict that the key has."""
        value = filled(value, {f"ENV.{name}": it for name, it in os.environ.items()}) if auto_load_env else value
        self.data = placed(self.data, key.split("."), merged(found(self.data, key, MISSING), value))
        return self

    def update(self, values: Mapping[str, Any], **options: Any) -> None:
        """Set several values on this level. See `set_settings`."""
        for key, value in values.items():
            self.set_settings(key, value, **options)

    def load_settings(
        self, data_type: str, value: str | Path, *, auto_load_env: bool = False, raise_empty: bool = False
    ) -> "Settings":
        """Set the values of a file ("json_file", "yaml_file", "toml_file") or of a text ("json", "yaml", "toml").

        With `auto_load_env`, `${ENV.NAME}` in a text is replaced by the environment variable NAME.
        """
        text = Path(value).read_text("utf-8") if data_type.endswith("_file") else str(value)
        values = {"json": json.loads, "toml": tomllib.loads, "yaml": _yaml}[data_type.removesuffix("_file")](text)
        self.update(values, auto_load_env=auto_load_env)
        return self

    set = __setitem__


def _yaml(text: str) -> Any:
    import yaml  # imported here, because programs without YAML settings do not need PyYAML

    return yaml.safe_load(text)


def filled(value: Any, known: Mapping[str, Any]) -> Any:
    """Replace each `${name}` in the texts of a value by `known[name]`. An unknown name is left as it is."""
    if isinstance(value, str):
        whole = re.fullmatch(_PLACE, value)
        return known.get(whole[1], value) if whole else re.sub(_PLACE, lambda it: str(known.get(it[1], it[0])), value)
    if isinstance(value, dict):
        return {filled(key, known): filled(item, known) for key, item in value.items()}
    return type(value)([filled(item, known) for item in value]) if type(value) in (list, tuple) else value


def merged(below: Any, above: Any) -> Any:
    """Merge two values: dicts at every depth; else the result is `above`, or `below` if `above` is `MISSING`."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copied(below if above is MISSING else above)
    return {**copied(below), **{key: merged(below.get(key, MISSING), value) for key, value in above.items()}}


#: The settings of `Agently`, which flows, agents and executions inherit.
GLOBAL = Settings()
