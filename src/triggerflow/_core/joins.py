"""Where branches come together. One slot-filling rule serves batch, for_each and match; another the named joins.

A fan-out makes a `BlockInstance` per pass and a `Branch` per branch. A branch that reaches the end of the block fills
its slot, once. Named joins (`when` with mode `and`, `collect`) have no block instance of their own: they keep the
latest value per slot and are consumed as a whole.
"""

from typing import Any

from .definition import OperatorKind
from .limits import Limiter
from .plan import Node, Plan
from .state import UNSET, BlockInstance, Branch, CompletionGroup, JoinKey, RunState

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
    return opening


def close_scope(state: RunState, opening: BlockInstance) -> None:
    """The pass is complete."""
    if state.openings is not None:
        del state.openings[opening.id]


def drop_scope(state: RunState, opening: BlockInstance) -> None:
    """The pass is taken back, with all its branches: no collection inside will ever have them all."""
    close_scope(state, opening)
    for join in [key for key in state.joins or () if key[1] == opening.id]:
        consume(state, join)


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
    if state.joins:  # collections of this branch are over with it, also where its pass was abandoned
        for join in [key for key in state.joins if key[1:] == (opening.id, frame.index)]:
            if join[0].startswith(COLLECT):
                del state.joins[join]
    if opening.slots[frame.index] is not UNSET:
        return None
    opening.slots[frame.index] = value
    opening.missing -= 1
    return opening


def forget_items(state: RunState) -> None:
    """Nothing runs: what a `when` has of items that are over (see `Node.block`) will never be a full set. Not sooner: a
    branch beside the chain may still be on its way when its item is over."""
    for join in [key for key in state.joins or () if key[1] and key[1] not in (state.openings or {})]:
        consume(state, join)


def join_key(name: str, frame: Branch | None) -> JoinKey:
    """The key of a named join that is kept per branch of a block."""
    return (name, 0, 0) if frame is None else (name, frame.opening.id, frame.index)


def latest(state: RunState, join: JoinKey, slot: Any, value: Any) -> dict[Any, Any]:
    """Keep the latest value of a slot of a named join; all slots of that join."""
    if state.joins is None:
        state.joins = {}
    slots = state.joins.get(join)
    if slots is None:
        slots = state.joins[join] = {}
    slots[slot] = value
    return slots


def consume(state: RunState, join: JoinKey) -> None:
    """The full set is taken: the join starts empty again."""
    if state.joins is not None:
        del state.joins[join]


def unfilled(plan: Plan, state: RunState) -> tuple[str, ...]:
    """Names of the joins that hold something and still wait for the rest."""
    half = [opening.node.id for opening in (state.openings or {}).values()]
    if not state.joins:
        return tuple(half)
    wanted = {
        f"{COLLECT}{node.name}": len(node.operator.options["branches"])
        for node in plan.nodes
        if node.kind is OperatorKind.COLLECT
    }
    for join, slots in state.joins.items():
        if len(slots) < wanted.get(join[0], len(slots) + 1):
            half.append(join[0])
    return tuple(half)
