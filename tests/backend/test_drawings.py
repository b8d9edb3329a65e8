"""Drawings as data: each operator that runs is in a box or on a line, in the drawing of the code and of the store."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import soak
from tests.backend.reading import store_records
from tests.core.flows import Program, programs
from tests.core.simulation import TYPES
from triggerflow import TriggerFlow
from triggerflow._core.definition import Definition, OperatorKind
from triggerflow.backend import BadRequest, Drawing, StoreBackend
from triggerflow.backend.drawings import drawing_of
from triggerflow.stores import MemoryStore

#: The operators that start runs.
RUNS = {OperatorKind.CHUNK, OperatorKind.SUB_FLOW, OperatorKind.MATCH_CASE}


def check_drawing(drawing: Drawing, definition: Definition, detailed: bool) -> None:
    """Each operator has its place; what keys refer to is there."""
    boxes, blocks = {it.key for it in drawing.boxes}, {it.key for it in drawing.blocks}
    assert len(boxes) == len(drawing.boxes)
    assert len(blocks) == len(drawing.blocks)
    assert {it.block for it in drawing.boxes} | {it.parent for it in drawing.blocks} <= {*blocks, None}
    assert {end for it in drawing.lines for end in (it.source, it.target)} <= boxes
    drawn = {it for part in (*drawing.boxes, *drawing.lines) for it in part.operators}
    for operator in definition.operators:
        if operator.kind in RUNS or (detailed and operator.kind is not OperatorKind.GO_BACK):
            assert operator.id in drawn, operator
    assert drawn <= set(definition.by_id)
    assert {it.operator for it in drawing.blocks} <= set(definition.by_id)
    for box in drawing.boxes:
        assert (box.flow is not None) == (box.shape == "flow")


@soak.examples(80)
@given(programs("any"), st.booleans())
def test_every_operator_that_runs_is_drawn(program: Program, detailed: bool) -> None:
    """In the simplified drawing conditions are on the lines that go through them."""
    for flow in (program.flow, *program.sub_flows):
        drawing = drawing_of(flow.definition, "detailed" if detailed else "simplified")
        check_drawing(drawing, flow.definition, detailed)


@soak.examples(20)
@given(programs("any"))
def test_a_definition_that_is_only_in_the_store_is_drawn_like_the_code(program: Program) -> None:
    """The drawing of the newest execution of a flow, or of a fingerprint, needs no code."""

    async def check() -> None:
        async with MemoryStore() as store:
            simulated = program.simulate()
            await store_records(store, "one", simulated.plan, simulated.records, TYPES)
            definition = program.flow.definition
            backend = StoreBackend(store)
            drawing = await backend.drawing(definition.name)
            assert drawing == drawing_of(definition, "simplified")
            assert await backend.drawing(definition.name, definition=definition.fingerprint) == drawing

    asyncio.run(check())


def _nothing(data: Any) -> None: ...


async def test_an_unknown_mode_is_refused() -> None:
    async with MemoryStore() as store:
        flow = TriggerFlow("one")
        flow.when("go").to(flow.chunk(_nothing)).end()
        backend = StoreBackend(store, flow)
        with pytest.raises(BadRequest):
            await backend.drawing("one", mode="round")  # pyright: ignore[reportArgumentType]
