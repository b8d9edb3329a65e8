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

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from .._core.errors import StoreDamaged
from ..stores.protocol import payload_digest

#: Bytes above which a part becomes a payload; items in a block; characters in a piece of text.
PART, BLOCK, TEXT = 1024, 32, 4096

#: The most parts of a value that `unfold` builds. A forged file could double the number of parts at every level.
LIMIT = 50_000_000

_encode = msgspec.json.Encoder().encode


def fold(value: Any, payloads: dict[str, bytes]) -> Any:
    """Replace the large parts of a packed value by references, and add them to `payloads`."""
    if isinstance(value, str):
        if len(value) <= PART:
            return value
        if len(value) <= TEXT:
            return _put(value, payloads)
        pieces = [value[start : start + TEXT] for start in range(0, len(value), TEXT)]
        return {"$": "text", "v": fold(pieces, payloads)}
    if isinstance(value, list):
        items = [fold(item, payloads) for item in cast("list[Any]", value)]
        return _put(_in_blocks(items, payloads) if len(items) > BLOCK else items, payloads)
    if isinstance(value, dict):
        return _put({key: fold(it, payloads) for key, it in cast("dict[str, Any]", value).items()}, payloads)
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


def unfold(value: Any, payloads: Mapping[str, Any]) -> Any:
    """Put a folded value together from its decoded `payloads`; return the packed value. Raises `StoreDamaged`."""
    budget = [LIMIT]
    try:
        return _unfold(value, payloads, budget)
    except (LookupError, TypeError, RecursionError) as error:
        raise StoreDamaged(f"a stored value cannot be put together: {type(error).__name__}: {error}") from error


def _unfold(value: Any, payloads: Mapping[str, Any], budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise StoreDamaged(f"a stored value has more than {LIMIT:,} parts; this engine never writes so many")
    if isinstance(value, list):
        return [_unfold(item, payloads, budget) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    tagged = cast("dict[str, Any]", value)
    match tagged.get("$"):
        case "ref":
            return _unfold(payloads[tagged["v"]], payloads, budget)
        case "parts":
            return [item for part in tagged["v"] for item in _unfold(part, payloads, budget)]
        case "text":
            return "".join(_unfold(tagged["v"], payloads, budget))
        case _:
            return {key: _unfold(item, payloads, budget) for key, item in tagged.items()}
