"""Large values are stored once, however many records hold them.

A conversation that grows by a message a turn stands in every record of its loop. Written out each time it would grow
quadratically; so a value is *folded* before it is written: each part that is larger than `PART` bytes becomes a
payload of its own, known by the digest of its content, and the record keeps a reference. Parts are cut so that what
grows at its end shares everything but its end with what it was before:

* a long list is cut into blocks of `BLOCK` items, and a long list of blocks into blocks again;
* a long text is cut into pieces of `TEXT` characters, which then are such a list.

What is folded is packed data (see `payload.Types`), in which a dict with the key "$" is a tag; folding adds three of
its own: `ref` (a payload), `parts` (a list, joined from lists), `text` (a text, joined from pieces).
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from .._core.errors import StoreDamaged
from ..stores.protocol import payload_digest

#: Sizes: what becomes a payload (bytes), how many items a block has, how many characters a piece of text has.
PART, BLOCK, TEXT = 1024, 32, 4096

#: How many parts a value may have when it is put together: a file from a stranger could double them at every level.
LIMIT = 50_000_000

_encode = msgspec.json.Encoder().encode


def fold(value: Any, payloads: dict[str, bytes]) -> Any:
    """The packed value with references in place of its large parts, which are added to `payloads`."""
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
    """A reference to the value if it is large, else the value."""
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
    """Blocks, with every full group of them in a block of the next level: a few dozen, however many there were."""
    if len(blocks) <= BLOCK:
        return blocks
    whole = len(blocks) // BLOCK * BLOCK
    groups = [
        _put({"$": "parts", "v": blocks[start : start + BLOCK]}, payloads, least=0) for start in range(0, whole, BLOCK)
    ]
    return [*_levels(groups, payloads), *blocks[whole:]]


def references(value: Any) -> Iterator[str]:
    """The digests that a folded value refers to."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from references(item)
    elif isinstance(value, dict):
        kept = cast("dict[str, Any]", value)
        if kept.get("$") == "ref":
            yield str(kept.get("v"))
        else:
            for item in kept.values():
                yield from references(item)


def unfold(value: Any, payloads: Mapping[str, Any]) -> Any:
    """The packed value again; `payloads` are the decoded ones. Raises `StoreDamaged`."""
    budget = [LIMIT]
    try:
        return _unfold(value, payloads, budget)
    except (LookupError, TypeError, RecursionError) as error:
        raise StoreDamaged(f"a stored value cannot be put together: {type(error).__name__}: {error}") from error


def _unfold(value: Any, payloads: Mapping[str, Any], budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise StoreDamaged(f"a stored value has more than {LIMIT:,} parts; nothing that this engine wrote has so many")
    if isinstance(value, list):
        return [_unfold(item, payloads, budget) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    kept = cast("dict[str, Any]", value)
    match kept.get("$"):
        case "ref":
            return _unfold(payloads[kept["v"]], payloads, budget)
        case "parts":
            return [item for part in kept["v"] for item in _unfold(part, payloads, budget)]
        case "text":
            return "".join(_unfold(kept["v"], payloads, budget))
        case _:
            return {key: _unfold(item, payloads, budget) for key, item in kept.items()}
