"""Branches without a value: what a block does when a failed operator gives no value (decision 0018).

A failed operator has an *outcome* in place of a value: `MISSING` if an error route or `skip_exceptions` took the
failure, or a `Lost` with the failure if a block around it has `on_error="collect"`. A branch of a block has this
outcome once its end cannot be reached any more without the operators that failed. That is read from the definition, so
it does not depend on which chunk ends first.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from .commands import AnyCommand, LateFailure
from .definition import OperatorKind
from .joins import close_scope, is_over
from .plan import Node
from .reach import leads, reaches
from .state import BlockInstance, Branch, CompletionGroup, Lost, RunState

MATCH_CASE = OperatorKind.MATCH_CASE


class HasState(Protocol):
    """What is needed of a machine here."""

    state: RunState
    out: list[AnyCommand]


def collected(at: Node, scope: Branch | None) -> bool:
    """Whether a block around a failed operator collects its failure.

    A side branch, or a chain that does not lead to the end of its block, has no place among the block's values: its
    failure would not be seen, so it is not collected.
    """
    if at.optional:
        return False
    while scope is not None:
        opener = scope.instance.node
        end = opener.block
        if end is None or (at.kind is not MATCH_CASE and not leads(opener, at, end)):
            return False
        if opener.collects:
            return True
        at, scope = end, scope.instance.outer
    return False


def lose(machine: HasState, at: Node, scope: Branch | None, group: CompletionGroup | None, lost: Lost) -> None:
    """Note that an operator has failed in a branch. If no other way leads to its end, the branch ends with `lost`."""
    if scope is None or at.optional:
        return
    if is_over(machine.state, scope):
        if lost.failure is not None:
            machine.out.append(LateFailure(lost.failure))
        return
    instance, end = scope.instance, scope.instance.node.block
    if end is None:
        return
    if instance.failed is None:
        instance.failed = {}
    failed = instance.failed.setdefault(scope.index, set())
    failed.add(at.index)
    if reaches(instance.node, _position(instance, scope.index), end, failed):
        return
    del instance.failed[scope.index]
    keeps = instance.node.collects and lost.failure is not None
    end.enter(machine, end, at.trigger, lost.failure if keeps else lost, scope, group)


def lose_block(
    machine: HasState, end: Node, instance: BlockInstance, group: CompletionGroup | None, lost: Lost
) -> None:
    """End a block that gives no value: the branch around it loses the block."""
    close_scope(machine.state, instance)
    lose(machine, end, instance.outer, group, lost)


def first_lost(slots: Iterable[Any]) -> Lost | None:
    """Return the outcome of a block in which some branches have no value; None if all have one.

    A failure that has to reach a collecting block comes before a branch that is only missing."""
    found: Lost | None = None
    for slot in slots:
        if type(slot) is Lost:
            if slot.failure is not None:
                return slot
            found = slot
    return found


def _position(instance: BlockInstance, index: int) -> int:
    """Return the position of a branch among the operators that follow its opener; -1 for the item of a for_each."""
    match instance.node.kind:
        case OperatorKind.BATCH_FANOUT:
            return index
        case OperatorKind.MATCH_ROUTE:
            hits = instance.source
            # Executions that began before rules `NO_VALUE` have the value here.
            return hits[index] if len(hits) > index and type(hits[index]) is int else -1
        case _:
            return -1
