"""The format "triggerflow/v1": a `Definition` as a dict, as JSON text and as YAML text.

The format holds data only: an operator names its handler, and the program that loads the definition has the callable.
Input is not trusted. It is checked completely before it is used, so that the engine can rely on a loaded definition as
on one that the builder made. Every error names the place: `operators[3].listens[0]`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast, get_args

import msgspec

from .._core.definition import Definition, Operator, OperatorKind
from .._core.errors import DefinitionError
from .._core.operators import compile_plan
from .._core.signals import START, Trigger, TriggerKind
from ..build.arguments import closest
from . import text
from .wiring import MAX_DEPTH, check_wiring

FORMAT = "triggerflow/v1"

#: The longest text that is read, in characters, and the largest flow, in operators.
MAX_TEXT = 10_000_000
MAX_OPERATORS = 50_000

KINDS: tuple[TriggerKind, ...] = tuple(kind for kind in get_args(TriggerKind) if kind != "resume")
_NAMED = "|".join(kind for kind in KINDS if kind != "start")

TriggerText = Annotated[
    str,
    msgspec.Meta(
        description="start, or kind:name, such as event:Loop", extra_json_schema={"pattern": f"^(start|({_NAMED}):.+)$"}
    ),
]


class OperatorConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One operator; see `Operator`. `emits[0]` is the trigger that it fires when it is done."""

    id: str
    kind: OperatorKind
    name: str
    listens: list[TriggerText]
    emits: list[TriggerText]
    handler: str | None = None
    options: dict[str, Any] = {}
    group: str | None = None
    inside: str | None = None


class FlowConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A flow: its operators in the order of their definition, and the events that are declared external.

    Configs of earlier versions lack `external`. For them every event that has a listener and no emitter is external.
    """

    format: Literal["triggerflow/v1"]
    name: str
    external: list[str] | None = None
    operators: list[OperatorConfig]


def to_config(definition: Definition, *, validate_serializable: bool = True) -> dict[str, Any]:
    """The definition as a dict; `validate_serializable` checks that JSON can carry it.

    Raises `DefinitionError` for an option that JSON cannot carry unchanged, such as a tuple as the literal of a case.
    """
    operators = [_written(operator) for operator in definition.operators]
    if validate_serializable:
        for index, operator in enumerate(operators):
            _check_json(operator.get("options"), f"operators[{index}].options")
    return {"format": FORMAT, "name": definition.name, "external": list(definition.external), "operators": operators}


def from_config(config: Mapping[str, Any]) -> Definition:
    """The definition that a dict describes. Raises `DefinitionError`, which names the place in the dict."""
    if not isinstance(config, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DefinitionError(f"a flow's config is a mapping, not a {type(config).__name__}: {config!r:.200}")
    _check_format(config)
    operators: object = config.get("operators")
    if isinstance(operators, list) and len(cast("list[Any]", operators)) > MAX_OPERATORS:
        raise DefinitionError(f"operators: there are more than {MAX_OPERATORS:,}, which is the limit")
    try:
        flow = msgspec.convert(dict(config), FlowConfig)
    except msgspec.ValidationError as error:
        raise DefinitionError(_explain(str(error), config)) from None
    definition = Definition(flow.name, tuple(_read(it, f"operators[{n}]") for n, it in enumerate(flow.operators)))
    external = definition.outside_events if flow.external is None else flow.external
    definition = Definition(flow.name, definition.operators, tuple(sorted(external)))
    check_wiring(definition)
    compile_plan(definition)  # raises now what the engine would raise when it uses the definition
    return definition


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the format. `from_config` checks more: that the operators fit together."""
    schema = msgspec.json.schema(FlowConfig)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"A flow, {FORMAT}", **schema}


# -- text --------------------------------------------------------------------------------------------------------------


def to_json(config: Mapping[str, Any]) -> str:
    """The config as JSON text. Raises `DefinitionError` for a value that JSON cannot carry."""
    try:
        return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise DefinitionError(f"this config cannot be written as JSON: {error}") from error


def to_yaml(config: Mapping[str, Any]) -> str:
    """The config as YAML text. Raises `UsageError` if PyYAML is not installed."""
    return text.to_yaml(config)


def parse_json(source: str) -> Any:
    """Parse a JSON text. Raises `DefinitionError`."""
    return text.parse_json(source, DefinitionError, limit=MAX_TEXT, what=_begins(source))


def parse_yaml(source: str) -> Any:
    """Parse a YAML text of plain data without aliases. Raises `DefinitionError`; `UsageError` without PyYAML."""
    return text.parse_yaml(source, DefinitionError, limit=MAX_TEXT, depth=MAX_DEPTH, what=_begins(source))


def _begins(source: str) -> str:
    """How an error message names a text. A short text is shown, because it may be the path of a missing file."""
    return "this" if len(source) > 200 or "\n" in source or "{" in source else f"{source!r}, which is not a file,"


