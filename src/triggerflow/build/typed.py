"""Typed signals and typed state: types for type checkers, and checks of values at run time."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypedDict, TypeVar, get_args, get_origin

import msgspec

from .._core.errors import ContractError, DefinitionError
from .annotations import hints_of, resolve
from .arguments import closest
from .contract import Check, checker

T = TypeVar("T")
Reducer = Callable[[Any, Any], Any]


if TYPE_CHECKING:

    class Signal(Generic[T]):
        """The name of an event whose value is a `T`. `flow.signal(name, T)` returns one.

        Type checkers see this class, which is no `str`: else an emit with a value of another type would be an emit of
        an undeclared event.
        """

        def __init__(self, name: str) -> None: ...

else:

    class Signal(str, Generic[T]):
        """The name of an event whose value is a `T`. `flow.signal(name, T)` returns one.

        Type checkers see a class of its own. At run time it is the plain `str`, because names are recorded, and written
        to files by libraries that know only `str`.
        """

        __slots__ = ()

        def __new__(cls, name: str) -> str:
            """Return the plain string."""
            return str(name)


class EmitOptions(TypedDict, total=False):
    """The options of an emit; see `TriggerFlowRuntimeData.async_emit`."""

    settle: bool
    delay: float | None
    id: str | None
    keeps_open: bool


class ChunkEmitOptions(EmitOptions, total=False):
    """The options of an emit by a chunk, which may be provisional."""

    provisional: bool


def append(old: Any, new: Any) -> list[Any]:
    """Reducer: the old list with the new value as one more item. None counts as an empty list."""
    return [*(old or ()), new]


def extend(old: Any, new: Any) -> list[Any]:
    """Reducer: the old list with the items of the new one. None counts as an empty list."""
    return [*(old or ()), *new]


def merge(old: Any, new: Any) -> dict[Any, Any]:
    """Reducer: the old dict updated with the new one, whose values win. None counts as an empty dict."""
    return {**(old or {}), **new}


def maximum(old: Any, new: Any) -> Any:
    """Reducer: the larger of the two; the new value if the old one is None."""
    return new if old is None or new > old else old


def minimum(old: Any, new: Any) -> Any:
    """Reducer: the smaller of the two; the new value if the old one is None."""
    return new if old is None or new < old else old


def add(old: Any, new: Any) -> Any:
    """Reducer: the sum of the two; the new value if the old one is None."""
    return new if old is None else old + new


class StateModel:
    """The keys of a flow's state with their types, defaults and reducers, read from a model's fields.

    A reducer can also be given in the annotation: `hits: Annotated[list[str], append]`. Names in annotations that their
    module does not define are looked up in `names`.
    Raises `DefinitionError` unless the model is a dataclass, msgspec struct or Pydantic model, for a reducer of an
    unknown field, and for a name in an annotation that is defined nowhere.
    """

    __slots__ = ("checks", "defaults", "lists", "model", "reducers")

    def __init__(self, model: type[Any], reducers: Mapping[str, Reducer], names: Mapping[str, Any]) -> None:
        self.model = model
        what = f"set_state({getattr(model, '__qualname__', model)})"
        resolve(model, what, names)
        self.defaults: dict[str, Callable[[], Any]] = _defaults(model)
        hints = hints_of(model, what, names)
        unknown = set(reducers) - set(self.defaults)
        if unknown:
            raise DefinitionError(
                f"set_state(): there is a reducer for {sorted(unknown)[0]!r}, but no field of that name; "
                f"{model.__name__} has the fields {list(self.defaults)}"
            )
        hints = _constrained(model, hints)
        self.checks: dict[str, Check] = {name: checker(hints[name], f"state[{name!r}]") for name in self.defaults}
        #: keys typed as a list without a rule for the whole list: a new item can be checked without the others
        self.lists = frozenset(name for name in self.defaults if _is_plain_list(hints[name]))
        self.reducers: dict[str, Reducer] = dict(reducers)
        for name in self.defaults:
            found = [extra for extra in getattr(hints[name], "__metadata__", ()) if callable(extra)]
            if found:
                self.reducers.setdefault(name, found[0])

    def check(self, key: str, value: Any) -> Any:
        """The value, checked and coerced. Raises `ContractError` if it does not fit, or if the key is unknown."""
        self.require(key)
        return self.checks[key](value)

    def require(self, key: str) -> None:
        """Raise `ContractError` if the key is unknown; it names the nearest one."""
        if key not in self.checks:
            near = closest(str(key), self.checks, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it declares {list(self.checks)}"
            raise ContractError(f"state has no key {key!r}, because {self.model.__name__} declares none; {hint}")

    def check_item(self, key: str, held: Sequence[Any], value: Any) -> None:
        """Check a value that is to be appended to the list `held` at a key. Raises `ContractError`.

        If the type has no constraints on the whole list (`lists`), only the new value is checked.
        """
        self.check(key, [value] if key in self.lists else [*held, value])

    def reducer(self, key: str) -> Reducer:
        """The reducer of a key. Raises `ContractError` if none is declared."""
        self.require(key)
        if key not in self.reducers:
            raise ContractError(
                f"state[{key!r}] has no reducer; declare one in set_state(model, reducers={{{key!r}: function}})"
            )
        return self.reducers[key]

    def initial(self) -> dict[str, Any]:
        """The default values of all fields that have one."""
        made = {name: make() for name, make in self.defaults.items()}
        return {name: value for name, value in made.items() if value is not msgspec.NODEFAULT}


def _constrained(model: Any, hints: Mapping[str, Any]) -> Mapping[str, Any]:
    """The annotations of a model, with the constraints that a Pydantic field has as its default: `= Field(gt=0)`."""
    fields: Mapping[str, Any] = getattr(model, "model_fields", None) or {}
    made = dict(hints)
    for name, it in fields.items():
        rules: tuple[Any, ...] = tuple(getattr(it, "metadata", ()))
        if rules:
            made[name] = Annotated[hints[name], *rules]
    return made


def _is_plain_list(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        return all(callable(extra) for extra in extras) and _is_plain_list(kind)  # reducers, and no constraint
    return hint is list or get_origin(hint) is list


def _defaults(model: type[Any]) -> dict[str, Callable[[], Any]]:
    """For each field a function that makes its default value, or returns `msgspec.NODEFAULT`."""
    if isinstance(model, type) and issubclass(model, msgspec.Struct):  # pyright: ignore[reportUnnecessaryIsInstance]
        return {it.name: _maker(it.default, it.default_factory) for it in msgspec.structs.fields(model)}
    if dataclasses.is_dataclass(model):
        missing, none = dataclasses.MISSING, msgspec.NODEFAULT
        return {
            it.name: _maker(
                none if it.default is missing else it.default,
                none if it.default_factory is missing else it.default_factory,
            )
            for it in dataclasses.fields(model)
        }
    fields: Mapping[str, Any] | None = getattr(model, "model_fields", None)
    if fields is None:
        raise DefinitionError(f"set_state(): give a dataclass, msgspec struct or Pydantic model, not {model!r}")
    return {
        name: (lambda it=it: msgspec.NODEFAULT if it.is_required() else it.get_default(call_default_factory=True))
        for name, it in fields.items()
    }


def _maker(default: Any, factory: Any) -> Callable[[], Any]:
    return (lambda: default) if factory is msgspec.NODEFAULT else factory
