"""Stores a large value only once, even if many records contain it.

A conversation that grows by a message in each turn is in every record of its loop; written out each time, the records
would grow quadratically. So a value is *folded* before it is stored: each part larger than `PART` bytes becomes a
payload, stored under the digest of its content, and the record has a reference to it. Parts are cut so that a value
that grows at its end shares all earlier parts with its former version:

* a long list is cut into blocks of `BLOCK` items, and a long list of blocks into blocks again;
* a long text is cut into pieces of `TEXT` characters, which are stored as such a list.

Folding takes packed data (see `payload.Types`), in which a dict with the key "$" is a tag. It adds three tags: `ref`
(a payload), `parts` (a list, joined from lists) and `text` (a text, joined from pieces).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec

from ..._core.errors import StoreDamaged, without_values
from ...stores.protocol import payload_digest

#: Bytes above which a part becomes a payload; items in a block of a long list; characters in a piece of a long text.
PART, BLOCK, TEXT = 1024, 32, 4096

#: Levels of a value after which its inner part becomes a payload, whatever its size.
LEVELS = 64

#: The most parts of a value that `unfold` builds. A forged file could double the number of parts at every level.
LIMIT = 50_000_000

#: So many characters of text count as one more part: about the memory that another part takes.
CHARACTERS = 128

#: What decoding raises for stored bytes that are not what was written.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_encode = msgspec.json.Encoder().encode


def fold(value: Any, payloads: dict[str, bytes], level: int = 0) -> Any:
    """Replace the large parts of a packed value by references, and add them to `payloads`."""
    # One frame a level (a comprehension takes another): `payload.DEPTH` levels have to fit into the interpreter's
    # limit.
    if isinstance(value, str):
        if len(value) <= PART:
            return value
        if len(value) <= TEXT:
            return _put(value, payloads)
        pieces = [value[start : start + TEXT] for start in range(0, len(value), TEXT)]
        return {"$": "text", "v": fold(pieces, payloads)}
    # Folded data is nested deeper than packed data, so a deep value is cut into payloads of some levels each: the JSON
    # decoder has a limit of its own.
    least = -1 if level and level % LEVELS == 0 else PART
    if isinstance(value, list):
        items: list[Any] = []
        for item in cast("list[Any]", value):
            items.append(fold(item, payloads, level + 1))  # noqa: PERF401
        return _put(_in_blocks(items, payloads) if len(items) > BLOCK else items, payloads, least)
    if isinstance(value, dict):
        made: dict[str, Any] = {}
        for key, it in cast("dict[str, Any]", value).items():
            made[key] = fold(it, payloads, level + 1)
        return _put(made, payloads, least)
    return value


def _put(value: Any, payloads: dict[str, bytes], least: int = PART) -> Any:
    """A reference to the value if it has more than `least` bytes, else the value."""
    data = _encode(value)
    if len(data) <= least:
        return value
    name = payload_digest(data)
    payloads[name] = data
    return {"$": "ref", "v": name}


def _in_blocks(items: list[Any], payloads: dict[str, bytes]) -> Any:
    whole = len(items) // BLOCK * BLOCK
    blocks = [_put(items[start : start + BLOCK], payloads) for start in range(0, whole, BLOCK)]
    return {"$": "parts", "v": [*_levels(blocks, payloads), items[whole:]]}


def _levels(blocks: list[Any], payloads: dict[str, bytes]) -> list[Any]:
    """Combine every `BLOCK` blocks into a block of the next level, until a few dozen are left."""
    if len(blocks) <= BLOCK:
        return blocks
    whole = len(blocks) // BLOCK * BLOCK
    combined = [
        _put({"$": "parts", "v": blocks[start : start + BLOCK]}, payloads, least=0) for start in range(0, whole, BLOCK)
    ]
    return [*_levels(combined, payloads), *blocks[whole:]]


def references(value: Any) -> Iterator[str]:
    """The digests that a folded value refers to."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from references(item)
    elif isinstance(value, dict):
        tagged = cast("dict[str, Any]", value)
        if tagged.get("$") == "ref":
            yield str(tagged.get("v"))
        else:
            for item in tagged.values():
                yield from references(item)


def weight(value: Any) -> int:
    """As how many parts a value counts, without those inside it."""
    return 1 + len(value) // CHARACTERS if isinstance(value, str) else 1


