"""Attributes that few objects of a class ever set. They take no memory in the other objects."""

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class HasSparse(Protocol):
    """The owner of sparse attributes: one slot for all of them, None at first."""

    rare: dict[str, Any] | None


class SparseAttribute(Generic[T]):
    """An attribute with a default. Other values are in the dict `rare` of its owner, which is made on first use.

    An access costs ten times that of a slot. Use it only for attributes that plain runs do not read.
    """

    __slots__ = ("default", "name")

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, it: HasSparse, owner: type | None = None) -> T:
        return self.default if it.rare is None else it.rare.get(self.name, self.default)

    def __set__(self, it: HasSparse, value: T) -> None:
        if it.rare is not None:
            it.rare[self.name] = value
        elif value is not self.default:
            it.rare = {self.name: value}
