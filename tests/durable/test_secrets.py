"""No recorded value in an error or a log: they name the type, the place and the field instead."""

import dataclasses
import enum
import io
import logging
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from triggerflow import TriggerFlow
from triggerflow.durable import Worker
from triggerflow.errors import AlreadyStarted, PayloadError, TriggerFlowError

Open = Callable[..., Any]

SECRET = "hunter2-" + "x" * 300


@dataclasses.dataclass
class Plain:
    name: str
    password: str


@dataclasses.dataclass
class PlainRenamed:
    name: str
    secret: str


class Struct(msgspec.Struct):
    password: str


class StructOfNumbers(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        raise ValueError(f"never {self.number}")


class StructThatRaises(msgspec.Struct):
    password: str

    def __post_init__(self) -> None:
        raise ValueError(f"never {self.password}")


class Row(NamedTuple):
    password: str


class OtherRow(NamedTuple):
    word: str


class Model(pydantic.BaseModel):
    password: str


class OtherModel(pydantic.BaseModel):
    word: str


class Kind(enum.Enum):
    SECRET = SECRET


class OtherKind(enum.Enum):
    OTHER = "other"


CHANGES = {
    "dataclass": (Plain, lambda: Plain("joe", SECRET), PlainRenamed),
    "struct": (Struct, lambda: Struct(SECRET), StructOfNumbers),
    "struct with code": (Struct, lambda: Struct(SECRET), StructThatRaises),
    "named tuple": (Row, lambda: Row(SECRET), OtherRow),
    "model": (Model, lambda: Model(password=SECRET), OtherModel),
    "enum": (Kind, lambda: Kind.SECRET, OtherKind),
    "another kind": (Struct, lambda: Struct(SECRET), OtherKind),
}
PLACES = ["start", "state", "stream", "interrupt", "signal"]


def flow_of(cls: type[Any], place: str) -> TriggerFlow:
    flow = TriggerFlow("f")
    flow.register_type(cls, "User")

    @flow.chunk("first")
    async def first(data: Any) -> None:
        value = data.value
        if place == "state":
            data.state.set("user", value)
        elif place == "stream":
            await data.async_put_into_stream(value)
        elif place == "signal":
            await data.async_emit("user", value)
        data.pause_for(payload=value if place == "interrupt" else "?", interrupt_id="q")

    flow.to(first).end()
    return flow


async def passed_on(data: Any) -> Any:
    return data.value


async def wrong(data: Any) -> Any:
    return {"word": SECRET}


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert "hunter2" not in text, text[:2000]


def full(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", CHANGES)
async def test_a_value_that_does_not_fit_its_class_any_more(
    open_store: Open, change: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cls, make, other = CHANGES[change]
    async with open_store() as store:
        execution = flow_of(cls, place).create_execution(store=store, id="1")
        await execution.async_begin(make())
        await execution.async_settled()
        await execution.async_suspend()
        file = io.BytesIO()
        await flow_of(cls, place).history(store).export("1", file)
        await flow_of(cls, place).history(store).load(io.BytesIO(file.getvalue()), id="compacted")
        await flow_of(cls, place).history(store).compact("compacted")
    flow = flow_of(other, place)
    async with open_store() as store:
        history = flow.history(store)
        for id in ("1", "compacted"):
            with pytest.raises(TriggerFlowError) as refused:
                await flow.async_resume(id, store=store)
            assert "User" in str(refused.value)
            assert_no_secret(full(refused.value))
        for call in (
            lambda: history.state_at("1"),
            lambda: history.fork("1", at=3),
            lambda: history.load(io.BytesIO(file.getvalue()), id="2"),
            lambda: history.diff("1", "1"),
        ):
            with pytest.raises(TriggerFlowError) as refused:
                await call()
            assert_no_secret(full(refused.value))
        row = await store.find("1")
        await store.claim("1")
        await store.release(["1"])
        assert row.status == "waiting"
        async with Worker(store, flow, poll=1):
            with pytest.raises(TriggerFlowError) as refused:
                await flow.create_execution(store=store, id="1").async_get_result(timeout=5)
            assert_no_secret(full(refused.value))
    assert_no_secret(caplog.text)


async def test_a_worker_that_cannot_run_an_execution_names_field_and_type(
    open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    flow = flow_of(Plain, "state")
    async with open_store() as store:
        await flow.create_execution(store=store, id="1").async_begin(Plain("joe", SECRET))
    async with open_store() as store, Worker(store, flow_of(PlainRenamed, "state"), poll=1):
        pass
    assert "no field 'password'" in caplog.text
    assert "the start value" in caplog.text
    assert_no_secret(caplog.text)


async def test_an_object_that_cannot_be_made_again(open_store: Open) -> None:
    """Refused when it is recorded: the error of its class may contain its value."""
    flow = TriggerFlow("f")

    class Odd(msgspec.Struct):
        password: str
        made: bool = False

        def __post_init__(self) -> None:
            if self.made:
                raise ValueError(f"never {self.password}")

    flow.register_type(Odd)
    flow.to(passed_on).end()
    async with open_store() as store:
        odd = Odd(SECRET)
        odd.made = True
        with pytest.raises(PayloadError) as refused:
            await flow.create_execution(store=store, id="1").async_start(odd)
        assert "ValueError" in str(refused.value)
        assert_no_secret(full(refused.value))


async def test_an_attribute_that_raises(open_store: Open) -> None:
    @dataclasses.dataclass(slots=True)
    class Odd:
        password: str

        def __getattribute__(self, name: str) -> Any:
            if name == "password":
                raise ValueError(f"never {SECRET}")
            return object.__getattribute__(self, name)

    flow = TriggerFlow("f")
    flow.register_type(Odd)
    flow.to(passed_on).end()
    async with open_store() as store:
        with pytest.raises(PayloadError, match="the start value cannot be recorded: ValueError") as refused:
            await flow.create_execution(store=store, id="1").async_start(Odd("a"))
        assert_no_secret(full(refused.value))


async def test_another_start_value(open_store: Open) -> None:
    flow = flow_of(Plain, "start")
    async with open_store() as store:
        await flow.create_execution(store=store, id="1").async_begin(Plain("joe", SECRET))
        with pytest.raises(AlreadyStarted, match="Plain") as refused:
            await flow.create_execution(store=store, id="1").async_begin({"other": SECRET})
        assert_no_secret(full(refused.value))


async def test_a_value_that_does_not_fit_the_contract(open_store: Open, caplog: pytest.LogCaptureFixture) -> None:
    flow = TriggerFlow("f")
    flow.set_contract(result=Model)
    flow.to(wrong).end()
    async with open_store() as store:
        with pytest.raises(TriggerFlowError) as refused:
            await flow.create_execution(store=store, id="1").async_start(0)
        assert "password" in str(refused.value)
        assert_no_secret(full(refused.value))
        row = await store.find("1")
        assert_no_secret(str(row))
    assert_no_secret(caplog.text)
