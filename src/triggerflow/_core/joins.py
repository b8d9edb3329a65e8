"""Joins: one rule fills the slots of batch, for_each and match, another one fills the named joins.

A fan-out makes one `BlockInstance` per pass and one `Branch` per branch. A branch that reaches the end of the block
fills its slot, once. A named join (`when` with mode `and`, `collect`) has no block instance of its own. It holds the
latest value per slot, and a full set of slots is consumed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .definition import OperatorKind
from .events import NO_VALUE, PROVISIONAL_RESULTS
from .limits import Limiter
from .plan import Node, Plan
from .provisional import drop_member, first_undecided, is_taken_back, take_member
from .reach import outlives
from .state import KEPT, UNSET, BlockInstance, Branch, CompletionGroup, Joins, JoinSlot, Provisional, RunState

#: Prefix of the names of collections among the named joins.
COLLECT = "collect:"


def open_scope(
    state: RunState, node: Node, outer: Branch | None, group: CompletionGroup | None, size: int
) -> BlockInstance:
    """Make a new instance of the block that `node` opens, with `size` slots."""
    number = state.next_id
    state.next_id = number + 1
    instance = BlockInstance(number, node, outer, group, size)
    limiters = state.limiters if outer is None else outer.instance.limiters
    if node.concurrency is not None:
        limiters = (Limiter(node.concurrency), *limiters)
    instance.limiters = limiters
    if state.block_instances is None:
        state.block_instances = {}
    state.block_instances[number] = instance
    if group is not None and group.provisional is not None:
        take_member(state, group, number, instance)
    return instance


def close_scope(state: RunState, instance: BlockInstance) -> None:
    """Remove a block instance that is complete."""
    if state.block_instances is not None:
        del state.block_instances[instance.id]
    group = instance.group
    if group is not None and group.provisional is not None:
        drop_member(state, group, instance.id)


def drop_scope(state: RunState, instance: BlockInstance) -> None:
    """Remove a retracted block instance and the joins of its branches: no collection inside can become full."""
    close_scope(state, instance)
    joins = state.joins
    if joins:
        for index, held in list(joins.get(instance.id, {}).items()):
            for name in list(held):
                _drop(joins, name, instance.id, index)


def leave_scope(state: RunState, instance: BlockInstance) -> None:
    """Remove a block instance that can never be complete, while its branches go on.

    The joins of its branches are marked as over."""
    close_scope(state, instance)
    instance.slots = [None] * len(instance.slots)  # a filled slot ignores later values
    if state.joins:
        for index in state.joins.get(instance.id, ()):
            state.joins.over[instance.id, index] = None


def fill(state: RunState, branch: Branch | None, opener: Node | None, value: Any) -> BlockInstance | None:
    """Put the value of a branch into its slot.

    Returns the block instance, or None if this signal is not the first arrival of a branch of the block. A chunk is one
    node wherever it is attached, so its completion also reaches collectors of blocks in which it did not run. The
    branch of the signal shows in which block the chunk ran.
    """
    if branch is None:
        return None
    instance = branch.instance
    if instance.node is not opener:
        return None
    if state.joins:
        _end_collections(state, state.joins, instance, branch.index)
    if instance.slots[branch.index] is not UNSET:
        return None
    instance.slots[branch.index] = value
    instance.missing -= 1
    return instance


def _end_collections(state: RunState, joins: Joins, instance: BlockInstance, index: int) -> None:
    """Drop the collections of a branch that has ended, also if its block instance was abandoned.

    A half-filled `when` stays: a side branch may still fill it. So does a collection of chains that do not lead to the
    end of the block."""
    held = joins.get(instance.id, {}).get(index)
    if held is None:
        return
    keeps = state.rules >= NO_VALUE
    for name in [name for name in held if name.startswith(COLLECT)]:
        if not (keeps and outlives(instance.node, name.removeprefix(COLLECT))):
            _drop(joins, name, instance.id, index)
    if held:
        joins.over[instance.id, index] = None


def forget_items(state: RunState) -> None:
    """Drop the half-filled joins of branches that have ended.

    The caller makes sure that no run is left to fill them.
    """
    joins = state.joins
    if joins:
        _forget_branches(joins, joins.over)


def tidy(plan: Plan, state: RunState, joins: Joins) -> None:
    """Drop half-filled joins of ended branches in which no run, interrupt or block instance is left.

    The machine calls this after every record. It searches only when at least half of the joins will go, so that the
    cost per branch is constant.
    """
    over = len(joins.over)
    if over < KEPT:
        return
    at_work = state.asking + len(state.block_instances or ()) + len(state.retracted or ())
    at_work += 1 if state.many is None else len(state.many)
    if over < 2 * plan.depth * at_work:
        return
    alive = set[tuple[int, int]]()
    for scope in _scopes(state):
        branch = scope
        while branch is not None and (branch.instance.id, branch.index) not in alive:
            alive.add((branch.instance.id, branch.index))
            branch = branch.instance.outer
    _forget_branches(joins, [branch for branch in joins.over if branch not in alive])


def _scopes(state: RunState) -> Iterator[Branch | None]:
    """Yield the scopes of all runs, open interrupts and block instances."""
    for run in (*state.runs.values(), *(state.retracted or {}).values()):
        yield run.scope
    for interrupt in (state.interrupts or {}).values():
        if interrupt.status == "waiting":
            yield interrupt.run.scope
    for instance in (state.block_instances or {}).values():
        yield instance.outer


def _forget_branches(joins: Joins, branches: Iterable[tuple[int, int]]) -> None:
    for instance_id, index in list(branches):
        for name in list(joins[instance_id][index]):
            _drop(joins, name, instance_id, index)


def fill_join(
    state: RunState, name: str, branch: Branch | None, slot: Any, value: Any, group: CompletionGroup | None
) -> dict[Any, Any]:
    """Store the latest value of a slot of a named join, and return all slots of that join.

    `branch` is the branch of a block to which the join belongs, or None outside all blocks. `group` is the completion
    group of the value."""
    joins = state.joins
    if joins is None:
        joins = state.joins = Joins()
    instance_id, index = (0, 0) if branch is None else (branch.instance.id, branch.index)
    held = joins.setdefault(instance_id, {}).setdefault(index, {})
    slots = held.get(name)
    if slots is None:
        slots = held[name] = {}
        if branch is not None and is_over(state, branch):
            joins.over[instance_id, index] = None
    slots[slot] = value
    if joins.provisional or (group is not None and group.provisional is not None):
        note_provisional_slot(state, branch, (instance_id, index, name, slot), group)
    return slots


def note_provisional_slot(state: RunState, branch: Branch | None, at: JoinSlot, group: CompletionGroup | None) -> None:
    """Note from which provisional signal the value of a slot is, so that a retraction takes it back.

    A join in a block that the same signal has opened needs no note: the retraction drops the block."""
    joins = state.joins
    if joins is None:
        return
    undecided = None if state.rules < PROVISIONAL_RESULTS else first_undecided(state, group)
    around = None if branch is None else first_undecided(state, branch.instance.group)
    if undecided is None or undecided is around:
        joins.provisional.pop(at, None)
        return
    joins.provisional[at] = undecided
    signal: Provisional | None = undecided
    while signal is not None and signal is not around:
        if signal.slots is None:
            signal.slots = {}
        signal.slots[at] = None
        signal = signal.outer


def take_back_slots(state: RunState, signal: Provisional) -> None:
    """Empty the slots outside of a retracted signal's work whose values came from that work."""
    joins = state.joins
    for at in signal.slots or ():
        if joins is None or not is_taken_back(joins.provisional.get(at)):
            continue  # a later value has replaced it, or the join was used
        instance_id, index, name, slot = at
        del joins.provisional[at]
        slots = joins[instance_id][index][name]
        del slots[slot]
        if not slots:
            _drop(joins, name, instance_id, index)


