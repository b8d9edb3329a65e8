"""Reading and writing data as JSON or YAML text, and writing files, for all formats.

Input is not trusted. Only plain data is read, with a limit on size and depth. YAML aliases are refused: each use of an
alias repeats a whole value, so that a text of a kilobyte can mean gigabytes.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .._core.errors import DefinitionError, SnapshotError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

Refusal = type[DefinitionError] | type[SnapshotError]

#: Characters that end a line in YAML; PyYAML loses them in single-quoted text.
_LINE_ENDS = frozenset("\x85\u2028\u2029")


def parse_json(text: str, error: Refusal, *, limit: int, what: str = "this") -> Any:
    """Parse a JSON text. Raises `error` if it is invalid or longer than `limit` characters; `what` names it there."""
    _check_size(text, error, limit)
    try:
        return json.loads(text)
    except RecursionError:
        raise error("the JSON text is nested too deep") from None
    except ValueError as wrong:
        raise error(f"{what} is not valid JSON: {wrong}") from None


def parse_yaml(text: str, error: Refusal, *, limit: int, depth: int, what: str = "this") -> Any:
    """Parse a YAML text. Raises `error` as `parse_json` does, also for aliases and for nesting beyond `depth` levels.

    Raises `UsageError` if PyYAML is not installed.
    """
    _check_size(text, error, limit)
    yaml = _yaml()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml, yaml.parse(text, Loader=loader), error, depth)
        return yaml.load(text, Loader=loader)
    except RecursionError:  # raised for lists as keys of mappings
        raise error("the YAML text is nested too deep") from None
    except (yaml.YAMLError, ValueError) as wrong:  # ValueError: an invalid number or date
        if isinstance(wrong, error):
            raise
        raise error(f"{what} is not valid YAML: {wrong}") from None


def to_yaml(data: Mapping[str, Any]) -> str:
    """Plain data as YAML text, without aliases.

    Raises `DefinitionError` for a value that is not plain data, and `UsageError` if PyYAML is not installed.
    """
    yaml = _yaml()

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def write_text(dumper: Any, value: str) -> Any:
        style = None if _LINE_ENDS.isdisjoint(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, write_text)
    try:
        return yaml.dump(dict(data), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    except yaml.YAMLError as error:
        raise DefinitionError(f"this cannot be written as YAML: {error}") from error


def is_yaml(path: "Path") -> bool:
    """Whether a file of this name holds YAML."""
    return path.suffix in (".yaml", ".yml")


def write_file(name: "str | os.PathLike[str]", parts: Iterable[bytes], *, private: bool = False) -> None:
    """Write a file completely or not at all: a `.part` file in the same folder is renamed when it is complete.

    If it is `private`, only the user who writes it can read it; a file that is replaced keeps its permissions.
    """
    from pathlib import Path  # imported here, to keep the import of the package fast

    path = Path(name)
    draft = path.with_name(path.name + ".part")
    try:
        mode = path.stat().st_mode & 0o777 if private and path.exists() else 0o600
        draft.unlink(missing_ok=True)
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode if private else 0o666)) as file:
            file.writelines(parts)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _check_size(text: str, error: Refusal, limit: int) -> None:
    if len(text) > limit:
        raise error(f"the text has more than {limit:,} characters, which is the limit")


def _check_events(yaml: Any, events: Iterator[Any], error: Refusal, limit: int) -> None:
    """Raise `error` for an alias or too deep nesting, before any value is built."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise error(f"YAML aliases are not read (line {event.start_mark.line + 1}); write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > limit:
            raise error(f"the YAML text is nested too deep (line {event.start_mark.line + 1})")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise UsageError("YAML needs PyYAML: pip install 'triggerflow-engine[yaml]'; JSON works without it") from None
    return yaml
