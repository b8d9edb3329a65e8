"""Random descriptions with random answers: each is drawn, sent by the rules, converted, and found in its parts."""

import dataclasses
import json
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pydantic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models.descriptions import descriptions
from tests.models.strict_rules import check_strict
from triggerflow.models import Output
from triggerflow.models.instant import InstantParser
from triggerflow.models.outputs.misfits import misfits

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def plain(value: Any) -> Any:
    """A converted value as JSON again."""
    if isinstance(value, pydantic.BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag_field
        found = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return found if tag is None else {tag: value.__struct_config__.tag, **found}
    if dataclasses.is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


def covers(made: Any, data: Any) -> bool:
    """Whether the made value says what the data says. Beside that, it may have the defaults of optional keys."""
    if isinstance(made, dict) and isinstance(data, dict):
        left = made.keys() - data.keys()
        return (
            data.keys() <= made.keys()
            and all(made[key] is None for key in left)
            and all(covers(made[key], data[key]) for key in data)
        )
    if isinstance(made, list) and isinstance(data, list):
        same = len(made) == len(data) and all(map(covers, made, data))
        return same or (all(isinstance(one, str) for one in data) and made == sorted(data))
    return made == data and type(made) is type(data)


def filled(data: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """The answer as a strict server makes the model write it: with null for every key that was left out."""
    if "$ref" in schema:
        return filled(data, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        for member in schema["anyOf"]:
            made = filled(data, member, definitions)
            if not misfits(made, {**member, "$defs": definitions}):
                return made
    if isinstance(data, dict) and "properties" in schema:
        missing = {key: None for key in schema["properties"] if key not in data}
        parts = {key: filled(part, schema["properties"].get(key, {}), definitions) for key, part in data.items()}
        return {**parts, **missing}
    if isinstance(data, list) and "items" in schema:
        return [filled(item, schema["items"], definitions) for item in data]
    return data


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_a_random_description(source: st.DataObject) -> None:
    described = source.draw(descriptions())
    output = Output(described.description)
    assert output.prompt.startswith('{\n  "all": ')
    json.dumps([output.full_schema, output.object_schema, output.schema])
    if output.strict:
        check_strict(output.schema)
    for _ in range(3):
        data = json.loads(json.dumps(source.draw(described.answers)))
        assert not misfits(data, output.full_schema)
        assert covers(plain(output.convert(data)), data)
        if output.strict:
            strict = filled(data, output.schema, output.schema.get("$defs", {}))
            assert not misfits(strict, output.schema)
            assert covers(plain(output.convert(strict)), data)
        parser = InstantParser(root=output.root, expect_keys=output.keys)
        for event in (*parser.feed(json.dumps(data)), *parser.finish()):
            if event.is_complete:
                made = output.part(event.keys).convert(event.value)
                assert covers(plain(made), event.value)
