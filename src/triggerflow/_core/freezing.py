"""Makes the frozen copy of a value that a state holds; see `frozen`."""

from typing import Any, Final, cast

from .errors import UsageError
from .frozen import FrozenDict, FrozenList, FrozenSet
from .values import is_plain, kind_of

_extend: Any = cast("Any", list).extend
_set_item: Any = cast("Any", dict).__setitem__

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
