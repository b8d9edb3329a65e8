"""The OpenAPI 3.1 document of the server, made of the table of routes and the contracts of the flows."""

import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import msgspec

from ..backend import CODES, Contract
from ..backend.arguments import MAX_ID
from ..wire import ROUTES, AgentInput, Problem, Route, StartBody
from ..wire.problems import PROBLEM, STATUS
from ..wire.routes import IDEMPOTENCY_KEY, LAST_EVENT_ID, PREFER, Query, path_to
from .inputs import STATUSES

_REF = "#/components/schemas/{name}"
#: No text that a store keeps has a null character.
_TEXT = "^[^\\x00]*$"
_ID = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": _TEXT}, {"type": "null"}]}
_PART = {"type": "string", "minLength": 1, "maxLength": 2048, "pattern": _TEXT}
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


def openapi(contracts: Iterable[Contract], *, has_tokens: bool, server: str = "") -> dict[str, Any]:
    """The document. The start of each of these flows has a path of its own, with the schema of its value."""
    types: list[Any] = [Problem]
    for route in ROUTES:
        types += [it for it in (route.answer, route.body) if it not in (None, bytes)]
    schemas, components = msgspec.json.schema_components(_different(types), ref_template=_REF)
    names = dict(zip(map(repr, _different(types)), schemas, strict=True))
    found: dict[str, Any] = {it: _simpler(value) for it, value in components.items()}
    contracts = list(contracts)
    found["StartBody"] = _start_body(found["StartBody"], {})
    found["ForkBody"]["properties"]["id"] = _ID
    signals = _signals(contracts)
    if signals:
        found["EmitBody"] = {**found["EmitBody"], "anyOf": signals}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        if route.body not in (StartBody, AgentInput) or not contracts:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names, has_tokens)
            continue
        for contract in contracts:  # flows without code here cannot be started
            own = _operation(route, names, has_tokens, contract.flow)
            own["operationId"] = f"{route.name}_{re.sub(r'[^A-Za-z0-9_]', '_', contract.flow)}"
            if route.body is AgentInput:  # which part of it has to fit the flow depends on the input
                paths.setdefault(path_to(route, flow=contract.flow), {})["post"] = own
                continue
            body = _start_body(found["StartBody"], _inlined(contract.start))
            own["requestBody"] = {"required": False, "content": {"application/json": {"schema": body}}}
            if contract.start:  # without a value None is started
                body["required"] = ["value"]
                own["requestBody"]["required"] = True
            paths.setdefault(path_to(route, flow=contract.flow), {})["post"] = own
    security = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if has_tokens else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "TriggerFlow", "version": _version()},
        "servers": [{"url": server or "/"}],
        "paths": paths,
        "components": {"schemas": found, **security},
    }


def _signals(contracts: Iterable[Contract]) -> list[dict[str, Any]]:
    """The schemas of the bodies for declared signals, and one for all other names."""
    known = [(contract.flow, signal) for contract in contracts for signal in contract.signals]
    if not known:
        return []
    found: list[dict[str, Any]] = [
        {
            "title": f"{flow}: {signal.name}",
            "properties": {"name": {"const": signal.name}, "value": _inlined(signal.schema)},
            **({"required": ["name", "value"]} if signal.schema else {}),
        }
        for flow, signal in known
    ]
    names = sorted({signal.name for _, signal in known})
    return [*found, {"title": "any other", "properties": {"name": {"not": {"enum": names}}}}]


def _version() -> str:
    try:
        return version("triggerflow-engine")
    except PackageNotFoundError:
        return "0"


def _different(types: Iterable[Any]) -> list[Any]:
    return list({repr(it): it for it in types}.values())


