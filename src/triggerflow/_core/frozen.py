"""Lists, dicts and sets of the state: readable like any other, and changed only through the state's own methods.

A change in place has no record: it would be lost with the process, and no trigger would hear of it. So what a state
holds is copied once, when it is set, into subclasses of list, dict and set that refuse to be changed (decision 0021).
Only values of exactly these types, and tuples, are looked into.
"""

from typing import Any, Final, Never

from .errors import UsageError


def _refuse(self: Any, *_: Any, **__: Any) -> Never:
    kind = type(self).__mro__[1].__name__
    raise UsageError(
        f"this {kind} belongs to a state and is changed only through it, so that the change is recorded: use "
        f"state.append(key, item), state.update(key, function) or state.set(key, value); {kind}(value) and "
        "copy.deepcopy(value) make one of your own"
    )


class FrozenList(list[Any]):
    """A list that a state holds. Raises `UsageError` when it is changed; a copy is a plain list."""

    __slots__ = ()

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    copy = __copy__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), None, iter(self)  # for pickle and copy.deepcopy


class FrozenDict(dict[Any, Any]):
    """A dict that a state holds; see `FrozenList`."""

    __slots__ = ()

    update = setdefault = pop = popitem = clear = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    copy = __copy__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (), None, None, iter(self.items())


class FrozenSet(set[Any]):
    """A set that a state holds; see `FrozenList`. Unlike a `frozenset` it equals and is replaced by a set."""

    __slots__ = ()

    add = update = remove = discard = pop = clear = _refuse
    difference_update = intersection_update = symmetric_difference_update = _refuse
    __ior__ = __iand__ = __isub__ = __ixor__ = _refuse

    def __copy__(self) -> set[Any]:
        return set(self)

    copy = __copy__

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return set, (set(self),)


#: How a frozen value is tagged in records, wherever it is recorded outside of the state.
TAG: Final = "frozen"
#: The plain type of each.
PLAIN: Final[dict[type[Any], type[Any]]] = {FrozenList: list, FrozenDict: dict, FrozenSet: set}
