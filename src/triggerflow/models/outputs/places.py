"""The paths that a described answer can have. A path that can never match is refused before the request is sent."""

import difflib
import re
from collections.abc import Iterable
from typing import Protocol

from ..errors import ResponseUsageError
from ..paths import PathStyle, Step, parse, render
from .schemas import Definitions, Schema, choices, items_of, name_of, resolve

_INDEX = re.compile(r"\[\d+\]")
_ANY_INDEX = re.compile(r"\[(?:\*|\d+)\]")


class Described(Protocol):
    """What has a JSON schema: the `Output` of a response."""

    @property
    def full_schema(self) -> Schema:
        """The JSON schema of the answer."""
        ...


def check_paths(paths: Iterable[str], output: Described | None, style: PathStyle) -> None:
    """Raise `ResponseUsageError` for a path, like `items[*].title` or `items[0]`, that no event of this answer has."""
    schema = None if output is None else output.full_schema
    known = {} if schema is None else places(schema, style)
    for path in paths:
        if schema is not None and path in known:
            _check_certain(path, schema, style)
            continue
        general = _INDEX.sub("[*]", path)
        if general != path and "[*]" in path:
            raise ResponseUsageError(
                f"the path {path!r} would never match: write [*] for all of its indexes, or for none"
            )
        if (
            schema is not None
            and general not in known
            and not any(takes_any and _is_in(general, place) for place, takes_any in known.items())
        ):
            raise _unknown(path, general, known)


def _check_certain(path: str, schema: Schema, style: PathStyle) -> None:
    """Raise if two places of an answer have this path, because a key contains a dot."""
    found = [steps for steps in _walk(schema) if render(steps, style) == path]
    if len(found) > 1:
        raise ResponseUsageError(
            f"the path {path!r} stands for {len(found)} places of the answer that `output` describes,"
            f" {' and '.join(map(repr, found))}; use path_style={'slash' if style == 'dot' else 'dot'!r}"
        )


def exact_steps(path: str, schema: Schema, style: PathStyle) -> tuple[Step, ...] | None:
    """The steps to a path that is described; None for one inside of a place where any value may be, or of a type that
    contains itself."""
    known = places(schema, style)
    return steps_of(path, schema, style) if path in known or _INDEX.sub("[*]", path) in known else None


def steps_of(path: str, schema: Schema, style: PathStyle) -> tuple[Step, ...]:
    """The steps from the root of an answer of this schema to the path. Raises `ResponseUsageError` like
    `check_paths`."""
    found = _walk(schema)
    named = {render(steps, style): steps for steps in reversed(found)}
    general = path if path in named else _INDEX.sub("[*]", path)
    at = general
    if general not in named:
        around = [place for place, steps in named.items() if found[steps] and _is_in(general, place)]
        if not around:
            raise _unknown(path, general, named)
        at = max(around, key=len)
    start, rest = named[at], general[len(at) :]
    steps = [*start, *parse(rest, style)]
    if general != path:
        indexes = iter(_ANY_INDEX.findall(path))
        steps = [step if isinstance(step, str) else _index(next(indexes)) for step in steps]
    return tuple(steps)


def _index(bracketed: str) -> int | None:
    return None if bracketed == "[*]" else int(bracketed[1:-1])


def places(schema: Schema, style: PathStyle) -> dict[str, bool]:
    """The wildcard path of every place in an answer of this schema, and whether a value of any type may be there."""
    found: dict[str, bool] = {}
    for steps, takes_any in _walk(schema).items():
        path = render(steps, style)
        found[path] = found.get(path, False) or takes_any
    return found


def _walk(schema: Schema) -> dict[tuple[Step, ...], bool]:
    """The steps to every place in an answer of this schema, and whether a value of any type may be there."""
    found: dict[tuple[Step, ...], bool] = {}
    definitions: Definitions = schema.get("$defs", {})

    def walk(part: Schema, path: tuple[Step, ...], inside: frozenset[str]) -> None:
        name = name_of(part)
        part = resolve(part, definitions)
        members = [*choices(part), *part.get("allOf", ())]
        again = name in inside  # a type that contains itself has paths without end: stop here
        found[path] = found.get(path, False) or again or (not members and _takes_anything(part))
        if again:
            return
        inside = inside | {name} if name else inside
        for member in members:
            walk(member, path, inside)
        for item in items_of(part):
            walk(item, (*path, None), inside)
        for key, value in part.get("properties", {}).items():
            walk(value, (*path, key), inside)

    walk(schema, (), frozenset())
    return found


def _unknown(path: str, general: str, known: Iterable[str]) -> ResponseUsageError:
    near = difflib.get_close_matches(general, list(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"its paths are {[at for at in known if at]}"
    return ResponseUsageError(f"the answer that `output` describes never has the path {path!r}; {hint}")


def _takes_anything(part: Schema) -> bool:
    kind = part.get("type")
    if kind == "object":
        return "properties" not in part or part.get("additionalProperties", False) is not False
    if kind == "array":
        return "items" not in part and "prefixItems" not in part
    return isinstance(kind, list) or (kind is None and not part.keys() & {"enum", "const"})


def _is_in(path: str, place: str) -> bool:
    return path.startswith(place) and (place in ("", "/") or path[len(place)] in "./[")
