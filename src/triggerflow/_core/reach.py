"""What the definition says about the ways through a block: whether a branch can still reach its end.

The answers depend on the definition alone, and are kept at the operator that opens the block (`Node.reach`).
"""

from collections.abc import Collection, Iterable
from typing import Any

from .definition import OperatorKind
from .plan import Node

_OPENERS = frozenset({OperatorKind.BATCH_FANOUT, OperatorKind.FOR_EACH_SPLIT, OperatorKind.MATCH_ROUTE})
_COLLECTORS = frozenset({OperatorKind.BATCH_COLLECT, OperatorKind.FOR_EACH_COLLECT, OperatorKind.MATCH_COLLECT})

#: How many answers about one block are kept; with more, they are computed again.
KEPT_ANSWERS = 1024


def outlives(opener: Node, name: str) -> bool:
    """Whether the collection `name` inside a block can become full after the end of the branch that it is in."""
    known = _known(opener)
    key = ("outlives", name)
    if key not in known:
        end = opener.block
        entries = [entry for case in opener.next for entry in case.next] if opener.mode else opener.next
        known[key] = end is not None and _search(entries, end, (), without_collection=name)
    return known[key]


def _known(opener: Node) -> dict[Any, bool]:
    known = opener.reach
    if known is None or len(known) >= KEPT_ANSWERS:
        known = opener.reach = {}
    return known


def reaches(opener: Node, case: int, end: Node, failed: Collection[int]) -> bool:
    """Whether a branch can reach the end of its block without these operators (their indexes).

    `case` is the position of the case of a match, or of the branch of a batch; -1 for any."""
    known, key = _known(opener), (case, frozenset(failed))
    if key not in known:
        entries = opener.next
        if case >= 0:
            entries = entries[case : case + 1]
        if opener.kind is OperatorKind.MATCH_ROUTE:
            entries = tuple(entry for it in entries for entry in it.next)
        known[key] = _search(entries, end, failed)
    return known[key]


def leads(opener: Node, at: Node, end: Node) -> bool:
    """Whether what follows an operator can reach the end of the block, perhaps together with other chains."""
    known, key = _known(opener), ("leads", at.index)
    if key not in known:
        known[key] = _search(_after(at), end, (), alone=True)
    return known[key]


def _after(node: Node) -> tuple[Node, ...]:
    """The operators that follow one in the same branch. A block inside is passed as a whole."""
    if node.kind in _OPENERS:
        return () if node.block is None else (node.block,)
    return tuple(it for it in node.next if it.kind is not OperatorKind.GATE)


def _search(
    entries: Iterable[Node], end: Node, without: Collection[int], *, alone: bool = False, without_collection: str = ""
) -> bool:
    """Whether a signal gets from the entries to the end without the operators `without`.

    A collection passes it when all of its branches are reached; with `alone`, when one is."""
    seen: set[int] = set()
    branches: dict[str, set[str]] = {}
    rest = [(False, entry) for entry in entries]
    while rest:
        of_block, node = rest.pop()
        if node.index in without:
            continue
        if node is end:
            return True
        # Another block's collector ignores a signal that comes from outside of that block.
        if node.index in seen or node.kind is OperatorKind.GATE or (node.kind in _COLLECTORS and not of_block):
            continue
        if node.kind is OperatorKind.GO_BACK and node.leaves:  # the way back leads out of the block
            if alone:  # the step that runs again is in a block around this one, which decides
                return True
            continue
        seen.add(node.index)
        if node.kind is OperatorKind.COLLECT:
            if node.name == without_collection:
                continue
            met = branches.setdefault(node.name, set())
            met.add(node.operator.options["branch"])
            if not alone and not met.issuperset(node.operator.options["branches"]):
                continue
        rest.extend((node.kind in _OPENERS, it) for it in _after(node))
    return False
