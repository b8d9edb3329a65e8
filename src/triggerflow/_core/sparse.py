"""Attributes that few objects of a class ever set, and that take no room in the others."""

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class HasSparse(Protocol):
    """What such an attribute needs of its owner: a slot for all of them, None at first."""

    rare: dict[str, Any] | None


class SparseAttribute(Generic[T]):
    """An attribute with a default. What differs from that stands in the dict `rare` of its owner, made on first use.

    An access costs ten times that of a slot: it is for what no record of a plain run looks at.
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
