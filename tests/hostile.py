"""Values whose classes do what they should not, for tests that no such value can do the engine any harm."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from triggerflow._core.frozen import PLAIN


class Boom(Exception):
    """What a hostile value raises."""


class Bang(BaseException):
    """The same, past every `except Exception`."""


def _raise(*_: Any, **__: Any) -> Any:
    raise Boom("a value was asked")


def _bang(*_: Any, **__: Any) -> Any:
    raise Bang("a value was asked")


class Rude:
    """Its truth cannot be told."""

    __bool__ = _raise


class Row:
    """A database row whose columns are its attributes: other names raise, and not `AttributeError`."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.__dict__["columns"] = columns

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["columns"][name]


class Record:
    """A row like a mapping that is none: it has keys, and iterates over its values."""

    def keys(self) -> list[str]:
        return ["a"]

    def __getitem__(self, name: Any) -> Any:
        return {"a": 1}[name]

    def __iter__(self) -> Iterator[Any]:
        return iter([1])

    def __len__(self) -> int:
        return 1


class NeverIterated:
    """It says that it shall not be iterated over."""

    __iter__ = None

    def __getitem__(self, index: int) -> Any:
        raise Boom("a value was asked")


class _Type(type):
    """A metaclass that answers nothing."""

    __instancecheck__ = __subclasscheck__ = __getattr__ = __eq__ = __hash__ = __bool__ = _raise  # type: ignore[assignment]
    __len__ = __contains__ = __iter__ = __call__ = _raise
    __mro__ = __name__ = __dict__ = property(_raise)  # type: ignore[assignment]


def _of(name: str, *bases: type, **members: Any) -> Any:
    """An instance of a new class."""
    made: Any = type(name, bases or (object,), members)
    return made()


def _of_no_type() -> Any:
    cls = type.__new__(_Type, "OfNoType", (object,), {})
    return object.__new__(cls)


#: By name, a function that makes one.
ZOO: dict[str, Callable[[], Any]] = {
    "row": lambda: Row({"x": 1}),
    "record": Record,
    "never iterated": NeverIterated,
    "getattr": lambda: _of("Getattr", __getattr__=_raise),
    "getattr, past Exception": lambda: _of("Getattr", __getattr__=_bang),
    "getattribute": lambda: _of("Getattribute", __getattribute__=_raise),
    "eq": lambda: _of("Eq", __eq__=_raise, __hash__=object.__hash__),
    "eq, past Exception": lambda: _of("Eq", __eq__=_bang, __hash__=object.__hash__),
    "eq, no truth": lambda: _of("Eq", __eq__=lambda self, other: Rude(), __hash__=object.__hash__),
    "ne": lambda: _of("Ne", __ne__=_raise),
    "order": lambda: _of("Order", __lt__=_raise, __gt__=_raise, __le__=_raise, __ge__=_raise),
    "bool": lambda: _of("Bool", __bool__=_raise),
    "bool, past Exception": lambda: _of("Bool", __bool__=_bang),
    "len": lambda: _of("Len", __len__=_raise),
    "hash": lambda: _of("Hash", __hash__=_raise),
    "no hash": lambda: _of("NoHash", __hash__=None),
    "iter": lambda: _of("Iter", __iter__=_raise),
    "iter, past Exception": lambda: _of("Iter", __iter__=_bang),
    "iter, no iterator": lambda: _of("Iter", __iter__=lambda self: 5),
    "aiter": lambda: _of("Aiter", __aiter__=_raise),
    "getitem": lambda: _of("Getitem", __getitem__=_raise),
    "class": lambda: _of("Class", __class__=property(_raise)),
    "class, past Exception": lambda: _of("Class", __class__=property(_bang)),
    "a lying class": lambda: _of("Liar", __class__=property(lambda self: list)),
    "a class that lies it is a dict": lambda: _of("Liar", __class__=property(lambda self: dict)),
    "repr": lambda: _of("Repr", __repr__=_raise, __str__=_raise, __format__=_raise),
    "metaclass": _of_no_type,
    "list": lambda: _of("List", list, __len__=_raise, __getitem__=_raise, __iter__=_raise, __eq__=_raise),
    "list, past Exception": lambda: _of("List", list, __len__=_bang, __getitem__=_bang, __iter__=_bang, __bool__=_bang),
    "tuple": lambda: _of("Tuple", tuple, __len__=_raise, __getitem__=_raise, __iter__=_raise, __hash__=_raise),
    "dict": lambda: _of("Dict", dict, __len__=_raise, __getitem__=_raise, __iter__=_raise, keys=_raise, items=_raise),
    "set": lambda: _of("Set", set, __len__=_raise, __contains__=_raise, __iter__=_raise),
    "str": lambda: _of("Str", str, __eq__=_raise, __hash__=_raise, __str__=_raise, __format__=_raise, __len__=_raise),
    "int": lambda: _of("Int", int, __eq__=_raise, __hash__=_raise, __bool__=_raise, __index__=_raise),
    "float": lambda: _of("Float", float, __eq__=_raise, __add__=_raise, __radd__=_raise, __float__=_raise),
    "sizeof": lambda: _of("Sizeof", __sizeof__=_raise),
    "sizeof, past Exception": lambda: _of("Sizeof", __sizeof__=_bang),
    "copy": lambda: _of("Copy", __copy__=_raise, __deepcopy__=_raise, __reduce_ex__=_raise),
    "list of one that raises": lambda: [_of("Eq", __eq__=_bang)],
    "dict of one that raises": lambda: {"a": _of("Eq", __eq__=_bang)},
}


def holds(found: Any, value: Any, depth: int = 0) -> bool:
    """Whether a value stands somewhere in lists, tuples and dicts; by identity, and with no question asked."""
    if found is value:
        return True
    kind = PLAIN.get(type(found), type(found)) if type(type(found)) is type else None
    if kind is type(value) and kind is not type(found):  # what a state holds is a copy, with the members of the value
        pairs = zip(found, value, strict=False) if kind is list else zip(found.values(), value.values(), strict=False)
        if all(one is other for one, other in pairs):
            return True
    inside: Any = found if kind is list or kind is tuple else found.values() if kind is dict else ()
    return depth < 10 and any(holds(item, value, depth + 1) for item in inside)


class Slow:
    """Its `==` takes until somebody says go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def __eq__(self, other: object) -> bool:
        self.asked.set()
        assert self.go.wait(20)
        return True

    __hash__ = object.__hash__
