"""Export and load of one execution as .jsonl: the whole of it, or nothing; a hostile file is refused with an error."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.durable.brief import asking, brief, with_sub_flow
from tests.support import read
from triggerflow import TriggerFlow
from triggerflow._core.errors import StoreConflict
from triggerflow.errors import SnapshotError, UsageError
from triggerflow.stores import MemoryStore, payload_digest

Open = Callable[[], Any]
Lines = list[dict[str, Any]]


async def test_what_was_exported_is_the_same_elsewhere(open_store: Open, tmp_path: Path) -> None:
    flow, path = brief(), tmp_path / "b.jsonl"
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("s" * 5000)
        history = flow.history(store)
        assert await history.export("b", path) == 12
        row = await history.load(path, id="copy")
        assert (row.id, row.status, row.records, row.items) == ("copy", "completed", 12, 6)
        assert not await history.diff("b", "copy")
    async with MemoryStore() as other:
        await flow.history(other).load(path)
        assert (await flow.history(other).state_at("b")).value == "s" * 5000
        assert await read(flow.history(other).stream("b"))
    assert not path.with_name("b.jsonl.part").exists()


async def test_a_waiting_execution_goes_on_where_it_was_loaded(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    file = io.BytesIO()
    async with open_store() as store:
        execution = flow.create_execution(store=store, id="o")
        await read(execution.get_async_runtime_stream("news"), 2)
        await flow.history(store).export("o", file)
        await execution.async_suspend()
    async with MemoryStore() as other:
        file.seek(0)
        await flow.history(other).load(file, id="p")
        again = await flow.async_resume("p", store=other)
        await again.async_continue_with("inner.2/approve", "yes")
        assert await again.async_get_result() == "<news: yes>"
        assert (await other.find("p/inner.2")).parent == "p"


async def test_a_compacted_execution_is_exported_with_its_snapshot(open_store: Open) -> None:
    flow, _ = with_sub_flow()
    async with open_store() as store, MemoryStore() as other:
        execution = flow.create_execution(store=store, id="o")
        await read(execution.get_async_runtime_stream("news"), 2)
        await execution.async_suspend()
        history = flow.history(store)
        await history.compact("o")
        file = io.BytesIO()
        await history.export("o", file)
        file.seek(0)
        await flow.history(other).load(file)
        again = await flow.async_resume("o", store=other)
        await again.async_continue_with("inner.2/approve", "yes")
        assert await again.async_get_result() == "<news: yes>"


async def test_ended_sub_flows_are_part_of_it_and_are_not_exported_alone(open_store: Open) -> None:
    flow, inner = with_sub_flow()
    async with open_store() as store, MemoryStore() as other:
        execution = flow.create_execution(store=store, id="o")
        await read(execution.get_async_runtime_stream("news"), 2)
        await execution.async_continue_with("inner.2/approve", "yes")
        await execution.async_get_result()
        file = io.BytesIO()
        await flow.history(store).export("o", file)
        with pytest.raises(UsageError, match="export 'o'"):
            await inner.history(store).export("o/inner.2", io.BytesIO())
        file.seek(0)
        await flow.history(other).load(file)
        assert (await inner.history(other).state_at("o/inner.2")).result == "news: yes"


async def test_an_id_that_exists_is_refused_unless_another_is_given(open_store: Open) -> None:
    flow, file = brief(), io.BytesIO()
    async with open_store() as store:
        await flow.create_execution(store=store, id="b").async_start("x")
        history = flow.history(store)
        await history.export("b", file)
        file.seek(0)
        with pytest.raises(StoreConflict, match=r"'b' exists .* another id"):
            await history.load(file)
        assert len(await history.executions()) == 1


async def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    flow, path = brief(), tmp_path / "b.jsonl"
    async with MemoryStore() as store:
        await flow.create_execution(store=store, id="b").async_start("x")
        await flow.history(store).export("b", path)
        with pytest.raises(SnapshotError, match="more than 1,000 bytes"):
            await flow.history(store).load(path, id="c", limit=1000)


# -- hostile files ---------------------------------------------------------------------------------------------------


def sealed(lines: Lines) -> bytes:
    """A file whose last line fits, as a stranger would make it."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines if line["line"] != "end")
    count = body.count(b"\n")
    end = {"line": "end", "lines": count, "sha256": hashlib.sha256(body).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


def of(lines: Lines, kind: str, number: int = 0) -> dict[str, Any]:
    return [line for line in lines if line["line"] == kind][number]


def record(lines: Lines, number: int, **changes: Any) -> None:
    of(lines, "record", number)["data"].update(changes)


def bomb(lines: Lines) -> None:
    """Each payload refers twice to the one before it: 60 of them would have 2 ** 60 parts."""
    value: Any = ["x"]
    at = lines.index(of(lines, "record"))
    for _ in range(60):
        data = json.dumps(value, separators=(",", ":"))
        digest = payload_digest(data.encode())
        # Raw bytes count for the digest: `sealed` writes with spaces, which is why they are counted in here.
        data = json.dumps(json.loads(data))
        digest = payload_digest(data.encode())
        lines.insert(at, {"line": "payload", "digest": digest, "data": json.loads(data)})
        value = [{"$": "ref", "v": digest}] * 2
    record(lines, 0, value={"$": "parts", "v": value})


def long(lines: Lines, value: Any, use: Callable[[list[Any]], Any]) -> None:
    """A payload of a million characters that one value has 300 times."""
    data = json.dumps(value)
    digest = payload_digest(data.encode())
    lines.insert(lines.index(of(lines, "record")), {"line": "payload", "digest": digest, "data": value})
    record(lines, 0, value=use([{"$": "ref", "v": digest}] * 300))


def deep(lines: Lines) -> None:
    value: Any = "x"
    for _ in range(600):
        value = [value]
    record(lines, 0, value=value)


def drop(lines: Lines, kind: str, number: int) -> None:
    lines.remove(of(lines, kind, number))


HOSTILE: dict[str, tuple[Callable[[Lines], object], str]] = {
    "another format": (lambda it: it[0].update(format=2), "format 2 is not 1"),
    "no header": (lambda it: it.pop(0), "no exported execution"),
    "an unknown kind of line": (lambda it: it.insert(1, {"line": "code", "run": "rm"}), "line 2 cannot be read"),
    "an unknown field": (lambda it: it[0].update(hook="os.system"), "line 1 cannot be read.*hook"),
    "a line out of place": (lambda it: it.insert(1, of(it, "record")), "line 2: .* cannot be at this place"),
    "a definition that is another": (
        lambda it: of(it, "definition")["data"].update(operators=[]),
        "the stored definition .* has the fingerprint",
    ),
    "no definition": (lambda it: drop(it, "definition", 0), "lacks the definition"),
    "another flow": (lambda it: of(it, "execution").update(flow="evil"), "is of flow 'evil'"),
    "an unknown status": (lambda it: of(it, "execution").update(status="zombie"), "cannot be read"),
    "a status that is not so": (
        lambda it: of(it, "execution").update(status="running"),
        "the status or the counts in its row do not match",
    ),
    "options that are none": (lambda it: of(it, "execution").update(options={"deadline": "soon"}), "options"),
    "a missing record": (lambda it: drop(it, "record", 3), "items are not numbered 1 to"),
    "a missing record of the engine": (lambda it: drop(it, "record", 5), "record 5 is missing"),
    "records in disorder": (lambda it: of(it, "record", 2).update(number=1), "not in order"),
    "an item number that is another": (lambda it: of(it, "record", 1).pop("item"), "items are not"),
    "an unknown record": (lambda it: record(it, 6, record="exec"), "cannot be read"),
    "a record of a run that is not there": (lambda it: record(it, 6, run=77), "does not follow"),
    "an unknown type": (lambda it: record(it, 6, value={"$": "type:os.system", "v": {}}), "not registered"),
    "an unknown tag": (lambda it: record(it, 6, value={"$": "py/object", "v": "os.system"}), "not registered"),
    "a missing payload": (lambda it: record(it, 6, value={"$": "ref", "v": "0" * 64}), "payload 0+ is missing"),
    "a payload that is another": (
        lambda it: it.insert(-1, {"line": "payload", "digest": "0" * 64, "data": []}),
        "does not match its digest",
    ),
    "references that multiply": (bomb, "more than 2,000,000 parts"),
    "a text of one payload that multiplies": (
        lambda it: long(it, "v" * 1_000_000, lambda refs: {"$": "text", "v": refs}),
        "more than 2,000,000 parts",
    ),
    "bytes of one payload that multiply": (
        lambda it: long(it, {"$": "bytes", "v": "A" * 1_000_000}, lambda refs: refs),
        "more than 2,000,000 parts",
    ),
    "a retry of what has not failed": (
        lambda it: of(it, "record", 6).update(data={"record": "retried", "at": 1.0, "failed": 2}),
        "does not follow",
    ),
    "a retry from the future": (
        lambda it: of(it, "record", 6).update(data={"record": "retried", "at": 1.0, "failed": 6}),
        "record 6 did not end",
    ),
    "nesting": (deep, "nested (more than 500|too deep)|cannot be (read|loaded)"),
    "runs without end": (lambda it: record(it, 0, max_pending=10**9), "max_pending is more than 100,000"),
    "a snapshot that was made up": (
        lambda it: it.insert(3, {"line": "snapshot", "records": 12, "definition": "x", "data": {}}),
        "lacks the definition 'x'",
    ),
    "a snapshot of nothing": (
        lambda it: it.insert(
            3, {"line": "snapshot", "records": 12, "definition": of(it, "definition")["fingerprint"], "data": {}}
        ),
        "a stored snapshot cannot be read",
    ),
    "a snapshot of another moment": (
        lambda it: it.insert(
            3, {"line": "snapshot", "records": 99, "definition": of(it, "definition")["fingerprint"], "data": {}}
        ),
        "more records than its row says",
    ),
    "a spare definition": (
        lambda it: it.insert(1, {**of(it, "definition"), "fingerprint": "spare"}),
        "no execution in the file has the definition 'spare'",
    ),
    "a sub-flow of nobody": (
        lambda it: (
            it[0].update(executions=2),
            it.insert(-1, {**of(it, "execution"), "id": "z", "parent": "y"}),
        ),
        "no sub-flow of an execution before it",
    ),
    "a name without end": (lambda it: of(it, "execution").update(id="b" * 5000), "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_refused_and_changes_nothing(name: str) -> None:
    change, text = HOSTILE[name]
    flow = brief()
    async with MemoryStore() as store, MemoryStore() as other:
        await flow.create_execution(store=store, id="b").async_start("x")
        file = io.BytesIO()
        await flow.history(store).export("b", file)
        lines: Lines = [json.loads(line) for line in file.getvalue().splitlines()]
        change(lines)
        with pytest.raises(SnapshotError, match=text):
            await flow.history(other).load(io.BytesIO(sealed(lines)))
        assert (other.data.executions, other.data.definitions, other.data.payloads) == ({}, {}, {})


@pytest.mark.parametrize("damage", ["cut", "flipped", "no end", "no JSON", "empty", "nested"])
async def test_a_damaged_file_is_refused(damage: str) -> None:
    flow = brief()
    async with MemoryStore() as store:
        await flow.create_execution(store=store, id="b").async_start("x")
        file = io.BytesIO()
        await flow.history(store).export("b", file)
        data = file.getvalue()
        bad = {
            "cut": data[:-10],
            "flipped": data.replace(b"X HISTORY", b"Y HISTORY", 1),
            "no end": b"".join(data.splitlines(keepends=True)[:-1]),
            "no JSON": b"\xff\x00\n",
            "empty": b"",
            "nested": b"[" * 100_000 + b"]" * 100_000 + b"\n",
        }[damage]
        with pytest.raises(SnapshotError):
            await flow.history(store).load(io.BytesIO(bad), id="c")
        assert len(store.data.executions) == 1


async def test_a_file_that_is_unchanged_but_sealed_again_is_taken() -> None:
    """The hostile files above are refused for their change alone."""
    flow = brief()
    async with MemoryStore() as store:
        await flow.create_execution(store=store, id="b").async_start("x")
        file = io.BytesIO()
        await flow.history(store).export("b", file)
        lines: Lines = [json.loads(line) for line in file.getvalue().splitlines()]
        await flow.history(store).load(io.BytesIO(sealed(lines)), id="c")
        assert not await flow.history(store).diff("b", "c")


async def test_registered_types_are_read_and_others_are_not() -> None:
    @dataclass
    class Query:
        text: str

    def flow_with(*types: type) -> TriggerFlow:
        flow = TriggerFlow(name="typed")
        for it in types:
            flow.register_type(it)

        @flow.chunk("ask")
        async def ask(data: Any) -> Any:
            return Query(data.value)

        flow.to(ask).end()
        return flow

    knows, does_not = flow_with(Query), flow_with()
    async with MemoryStore() as store, MemoryStore() as other:
        await knows.create_execution(store=store, id="q").async_start("x")
        file = io.BytesIO()
        await knows.history(store).export("q", file)
        file.seek(0)
        with pytest.raises(SnapshotError, match="register_type"):
            await does_not.history(other).load(file)
        file.seek(0)
        await knows.history(other).load(file)
        assert (await knows.history(other).state_at("q")).result == Query("x")


async def test_an_open_question_survives_export_while_it_runs(open_store: Open) -> None:
    flow = asking()
    async with open_store() as store, MemoryStore() as other:
        execution = flow.create_execution(store=store, id="a")
        await read(execution.get_async_runtime_stream("news"), 2)
        file = io.BytesIO()
        await flow.history(store).export("a", file)
        await execution.async_continue_with("approve", "yes")
        file.seek(0)
        await flow.history(other).load(file)
        assert "approve" in (await flow.history(other).state_at("a")).interrupts
