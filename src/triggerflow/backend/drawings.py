"""The drawing of a definition and the contract of a flow, as data."""

from collections.abc import Mapping
from typing import Any

from .._core.definition import Definition
from ..build.contract import json_schema
from ..diagram.graph import Mode, draw
from ..run.flow_runtime import FlowRuntime
from .shapes import Contract, Drawing, DrawnBlock, DrawnBox, DrawnLine, SignalInfo


def drawing_of(definition: Definition, mode: Mode) -> Drawing:
    """The drawing of a definition, as `to_mermaid` draws it without the insides of sub-flows."""
    drawn = draw(definition, mode=mode)
    return Drawing(
        flow=definition.name,
        definition=definition.fingerprint,
        boxes=[
            DrawnBox(key=it.key, shape=it.shape, lines=it.lines, operators=it.operators, block=it.block, flow=it.flow)
            for it in drawn.boxes
        ],
        blocks=[DrawnBlock(key=it.key, parent=it.parent, operator=it.operator) for it in drawn.blocks],
        lines=[
            DrawnLine(
                source=it.source, target=it.target, label=it.label, style=it.style, operators=list(it.operators)
            )
            for it in drawn.lines
        ],
    )  # fmt: skip


def contract_of(definition: Definition, flow: FlowRuntime | None) -> Contract:
    """The contract of a flow; without its code only the names of the signals are known."""
    types: Mapping[str, Any] = {} if flow is None else flow.contract.types
    signal_types: Mapping[str, Any] = {} if flow is None else flow.signal_types
    heard = {
        trigger.name for operator in definition.operators for trigger in operator.listens if trigger.kind == "event"
    }
    names = sorted({*heard, *definition.external}, key=lambda name: (name not in definition.external, name))
    return Contract(
        flow=definition.name,
        has_code=flow is not None,
        definition=definition.fingerprint,
        start=_schema(types, "initial_input"),
        result=_schema(types, "result"),
        item=_schema(types, "stream"),
        signals=[
            SignalInfo(name=name, external=name in definition.external, schema=_schema(signal_types, name))
            for name in names
        ],
        state={} if flow is None or flow.state is None else json_schema(flow.state.model),
    )


def _schema(types: Mapping[str, Any], name: str) -> dict[str, Any]:
    return json_schema(types[name]) if name in types else {}
