"""One depth limit for writing and reading: what is written can be read, with folding and in a store too."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.support import turns
from triggerflow import TriggerFlow
from triggerflow._core.errors import PayloadError, SnapshotError, StoreDamaged
from triggerflow.durable.format import payloads
from triggerflow.durable.format.payloads import fold, references, unfold
from triggerflow.serialize.payload import DEPTH, Types
from triggerflow.stores import MemoryStore

TYPES = Types()


@TYPES.register
@dataclass
class Node:
    child: Any
    text: str = ""


#: How a value is put one level deeper, and how many levels of JSON that takes.
WRAPS = {
    "list": (lambda value: [value], 1),
    "dict": (lambda value: {"a": value}, 1),
    "tuple": (lambda value: (value,), 2),
    "dict of pairs": (lambda value: {1: value}, 3),
    "object": (lambda value: Node(value), 2),
    "long list": (lambda value: [*range(33), value], 1),
    "longer list": (lambda value: [*range(1500), value], 1),
    "texts": (lambda value: {"a": "x" * 700, "b": "y" * 700, "c": value}, 1),
    "large objects": (lambda value: Node(value, "x" * 9000), 2),
}  # fmt: skip


def nested(kind: str, levels: int) -> Any:
    wrap, size = WRAPS[kind]
    value: Any = "first"
    for _ in range(levels // size):
        value = wrap(value)
    return value


def same(one: Any, other: Any) -> bool:
    """Equality without recursion: the interpreter's own goes as deep as the value."""
    todo = [(one, other)]
    while todo:
        a, b = todo.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, Node):
            a, b = [a.child, a.text], [b.child, b.text]
        if isinstance(a, dict):
            if list(a) != list(b):
                return False
            a, b = list(a.values()), list(b.values())
        if isinstance(a, list | tuple):
            if len(a) != len(b):
                return False
            todo += zip(a, b, strict=True)
        elif a != b:
            return False
    return True


@pytest.mark.parametrize("kind", WRAPS)
def test_the_deepest_value_comes_back_folded_or_not(kind: str) -> None:
    value = nested(kind, DEPTH)
    packed = TYPES.pack(value, "value")
    assert same(TYPES.unpack(json.loads(json.dumps(packed))), value)
    payloads: dict[str, bytes] = {}
    record = msgspec.json.encode(fold(packed, payloads))
    decoded = msgspec.json.decode(record)
    stored = {name: msgspec.json.decode(data) for name, data in payloads.items()}
    assert set(references(decoded)) <= stored.keys()
    assert same(TYPES.unpack(unfold(decoded, stored)), value)


@pytest.mark.parametrize("kind", WRAPS)
def test_one_level_more_is_refused_on_both_sides(kind: str) -> None:
    with pytest.raises(PayloadError, match=f"the value is nested more than {DEPTH} levels"):
        TYPES.pack(nested(kind, DEPTH + 2 * WRAPS[kind][1]), "the value")
    data: Any = None
    for _ in range(DEPTH + 10):
        data = [data]
    with pytest.raises(SnapshotError, match=f"more than {DEPTH} levels"):
        TYPES.unpack(data)


@pytest.mark.parametrize("where", ["state", "result", "item", "emit", "pause"])
async def test_a_durable_execution_refuses_at_once_or_reads_again(where: str) -> None:
    async def work(data: Any) -> Any:
        value = nested("list", data.value)
        if where == "state":
            data.state.set("tree", value)
        elif where == "item":
            data.put_into_stream(value)
        elif where == "emit":
            data.emit("e", value)
        data.pause_for(interrupt_id="q", payload=value if where == "pause" else None)
        return value

    async def later(data: Any) -> Any:
        return nested("list", data.value["levels"]) if where == "result" else "read"

    flow = TriggerFlow(name="deep")
    flow.to(work).to(later).end()
    flow.when("e").to(lambda data: None)
    # The question itself, around the payload, takes some levels.
    for levels in (DEPTH - 5 if where == "pause" else DEPTH, DEPTH + 1):
        first = MemoryStore()
        async with first as store:
            execution = flow.create_execution(store=store, id="x")
            if levels > DEPTH and where != "result":
                with pytest.raises(PayloadError, match="nested more than"):
                    await execution.async_start(levels)
                continue
            await execution.async_begin(levels)
            await turns(30)
            await execution.async_committed(execution.get_status)
        async with MemoryStore(first.data) as store:
            again = await flow.async_resume("x", store=store)
            await again.async_continue_with("q", {"levels": levels})
            if where == "result" and levels > DEPTH:
                with pytest.raises(PayloadError, match="nested more than"):
                    await again.async_get_result()
            else:
                value = await again.async_get_result()
                assert same(value, nested("list", levels)) if where == "result" else value == "read"


@pytest.mark.parametrize("form", ["text", "parts", "list"])
def test_what_is_put_together_is_counted_before_it_is_made(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "LIMIT", 10_000)
    piece: Any = "v" * 10_000 if form == "text" else [0] * 500
    value: Any = [{"$": "ref", "v": "p"}] * 200
    value = value if form == "list" else {"$": form, "v": value}
    with pytest.raises(StoreDamaged, match="more than 10,000 parts"):
        unfold(value, {"p": piece})
    monkeypatch.setattr(payloads, "LIMIT", 1_000_000)
    assert len(unfold(value, {"p": piece})) == {"text": 2_000_000, "parts": 100_000, "list": 200}[form]