def _simpler(schema: Any) -> Any:
    """A schema without `prefixItems`, which many tools do not support yet."""
    if isinstance(schema, list):
        return [_simpler(it) for it in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = {key: _simpler(it) for key, it in cast("dict[str, Any]", schema).items()}
    if "prefixItems" in found:
        found["items"] = {"anyOf": found.pop("prefixItems")}
    return found


def _start_body(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The schema of the body of a start, whose value has to fit `value`."""
    found: dict[str, Any] = {**schema, "properties": {**schema["properties"]}}
    own = found["properties"]
    own["value"] = value
    text = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": _TEXT}
    own["labels"] = {
        "type": "object",
        "propertyNames": text,
        "additionalProperties": {"type": "string", "maxLength": 1024, "pattern": _TEXT},
        "maxProperties": 60,
    }
    own["id"] = _ID
    own["delay"] = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1e9}, {"type": "null"}]}
    return found


def _operation(route: Route, names: dict[str, Any], has_tokens: bool, flow: str = "") -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": part, "in": "path", "required": True, "schema": _PART}
        for part in route.parts
        if not (flow and part == "flow")
    ]
    parameters += [_parameter(it) for it in route.query]
    if route.keyed:
        parameters.append(_header(IDEMPOTENCY_KEY, "a repeated call with the same key is performed once", MAX_ID))
    if route.name == "start":
        # A preference that the server does not know is ignored (RFC 7240), and so is none at all.
        parameters.append(_header(PREFER, "wait=30: answer with the result, if it comes within 30 s", 512, least=0))
    if route.kind in ("pages", "events") and route.method == "GET":
        pattern = "^[0-9]{1,15}$" if route.kind == "pages" else None
        parameters.append(_header(LAST_EVENT_ID, "the id of the last event that the reader has", 2048, pattern))
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "parameters": parameters,
        "responses": {**_answers(route, names), "default": _problems()},
    }
    if route.body is not None:
        required = any(field.required for field in msgspec.structs.fields(route.body))
        found["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": names[repr(route.body)]}},
        }
    if has_tokens and route.scope != "open":
        found["security"] = [{"token": []}]
        found["description"] = f"Needs the scope `{route.scope}`."
    return found


def _answers(route: Route, names: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.kind in ("json", "pages"):
        content["application/json"] = {"schema": names[repr(route.answer)]}
    if route.kind in ("pages", "events"):
        content["text/event-stream"] = {"schema": _EVENT}
    if route.kind == "bytes":
        content["application/jsonl"] = {"schema": {"type": "string"}}
    if route.kind == "text":
        content["text/plain"] = {"schema": {"type": "string"}}
    found = {str(route.status): {"description": "Done.", "content": content}}
    if route.name == "start":
        result = names[repr(next(it.answer for it in ROUTES if it.name == "result"))]
        found["200"] = {
            "description": "The result (`Prefer: wait`).",
            "content": {"application/json": {"schema": result}},
        }
    if route.name == "ready":
        found["503"] = {"description": "Not ready.", "content": content}
    return found


def _problems() -> dict[str, Any]:
    codes = ", ".join(sorted({*CODES.values(), *STATUS}))
    return {
        "description": f"A problem (RFC 9457). Its `code` is one of {codes}.",
        "content": {PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }


def _parameter(query: Query) -> dict[str, Any]:
    schema: dict[str, Any]
    match query.kind:
        case "count":
            schema = {"type": "integer", "minimum": int(query.least)}
            if query.most is not None:
                schema["maximum"] = int(query.most)
        case "number":
            schema = {"type": "number", "minimum": query.least, "maximum": 1e15 if query.most is None else query.most}
        case "flag":
            schema = {"type": "boolean"}
        case "mode":
            schema = {"type": "string", "enum": ["simplified", "detailed"]}
        case "statuses":
            schema = {"type": "array", "items": {"type": "string", "enum": sorted(STATUSES)}}
        case "labels":
            label = {"type": "string", "pattern": "^[^:\\x00]+:[^\\x00]*$", "maxLength": 512}
            schema = {"type": "array", "items": label}
        case _:
            schema = {**_PART, "minLength": int(query.least), "maxLength": int(query.most or 512)}
    found = {"name": query.name, "in": "query", "description": query.about, "schema": schema}
    if query.kind in ("statuses", "labels"):
        found |= {"style": "form", "explode": True}
    return found


def _header(name: str, about: str, most: int, pattern: str | None = None, least: int = 1) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": least, "maxLength": most}
    if pattern is not None:
        schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "description": about, "schema": schema}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its `$defs` inserted where they are used: in a document, its references would not resolve."""
    defs: dict[str, Any] = schema.get("$defs", {})

    def walk(value: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [walk(it, inside) for it in value]  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(value, dict):
            return value
        ref: Any = value.get("$ref")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(ref, str) and ref.startswith("#/$defs/"):
            name = ref.removeprefix("#/$defs/")
            if name in inside or name not in defs:
                return {}  # a type that contains itself is described once
            return walk(defs[name], (*inside, name))
        return {key: walk(it, inside) for key, it in value.items() if key != "$defs"}  # pyright: ignore

    return walk(schema, ())
