"""Random descriptions of answers, each with random answers: types of Pydantic, types of msgspec, and notation."""

import dataclasses
import itertools
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Union
from uuid import UUID

import msgspec
import pydantic
from hypothesis import strategies as st
from typing_extensions import TypedDict

_numbers = itertools.count()
KEYS = st.sampled_from(["a", "b", "title", "type", "items", "properties", "$ref", "default", "enum", "a b", "größe"])
NAMES = st.sampled_from(["a", "b", "title", "items", "enum", "default", "number_2"])
TEXT = st.text(max_size=5)


@dataclass(frozen=True)
class Described:
    """A description, and a strategy for the answers of it."""

    description: Any
    answers: st.SearchStrategy[Any]


Description = st.SearchStrategy[Described]


def leaves(limits: Literal["msgspec", "pydantic"]) -> Description:
    """Types of single values. The limits are written for one of the libraries."""
    small: Any = Annotated[int, msgspec.Meta(ge=1, le=5) if limits == "msgspec" else pydantic.Field(ge=1, le=5)]
    short: Any = Annotated[
        str, msgspec.Meta(max_length=3) if limits == "msgspec" else pydantic.Field(max_length=3, description="short")
    ]
    few: Any = Annotated[
        list[int],
        msgspec.Meta(min_length=1, max_length=2) if limits == "msgspec" else pydantic.Field(min_length=1, max_length=2),
    ]
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (int, st.integers(-9, 9)),
        (str, TEXT),
        (float, st.sampled_from([0.5, -1.25, 3.0])),
        (bool, st.booleans()),
        (Literal["x", "y"], st.sampled_from(["x", "y"])),
        (Literal["only"], st.just("only")),
        (Literal["x", 1, None], st.sampled_from(["x", 1, None])),
        (Enum("Colour", {"RED": "red", "BLUE": "blue"}), st.sampled_from(["red", "blue"])),
        (date, st.just("2021-02-03")),
        (datetime, st.just("2021-02-03T04:05:06Z")),
        (UUID, st.just("12345678-1234-5678-1234-567812345678")),
        (Any, st.sampled_from([None, 1, [1], {"x": {"y": None}}])),
        (dict, st.sampled_from([{}, {"x": 1}])),
        (NewType("Number", int), st.integers(0, 9)),
        (small, st.integers(1, 5)),
        (short, st.text(max_size=3)),
        (few, st.lists(st.integers(), min_size=1, max_size=2)),
    ]
    return st.sampled_from([Described(kind, answers) for kind, answers in kinds])


@st.composite
def containers(draw: Any, inner: Description) -> Described:
    one = draw(inner)
    kind, answers = one.description, one.answers
    which = draw(st.integers(0, 5))
    if which == 0:
        return Described(list[kind], st.lists(answers, max_size=3))
    if which == 1:
        return Described(dict[str, kind], st.dictionaries(TEXT, answers, max_size=2))
    if which == 2:
        other = draw(inner)
        return Described(tuple[kind, other.description], st.tuples(answers, other.answers).map(list))
    if which == 3:
        return Described(tuple[kind, ...], st.lists(answers, max_size=2))
    if which == 4:
        return Described(set[str], st.lists(TEXT, max_size=3, unique=True))
    return Described(Optional[kind], st.none() | answers)  # noqa: UP045


@st.composite
def objects(draw: Any, inner: Description, library: Literal["msgspec", "pydantic"]) -> Described:
    """A class of one library, or a dataclass or typed dict that it can read, of some required and optional keys."""
    names: list[str] = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    required = [name for name in names if draw(st.booleans())]
    optional = [name for name in names if name not in required]
    parts = {name: draw(inner) for name in names}
    kinds = {name: part.description for name, part in parts.items()}
    number = next(_numbers)
    how = draw(st.sampled_from(["class", "class", "dataclass", "typed dict"]))
    made: Any
    if how == "typed dict":
        made = TypedDict(
            f"Typed{number}", {name: kinds[name] if name in required else NotRequired[kinds[name]] for name in names}
        )  # type: ignore[operator]
    elif how == "dataclass":
        free = [(name, Optional[kinds[name]], dataclasses.field(default=None)) for name in optional]  # noqa: UP045
        made = dataclasses.make_dataclass(f"Data{number}", [*((name, kinds[name]) for name in required), *free])
    elif library == "msgspec":
        free = [(name, Optional[kinds[name]], None) for name in optional]  # noqa: UP045
        made = msgspec.defstruct(f"Made{number}", [*((name, kinds[name]) for name in required), *free])
    else:
        field = pydantic.Field(default=None, validate_default=False, description="may be missing")
        fields: dict[str, Any] = {name: (kinds[name], ... if name in required else field) for name in names}
        made = pydantic.create_model(f"Made{number}", **fields)
    answers = st.fixed_dictionaries(
        {name: parts[name].answers for name in required}, optional={name: parts[name].answers for name in optional}
    )
    return Described(made, answers)


@st.composite
def unions(draw: Any, inner: Description, library: Literal["msgspec", "pydantic"]) -> Described:
    """A union of objects that a tag tells apart."""
    made: list[Any] = []
    number = next(_numbers)
    answers: list[st.SearchStrategy[Any]] = []
    for tag in ("cat", "dog"):
        part = draw(inner)
        if library == "msgspec":
            made.append(msgspec.defstruct(f"{tag}{number}", [("value", part.description)], tag=tag, tag_field="kind"))
        else:
            made.append(
                pydantic.create_model(f"{tag}{number}", kind=(Literal[tag], ...), value=(part.description, ...))
            )
        answers.append(st.fixed_dictionaries({"kind": st.just(tag), "value": part.answers}))
    union: Any = Union[tuple(made)]  # noqa: UP007
    if library == "pydantic" and draw(st.booleans()):
        union = Annotated[union, pydantic.Field(discriminator="kind")]
    return Described(union, st.one_of(answers))


def types(library: Literal["msgspec", "pydantic"]) -> Description:
    return st.recursive(
        leaves(library),
        lambda inner: containers(inner) | objects(inner, library) | unions(inner, library),
        max_leaves=6,
    )


@st.composite
def notation(draw: Any, inner: Description) -> Described:
    which = draw(st.integers(0, 2))
    if which == 0:
        one = draw(inner)
        return Described((one.description, draw(TEXT)), one.answers)
    if which == 1:
        one = draw(inner)
        return Described([one.description], st.lists(one.answers, max_size=3))
    parts = draw(st.dictionaries(KEYS, inner, min_size=1, max_size=3))
    return Described(
        {key: part.description for key, part in parts.items()},
        st.fixed_dictionaries({key: part.answers for key, part in parts.items()}),
    )


def descriptions() -> Description:
    """Anything that describes an answer: an object or a list."""
    mixed = st.recursive(types("msgspec") | types("pydantic"), notation, max_leaves=6)
    return mixed.map(lambda one: Described({"all": one.description}, one.answers.map(lambda value: {"all": value})))
