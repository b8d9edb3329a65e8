"""Where branches come together. One slot-filling rule serves batch, for_each and match; another the named joins.

A fan-out makes a `BlockInstance` per pass and a `Branch` per branch. A branch that reaches the end of the block fills
its slot, once. Named joins (`when` with mode `and`, `collect`) have no block instance of their own: they keep the
latest value per slot and are consumed as a whole.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from .definition import OperatorKind
from .limits import Limiter
from .plan import Node, Plan
from .provisional import drop_member, take_member
from .state import KEPT, UNSET, BlockInstance, Branch, CompletionGroup, Joins, RunState

#: What the names of collections begin with, among the named joins.
COLLECT = "collect:"


def open_scope(
    state: RunState, node: Node, outer: Branch | None, group: CompletionGroup | None, size: int
) -> BlockInstance:
    """A new pass through the block that `node` opens, with `size` slots."""
    number = state.next_id
    state.next_id = number + 1
    opening = BlockInstance(number, node, outer, group, size)
    limiters = state.limiters if outer is None else outer.opening.limiters
    if node.concurrency is not None:
        limiters = (Limiter(node.concurrency), *limiters)
    opening.limiters = limiters
    if state.openings is None:
        state.openings = {}
    state.openings[number] = opening
    if group is not None and group.provisional is not None:
        take_member(state, group, number, opening)
    return opening


def close_scope(state: RunState, opening: BlockInstance) -> None:
    """The pass is complete."""
    if state.openings is not None:
        del state.openings[opening.id]
    group = opening.group
    if group is not None and group.provisional is not None:
        drop_member(state, group, opening.id)


def drop_scope(state: RunState, opening: BlockInstance) -> None:
    """The pass is taken back, with all its branches: no collection inside will ever have them all."""
    close_scope(state, opening)
    joins = state.joins
    if joins:
        for index in joins.pop(opening.id, ()):
            joins.over.pop((opening.id, index), None)


def leave_scope(state: RunState, opening: BlockInstance) -> None:
    """A pass has no future, and its branches go on: what they have collected is over with them."""
    close_scope(state, opening)
    opening.slots = [None] * len(opening.slots)  # a slot that is filled takes nothing any more
    if state.joins:
        for index in state.joins.get(opening.id, ()):
            state.joins.over[opening.id, index] = None


def fill(state: RunState, frame: Branch | None, opener: Node | None, value: Any) -> BlockInstance | None:
    """Put a branch's value into its slot; the opening, or None if this signal is not a branch arriving for the first
    time.

    A chunk is one node wherever it is attached, so its completion also reaches collectors of blocks it did not run in:
    the frame tells them apart.
    """
    if frame is None:
        return None
    opening = frame.opening
    if opening.node is not opener:
        return None
    if state.joins:
        _end_collections(state.joins, opening.id, frame.index)
    if opening.slots[frame.index] is not UNSET:
        return None
    opening.slots[frame.index] = value
    opening.missing -= 1
    return opening


def _end_collections(joins: Joins, opening: int, index: int) -> None:
    """Collections of this branch are over with it, also where its pass was abandoned. A half-filled `when` is not: a
    branch beside the chain may still be on its way."""
    held = joins.get(opening, {}).get(index)
    if held is None:
        return
    for name in [name for name in held if name.startswith(COLLECT)]:
        _drop(joins, name, opening, index)
    if held:
        joins.over[opening, index] = None


def forget_items(state: RunState) -> None:
    """Nothing runs: what a `when` has of items that are over (see `Node.block`) will never be a full set."""
    joins = state.joins
    if joins:
        _forget(joins, joins.over)


def tidy(plan: Plan, state: RunState, joins: Joins) -> None:
    """After a record: where much is half-filled of branches that are over, forget it if nothing is at work in them.

    Only when so much has gathered that half of it at least will go, so that it costs each branch a constant time.
    """
    over = len(joins.over)
    if over < KEPT:
        return
    at_work = state.asking + len(state.openings or ()) + len(state.retracted or ())
    at_work += 1 if state.many is None else len(state.many)
    if over < 2 * plan.depth * at_work:
        return
    alive = set[tuple[int, int]]()
    for scope in _scopes(state):
        frame = scope
        while frame is not None and (frame.opening.id, frame.index) not in alive:
            alive.add((frame.opening.id, frame.index))
            frame = frame.opening.outer
    _forget(joins, [branch for branch in joins.over if branch not in alive])


def _scopes(state: RunState) -> Iterator[Branch | None]:
    """Where something is at work, or may go on."""
    for run in (*state.runs.values(), *(state.retracted or {}).values()):
        yield run.scope
    for interrupt in (state.interrupts or {}).values():
        if interrupt.status == "waiting":
            yield interrupt.run.scope
    for opening in (state.openings or {}).values():
        yield opening.outer


def _forget(joins: Joins, branches: Iterable[tuple[int, int]]) -> None:
    for opening, index in list(branches):
        for name in list(joins[opening][index]):
            _drop(joins, name, opening, index)


def latest(state: RunState, name: str, frame: Branch | None, slot: Any, value: Any) -> dict[Any, Any]:
    """Keep the latest value of a slot of a named join, for a branch of a block or outside all of them (None); all slots
    of that join."""
    joins = state.joins
    if joins is None:
        joins = state.joins = Joins()
    opening, index = (0, 0) if frame is None else (frame.opening.id, frame.index)
    held = joins.setdefault(opening, {}).setdefault(index, {})
    slots = held.get(name)
    if slots is None:
        slots = held[name] = {}
        if frame is not None and is_over(state, frame):
            joins.over[opening, index] = None
    slots[slot] = value
    return slots


def is_over(state: RunState, frame: Branch) -> bool:
    """Whether a branch has ended: what still comes from it is beside the chain."""
    return frame.opening.slots[frame.index] is not UNSET or frame.opening.id not in (state.openings or ())


def consume(state: RunState, name: str, frame: Branch | None) -> None:
    """The full set is taken: the join starts empty again."""
    if state.joins is not None:
        _drop(state.joins, name, *((0, 0) if frame is None else (frame.opening.id, frame.index)))


def _drop(joins: Joins, name: str, opening: int, index: int) -> None:
    branches = joins[opening]
    del branches[index][name]
    if not branches[index]:
        del branches[index]
        joins.over.pop((opening, index), None)
        if not branches:
            del joins[opening]


def joined(state: RunState) -> Iterator[tuple[str, int, int, dict[Any, Any]]]:
    """All named joins that hold something: name, opening, branch, slots."""
    for opening, branches in state.joins.items() if state.joins else ():
        for index, held in branches.items():
            for name, slots in held.items():
                yield name, opening, index, slots


def unfilled(plan: Plan, state: RunState) -> tuple[str, ...]:
    """Names of the joins that hold something and still wait for the rest, each once."""
    half = [opening.node.id for opening in (state.openings or {}).values()]
    if not state.joins:
        return tuple(dict.fromkeys(half))
    wanted = {
        f"{COLLECT}{node.name}": len(node.operator.options["branches"])
        for node in plan.nodes
        if node.kind is OperatorKind.COLLECT
    }
    half += [name for name, _, _, slots in joined(state) if len(slots) < wanted.get(name, len(slots) + 1)]
    return tuple(dict.fromkeys(half))