def is_over(state: RunState, branch: Branch) -> bool:
    """Whether a branch has ended. Only side branches can still send signals from it."""
    return branch.instance.slots[branch.index] is not UNSET or branch.instance.id not in (state.block_instances or ())


def consume(state: RunState, name: str, branch: Branch | None) -> None:
    """Empty a join whose full set was used."""
    if state.joins is not None:
        _drop(state.joins, name, *((0, 0) if branch is None else (branch.instance.id, branch.index)))


def _drop(joins: Joins, name: str, instance_id: int, index: int) -> None:
    branches = joins[instance_id]
    slots = branches[index].pop(name)
    if joins.provisional:
        for slot in slots:
            joins.provisional.pop((instance_id, index, name, slot), None)
    if not branches[index]:
        del branches[index]
        joins.over.pop((instance_id, index), None)
        if not branches:
            del joins[instance_id]


def joined(state: RunState) -> Iterator[tuple[str, int, int, dict[Any, Any]]]:
    """Yield all named joins that hold values, as (name, block instance id, branch index, slots)."""
    for instance_id, branches in state.joins.items() if state.joins else ():
        for index, held in branches.items():
            for name, slots in held.items():
                yield name, instance_id, index, slots


def unfilled(plan: Plan, state: RunState) -> tuple[str, ...]:
    """Return the names of the joins that are half-filled, each once."""
    half = [instance.node.id for instance in (state.block_instances or {}).values()]
    if not state.joins:
        return tuple(dict.fromkeys(half))
    wanted = {
        f"{COLLECT}{node.name}": len(node.operator.options["branches"])
        for node in plan.nodes
        if node.kind is OperatorKind.COLLECT
    }
    half += [name for name, _, _, slots in joined(state) if len(slots) < wanted.get(name, len(slots) + 1)]
    return tuple(dict.fromkeys(half))
