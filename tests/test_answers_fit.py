"""Whether a value fits its declared type: answers of people, start values, typed signals, state, stream items, results.

All of them are checked by the same function.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import ContractError

Data = TriggerFlowRuntimeData[Any]
T = TypeVar("T")


@dataclasses.dataclass
class Decision:
    approved: bool
    comment: str = ""
    sloppy: int = None  # type: ignore[assignment] # a default that its annotation forbids


class Struct(msgspec.Struct):
    approved: bool
    comment: str = ""


class Renamed(msgspec.Struct, rename="camel", tag="renamed", omit_defaults=True):
    is_approved: bool = True
    inner: Decision | None = None


class Typed(TypedDict):
    approved: bool
    comment: NotRequired[str]


class Tuple(NamedTuple):
    approved: bool
    comment: str = ""


@dataclasses.dataclass
class Outer:
    inner: Decision
    many: list[Struct] = dataclasses.field(default_factory=list[Struct])
    anything: Any = None
    free: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])


@dataclasses.dataclass
class Generic_(Generic[T]):
    value: T


class Loose(pydantic.BaseModel):
    approved: bool


class Strict(pydantic.BaseModel, extra="forbid", strict=True):
    approved: bool
    amount: int = 0


class Plain:
    pass


def _wrong(value: Any, field: str, wrong: Any) -> Any:
    setattr(value, field, wrong)
    return value


FITS: list[tuple[Any, Any, Any]] = [
    (Decision, {"approved": True}, Decision(True)),
    (Decision, Decision(True, "well"), Decision(True, "well")),
    (Struct, {"approved": False, "comment": "no"}, Struct(False, "no")),
    (Struct, Struct(True), Struct(True)),
    (Renamed, {"type": "renamed", "isApproved": False}, Renamed(False)),
    (Renamed, Renamed(inner=Decision(True)), Renamed(inner=Decision(True))),
    (Typed, {"approved": True}, {"approved": True}),
    (Typed, {"approved": True, "comment": "x"}, {"approved": True, "comment": "x"}),
    (Tuple, Tuple(True), Tuple(True)),
    (Outer, {"inner": {"approved": True}, "anything": {"a": 1}}, Outer(Decision(True), anything={"a": 1})),
    (Outer, Outer(Decision(True), anything=Decision("no"), free={"a": Decision("no")}), None),  # type: ignore[arg-type]
    (list[Decision], [{"approved": True}, Decision(False)], [Decision(True), Decision(False)]),
    (dict[str, Any], {"a": Decision("no")}, None),  # type: ignore[arg-type]
    (Decision | None, None, None),
    (Generic_[int], {"value": 3}, Generic_(3)),
    (Generic_, Generic_("x"), Generic_("x")),
    (float, 3, 3.0),
    (bool, True, True),
    (object, True, True),
    (Literal["a", "b"], "a", "a"),
    (Loose, {"approved": "yes", "other": 1}, Loose(approved=True)),  # its own configuration decides
    (Strict, {"approved": True}, Strict(approved=True)),
]

MISFITS: list[tuple[Any, Any, str]] = [
    (Decision, {"approved": True, "coment": "x"}, r"unknown field 'coment', did you mean 'comment'"),
    (Decision, {"approved": 1}, r"Expected `bool`, got `int` - at `\$.approved`"),
    (Decision, Decision("no"), r"Expected `bool`, got `str` - at `\$.approved`"),  # type: ignore[arg-type]
    (Struct, {"approved": True, "coment": "x"}, r"unknown field 'coment'"),
    (Struct, Struct("no"), r"got `str` - at `\$.approved`"),  # type: ignore[arg-type]
    (Renamed, {"type": "renamed", "is_approved": False}, r"unknown field 'is_approved', did you mean 'isApproved'"),
    (Renamed, {"type": "renamed", "inner": {"approved": True, "x": 1}}, r"unknown field 'x'.* - at `\$.inner`"),
    (Typed, {"approved": True, "coment": "x"}, r"unknown field 'coment', did you mean 'comment'"),
    (Tuple, Tuple("no"), r"got `str` - at `\$.approved`"),  # type: ignore[arg-type]
    (Outer, {"inner": {"approved": True, "x": 1}}, r"unknown field 'x'.* - at `\$.inner`"),
    (Outer, {"inner": Decision("no")}, r"got `str` - at `\$.inner.approved`"),  # type: ignore[arg-type]
    (Outer, Outer(Decision(True), [Struct("no")]), r"got `str` - at `\$.many\[0\].approved`"),  # type: ignore[arg-type]
    (Outer, Outer(Decision(True), [{"approved": True, "x": 1}]), r"unknown field 'x'.* - at `\$.many\[0\]`"),  # type: ignore[list-item]
    (Decision | None, Decision("no"), r"got `str`"),  # type: ignore[arg-type]
    (list[Decision], [Decision(True), Decision("no")], r"at `\$\[1\].approved`"),  # type: ignore[arg-type]
    (list[Typed], [{"approved": True, "x": 1}], r"unknown field 'x'.* - at `\$\[0\]`"),
    (dict[str, Struct], {"a": Struct("no")}, r"at `\$.a.approved`"),  # type: ignore[arg-type]
    (int, True, "Expected `int`, got `bool`"),
    (float, True, "Expected `float`, got `bool`"),
    (list[int], [True], "Expected `int`, got `bool`"),
    (Annotated[int, msgspec.Meta(ge=1)], True, "Expected `int`, got `bool`"),
    (Struct, _wrong(Struct(True), "comment", 7), r"Expected `str`, got `int` - at `\$.comment`"),
    (Strict, {"approved": True, "x": 1}, "Extra inputs are not permitted"),
    (Strict, {"approved": True, "amount": True}, "valid integer"),
    (Plain, {"a": 1}, "Expected `Plain`, got `dict`"),
]


async def answered(expected: Any, value: Any) -> Any:
    flow = TriggerFlow()

    async def ask(data: Data) -> None:
        data.pause_for(interrupt_id="q", schema=expected)

    flow.to(ask).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_settled()
    try:
        await execution.async_continue_with("q", value)
    except ContractError:
        assert list(execution.get_pending_interrupts()) == ["q"]
        await execution.async_cancel()
        raise
    return await execution.async_get_result()


async def started(expected: Any, value: Any) -> Any:
    flow = TriggerFlow()
    flow.set_contract(initial_input=expected)
    flow.to(echo).end()
    return await flow.async_start(value)


async def signalled(expected: Any, value: Any) -> Any:
    flow = TriggerFlow()
    flow.when(flow.signal("told", expected, external=True)).to(echo).end()
    execution = flow.create_execution()
    await execution.async_begin()
    await execution.async_emit("told", value)
    return await execution.async_get_result()


async def resulted(expected: Any, value: Any) -> Any:
    flow = TriggerFlow()
    flow.set_contract(result=expected)

    async def give(data: Data) -> Any:
        return value

    flow.to(give).end()
    return await flow.async_start()


async def echo(data: Data) -> Any:
    return data.value


EVERYWHERE = pytest.mark.parametrize("way", [answered, started, signalled, resulted])


@EVERYWHERE
@pytest.mark.parametrize(("expected", "value", "result"), FITS, ids=lambda it: repr(it)[:40])
async def test_a_value_that_fits_is_taken(way: Callable[..., Any], expected: Any, value: Any, result: Any) -> None:
    taken = await way(expected, value)
    assert taken == (result if result is not None or value is None else value)


@EVERYWHERE
@pytest.mark.parametrize(("expected", "value", "words"), MISFITS, ids=lambda it: repr(it)[:40])
async def test_another_value_is_refused(way: Callable[..., Any], expected: Any, value: Any, words: str) -> None:
    """ "Another answer is refused": an instance whose fields do not fit, an unknown key, True for a number."""
    with pytest.raises(ContractError, match=words):
        await way(expected, value)