def unfold(value: Any, payloads: Mapping[str, Any]) -> Any:
    """Put a folded value together from its decoded `payloads`; return the packed value. Raises `StoreDamaged`.

    The lists and dicts of the value become those of the result, and so do those of a payload: it has to be decoded
    anew each time that it is asked for."""
    budget = [LIMIT]
    if not _is_folded(value):
        return value
    try:
        return _unfold(value, payloads, budget)
    except (LookupError, TypeError, RecursionError) as error:
        raise StoreDamaged(f"a stored value cannot be put together: {without_values(error)}") from None


def _is_folded(whole: Any) -> bool:
    """Whether there is a tag of `fold` in a value."""
    todo: list[Any] = [whole]
    while todo:
        value = todo.pop()
        if _tag(value) in ("ref", "parts", "text"):
            return True
        if isinstance(value, list | dict):
            inner = cast("list[Any]", value) if isinstance(value, list) else cast("dict[str, Any]", value).values()
            todo += [it for it in inner if type(it) is list or type(it) is dict]
    return False


def _unfold(whole: Any, payloads: Mapping[str, Any], budget: list[int]) -> Any:
    """Without recursion, because references and blocks add levels to those of the value."""
    result: list[Any] = [None]
    # Each entry: folded data, and where its value goes.
    todo: list[tuple[Any, Any, Any]] = [(whole, result, 0)]
    while todo:
        value, target, at = todo.pop()
        while _tag(value) == "ref":
            _spend(budget)
            value = payloads[value["v"]]
        _spend(budget, weight(value))
        tag = _tag(value)
        if tag == "text":
            target[at] = "".join(_pieces(_joined(value["v"], payloads, budget), payloads, budget))
            continue
        if tag == "parts":
            value = _joined(value["v"], payloads, budget)
        if isinstance(value, list):
            items = cast("list[Any]", value)
            target[at] = items
            _add_inner(enumerate(items), items, todo, budget)
        elif isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            target[at] = fields
            _add_inner(fields.items(), fields, todo, budget)
        else:
            target[at] = value
    return result[0]


def _add_inner(
    inner: Iterable[tuple[Any, Any]], target: Any, todo: list[tuple[Any, Any, Any]], budget: list[int]
) -> None:
    """Add the items of a list or dict to what `_unfold` has to do, except those that are in `target` as they are."""
    for at, item in inner:
        if not isinstance(item, list | dict):
            _spend(budget, weight(item))
        elif not _is_flat(cast("Any", item)):
            todo.append((cast("Any", item), target, at))
        else:  # most lists and dicts in a large value are small, and what is to be done takes more memory than they
            _spend(budget)
            for part in cast("list[Any]", item) if isinstance(item, list) else cast("Any", item).values():
                _spend(budget, weight(part))


def _is_flat(value: Any) -> bool:
    """Whether a list or dict has no tag and no list or dict in it."""
    if isinstance(value, list):
        return not any(isinstance(it, list | dict) for it in cast("list[Any]", value))
    return "$" not in value and not any(isinstance(it, list | dict) for it in value.values())


def _tag(value: Any) -> Any:
    return cast("dict[str, Any]", value).get("$") if isinstance(value, dict) else None


def _joined(parts: Any, payloads: Mapping[str, Any], budget: list[int]) -> list[Any]:
    """The items of blocks, and of blocks of blocks, in order; or the pieces of a text. The items stay folded."""
    found: list[Any] = []
    todo: list[tuple[Any, bool]] = [(parts, True)]  # a value, and whether its items are blocks
    while todo:
        value, holds_blocks = todo.pop()
        _spend(budget)
        if isinstance(value, dict):
            tagged = cast("dict[str, Any]", value)
            inner = payloads[tagged["v"]] if tagged["$"] == "ref" else tagged["v"]
            todo.append((inner, holds_blocks if tagged["$"] == "ref" else True))
        elif isinstance(value, list):
            items = cast("list[Any]", value)
            _spend(budget, len(items))
            if holds_blocks:
                todo.extend((item, False) for item in reversed(items))
            else:
                found.extend(items)
        else:
            found.append(value)
    return found


def _pieces(folded: list[Any], payloads: Mapping[str, Any], budget: list[int]) -> list[str]:
    """The pieces of a text. One payload may be many of them, so they are counted before they are joined."""
    pieces: list[str] = []
    for it in folded:
        piece = it if isinstance(it, str) else payloads[it["v"]]
        _spend(budget, weight(piece))
        pieces.append(piece)
    return pieces


def _spend(budget: list[int], parts: int = 1) -> None:
    budget[0] -= parts
    if budget[0] < 0:
        raise StoreDamaged(f"a stored value has more than {LIMIT:,} parts; this engine never writes so many")