# -- one operator ------------------------------------------------------------------------------------------------------


def _written(operator: Operator) -> dict[str, Any]:
    """An operator as a dict, without empty fields."""
    optional: dict[str, Any] = {
        "handler": operator.handler,
        "options": dict(operator.options) or None,
        "group": operator.group,
        "inside": operator.inside,
    }
    return {
        "id": operator.id,
        "kind": operator.kind.value,
        "name": operator.name,
        "listens": [_trigger_text(trigger) for trigger in operator.listens],
        "emits": [_trigger_text(trigger) for trigger in operator.emits],
        **{key: value for key, value in optional.items() if value is not None},
    }


def _trigger_text(trigger: Trigger) -> str:
    return "start" if trigger == START else trigger.key


def _read(config: OperatorConfig, where: str) -> Operator:
    _check_json(config.options, f"{where}.options")
    if not config.id or not config.name:
        raise DefinitionError(f"{where}: id and name must not be empty")
    return Operator(
        id=config.id,
        kind=config.kind,
        name=config.name,
        listens=tuple(_trigger(text, f"{where}.listens[{n}]") for n, text in enumerate(config.listens)),
        emits=tuple(_trigger(text, f"{where}.emits[{n}]") for n, text in enumerate(config.emits)),
        handler=config.handler,
        options=config.options,
        group=config.group,
        inside=config.inside,
    )


def _trigger(text: str, where: str) -> Trigger:
    if text == "start":
        return START
    kind, _, name = text.partition(":")
    if not name or kind == "start" or kind not in KINDS:
        hint = _near(kind, KINDS) if name else f"write start, or kind:name with a kind of {list(KINDS[1:])}"
        raise DefinitionError(f"{where}: {text!r} is not a trigger; {hint}")
    if kind == "timer" and not _is_delay(name):
        raise DefinitionError(f"{where}: {text!r} must name a number of seconds after the start, such as timer:5.0")
    return Trigger(kind, name)


def _is_delay(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def _check_json(value: Any, where: str, depth: int = 0) -> None:
    """Raise `DefinitionError` unless JSON carries the value unchanged."""
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return
    if depth > MAX_DEPTH:
        raise DefinitionError(f"{where}: this is nested more than {MAX_DEPTH} levels deep")
    if type(value) is list:
        for index, item in enumerate(cast("list[Any]", value)):
            _check_json(item, f"{where}[{index}]", depth + 1)
    elif type(value) is dict and all(type(key) is str for key in cast("dict[Any, Any]", value)):
        for key, item in cast("dict[str, Any]", value).items():
            _check_json(item, f"{where}.{key}", depth + 1)
    else:
        kind = type(cast("object", value)).__name__
        raise DefinitionError(
            f"{where}: {value!r} ({kind}) cannot be carried by JSON unchanged; use null, true, false, numbers, "
            "strings, lists and objects; for a case, a named function of the data can be the condition instead"
        )


# -- errors ------------------------------------------------------------------------------------------------------------


def _check_format(config: Mapping[str, Any]) -> None:
    found = config.get("format")
    if found == FORMAT:
        return
    if isinstance(found, str) and (version := re.fullmatch(r"triggerflow/v(\d+)", found)):
        reader = "a newer triggerflow-engine" if int(version[1][:9]) > 1 else "no triggerflow-engine"
        raise DefinitionError(f"format: {found!r} is read by {reader}; this version reads {FORMAT!r}")
    what = f"{found!r} is" if "format" in config else "there is no format, so this is"
    raise DefinitionError(f"format: {what} not a config of a flow; get_flow_config() writes the format {FORMAT!r}")


_AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<place>[^`]*)`(?: in `\$?(?P<outer>.*)`)?)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_KIND = re.compile(r"Invalid enum value (.*)", re.DOTALL)


def _explain(message: str, config: Mapping[str, Any]) -> str:
    """An error message of msgspec in our form: the place first, and the nearest valid name."""
    match = _AT.fullmatch(message)
    what, place = (message, "") if match is None else (match["what"], match["place"] or "")
    if match is not None and match["outer"] is not None:
        what, place = "the keys must be strings", match["outer"]
    place = place.removeprefix("$").lstrip(".")
    fields = (OperatorConfig if place else FlowConfig).__struct_fields__
    if unknown := _UNKNOWN.fullmatch(what):
        what = f"there is no key {unknown[1]!r}; {_near(unknown[1], fields)}"
    elif unknown := _KIND.fullmatch(what):
        what = f"there is no operator kind {unknown[1]}; {_near(unknown[1].strip(chr(39)), list(OperatorKind))}"
    return f"{place or 'the config'}: {what}"


def _near(name: str, names: Iterable[str]) -> str:
    known = [str(it) for it in names]
    near = closest(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {known}"
