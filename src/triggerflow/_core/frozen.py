"""Lists, dicts and sets of the state: readable like any other, and changed only through the state's own methods.

A change in place has no record: it would be lost with the process, and no trigger would hear of it. So what a state
holds is copied once, when it is set, into subclasses of list, dict and set that refuse to be changed (decision 0021).
Only values of exactly these types, and tuples, are looked into.
"""

from typing import Any, Final, Never, cast

from .errors import UsageError
from .values import is_plain, kind_of


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


_extend: Any = cast("Any", list).extend
_set_item: Any = cast("Any", dict).__setitem__

#: How a frozen value is tagged in records, wherever it is recorded outside of the state.
TAG: Final = "frozen"
#: The plain type of each.
PLAIN: Final[dict[type[Any], type[Any]]] = {FrozenList: list, FrozenDict: dict, FrozenSet: set}
_KINDS: Final = {id(list): FrozenList, id(dict): FrozenDict, id(set): FrozenSet}


def freeze(value: Any) -> Any:
    """The value with all lists, dicts and sets in it frozen; what is frozen already, and any other value, as it is.

    Costs what the value is large, once: parts that a state holds are not copied again. Runs no code of the user's, so a
    dict is looked into only if its keys have builtin types. Raises `UsageError` for a tuple that is nested too
    deeply.
    """
    kind = id(kind_of(value))
    if kind not in _KINDS and kind != id(tuple):
        return value
    memo: dict[int, Any] = {}
    todo: list[tuple[Any, Any]] = []
    try:
        made = _shell(value, memo, todo)
        while todo:
            source, target = todo.pop()
            if type(source) is list:
                _extend(target, [_shell(item, memo, todo) for item in cast("list[Any]", source)])
            else:
                for key, item in source.items():
                    _set_item(target, key, _shell(item, memo, todo))
    except RecursionError:
        raise UsageError("tuples in a value of the state are nested too deeply") from None
    return made


def _shell(value: Any, memo: dict[int, Any], todo: list[tuple[Any, Any]]) -> Any:
    """What takes the place of a value; a list or dict is filled later, by `freeze`."""
    kind = id(kind_of(value))
    if kind == id(tuple):
        items = [_shell(item, memo, todo) for item in value]
        return tuple(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if kind not in _KINDS:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if kind == id(set):
        made: Any = FrozenSet(value)
    elif kind == id(dict) and not all(is_plain(key) for key in value):
        return value
    else:
        made = _KINDS[kind]()
        todo.append((value, made))
    memo[id(value)] = made
    return made
