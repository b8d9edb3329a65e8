"""Transitions: what each kind of operator does with a signal. `TRANSITIONS`, at the end, has one function per kind.

A transition gets the node, the trigger and the value of the signal, its scope, and its completion group. It may start
runs, fill slots, and pass a signal on to the listeners of its own trigger. It never fails on user data. Signals with a
name (events, state, chunk names under `when`) have no scope: a gate is outside of all blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .commands import AnyCommand, CancelPull, Pull
from .cycles import check_cycles
from .definition import Definition, OperatorKind
from .errors import DefinitionError
from .events import NO_VALUE, PROVISIONAL_RESULTS
from .frozen import FrozenList
from .groups import enter_group
from .joins import COLLECT, close_scope, consume, fill, fill_join, leave_scope, open_scope
from .limits import acquire, limiter_of_chunk
from .losses import first_lost, lose, lose_block
from .plan import Node, Plan
from .provisional import first_undecided, take_member
from .results import fix_result, offer
from .signals import ANY_CHUNK, PUBLIC_KIND, FieldPlace, FieldTrigger, Trigger
from .state import (
    MISSING,
    READY,
    UNSET,
    BlockInstance,
    Branch,
    CompletionGroup,
    Lost,
    ProposedResult,
    RunChunk,
    RunState,
)
from .values import BUILTIN, equals, is_lazy, kind_of


class Effects(Protocol):
    """What a transition may change: the state, and the list of commands of the current record."""

    plan: Plan
    state: RunState
    out: list[AnyCommand]


Transition = Callable[[Effects, Node, Trigger, Any, Branch | None, CompletionGroup | None], None]


def enter_chunk(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """Start a run of the handler with the value, or queue it for permits."""
    state = machine.state
    number = state.next_id
    state.next_id = number + 1
    limiters = state.limiters if scope is None else scope.instance.limiters
    if node.concurrency is not None:
        limiters = (limiter_of_chunk(state, node.completes.name, node.concurrency), *limiters)
    run = RunChunk(number, node, trigger, value, state.records, scope, group, limiters)
    if state.many is not None:  # hot path: `begin`, inlined
        state.many[number] = run
    else:
        state.begin(run)
    if group is not None:
        group.live += 1  # hot path: `enter_group`, inlined for a group that is busy already
        if group.live == 1 and group.parent is not None:
            enter_group(group.parent)
        if group.provisional is not None:
            take_member(state, group, number, run)
    if limiters and not acquire(run):
        run.phase = READY
    else:
        machine.out.append(run)


def enter_sub_flow(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """Start the step at once. The chunks inside it need permits, the step does not (see `permits`)."""
    state = machine.state
    number = state.next_id
    state.next_id = number + 1
    run = RunChunk(number, node, trigger, value, state.records, scope, group, ())
    state.begin(run)
    if group is not None:
        enter_group(group)
        if group.provisional is not None:
            take_member(state, group, number, run)
    machine.out.append(run)


def enter_gate(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """`when`: modes `or` and `simple_or` pass each signal on.

    Mode `and` waits for one signal of each trigger, and passes them on together.
    """
    if node.mode == "and":
        wanted, item = node.operator.listens, None if node.block is None else scope
        while item is not None and item.instance.node is not node.block:
            item = item.instance.outer
        if trigger.kind == "error" and trigger not in wanted:
            trigger = Trigger("error", ANY_CHUNK)
        elif isinstance(trigger, FieldTrigger):
            trigger = trigger.plain
        slots = fill_join(machine.state, node.id, item, trigger, value, group)
        if len(slots) < len(wanted):
            return
        consume(machine.state, node.id, item)
        joined: dict[str, dict[str, Any]] = {}
        for part in wanted:
            joined.setdefault(PUBLIC_KIND[part.kind], {})[part.name] = slots[part]
        trigger, value = node.trigger, joined
    elif node.mode == "or":
        value = (PUBLIC_KIND[trigger.kind], trigger.name, value)
    for listener in node.next:
        listener.enter(machine, listener, trigger, value, None, group)


def enter_batch(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """batch: start all branches with the same value, each in its own `Branch`."""
    branches = node.next
    instance = open_scope(machine.state, node, scope, group, len(branches))
    for index, branch in enumerate(branches):
        branch.enter(machine, branch, node.trigger, value, Branch(instance, index), group)


def enter_batch_collect(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """End of a batch: when all branches have arrived, pass on one dict by branch name, in order of declaration."""
    instance = fill(machine.state, scope, node.block, value)
    if instance is not None and not instance.missing:
        if instance.failed is not None and (lost := first_lost(instance.slots)):
            lose_block(machine, node, instance, group, lost)
            return
        names: list[str] = node.operator.options["slots"]
        _leave_block(machine, node, instance, dict(zip(names, instance.slots, strict=True)), group)


def enter_split(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """for_each: start one branch per item, up to the window (`concurrency`, else `max_pending`) at a time.

    Lists (also those of a state), tuples and ranges are read directly. Strings, mappings, models and values that cannot
    be iterated are one item. The driver pulls the items of any other iterable, sync or async, as the window has room.
    This includes subclasses of list, tuple and range, which may have an iteration of their own.
    """
    instance = open_scope(machine.state, node, scope, group, 0)
    instance.source = value
    kind = kind_of(value)
    if kind is not list and kind is not tuple and kind is not range and kind is not FrozenList:
        if is_lazy(value):
            instance.pulled, instance.exhausted = deque(), False
        else:
            instance.source = (value,)
    _feed(machine, instance)


def _feed(machine: Effects, instance: BlockInstance) -> None:
    """Start items while the window has room; end the block when the results of all items have arrived.

    A branch without chunks ends while this loop starts it, and calls this function again. That inner call returns at
    once and the loop continues, so that the stack does not grow with the number of items.
    """
    if instance.feeding:
        return
    node, source, pulled = instance.node, instance.source, instance.pulled
    window = node.concurrency or machine.state.max_pending
    instance.feeding = True
    while instance.open < window and (instance.next < len(source) if pulled is None else pulled):
        index = instance.next
        instance.next += 1
        instance.open += 1
        instance.slots.append(UNSET)
        branch, trigger = Branch(instance, index), node.trigger
        item = source[index] if pulled is None else pulled.popleft()
        if instance.fields is not None and (field := instance.fields.popleft()) is not None:
            trigger = FieldTrigger(trigger.kind, trigger.name, field)
        for listener in node.next:
            listener.enter(machine, listener, trigger, item, branch, instance.group)
    instance.feeding = False
    if pulled is not None and not instance.exhausted:
        if instance.open < window and not instance.pulling and instance.giver is None:
            instance.pulling = True
            machine.state.pulls += 1
            if instance.group is not None:  # the pull is a member, so that a wait lasts until all items have come
                enter_group(instance.group)
            machine.out.append(Pull(instance, window - instance.open))
    elif not instance.open and node.block is not None:
        slots = instance.slots
        if instance.failed is not None and (lost := first_lost(slots)):
            if lost.failure is not None:
                lose_block(machine, node.block, instance, instance.group, lost)
                return
            slots = [slot for slot in slots if type(slot) is not Lost]
        _leave_block(machine, node.block, instance, slots, instance.group)


def take_pulled(machine: Effects, instance: BlockInstance, items: list[Any], done: bool) -> None:
    """Start the items that the driver has pulled from a lazy source.

    After that the caller removes the pull from the completion group, which then has the new runs as members."""
    machine.state.pulls -= 1
    instance.pulling = False
    instance.interruptions = None  # it has given items: losses are counted anew
    instance.exhausted = done
    if instance.pulled is not None:
        instance.pulled.extend(items)
    _feed(machine, instance)


def open_early(
    machine: Effects, node: Node, giver: int, scope: Branch | None, group: CompletionGroup | None
) -> BlockInstance:
    """Open a for_each whose items a running chunk gives, one after another."""
    instance = open_scope(machine.state, node, scope, group, 0)
    instance.giver, instance.exhausted = giver, False
    instance.pulled, instance.fields = deque(), deque()
    return instance


def take_given(
    machine: Effects, instance: BlockInstance, items: list[Any], fields: list[FieldPlace | None], *, done: bool
) -> None:
    """Start items that a running chunk has given. A for_each that was stopped takes no more of them."""
    if instance.exhausted or instance.pulled is None:
        return
    if instance.fields is not None:
        instance.pulled.extend(items)
        instance.fields.extend(fields)
    instance.exhausted = done
    _feed(machine, instance)


def abandon_pass(machine: Effects, instance: BlockInstance) -> None:
    """End a for_each that cannot be complete. Its branches go on, and their results are ignored.

    The caller removes the pull from the completion group."""
    leave_scope(machine.state, instance)
    stop_pulling(machine, instance)


def stop_pulling(machine: Effects, instance: BlockInstance) -> bool:
    """Stop taking items from a lazy source, and return whether a pull was open.

    The caller removes that pull from the completion group."""
    pulling = instance.pulling
    if pulling:
        machine.state.pulls -= 1
        instance.pulling = False
    if not instance.exhausted:
        instance.exhausted = True
        machine.out.append(CancelPull(instance))
    return pulling


def for_each_around(scope: Branch | None) -> BlockInstance | None:
    """Return the block instance of the innermost for_each around this scope; None outside of a for_each."""
    while scope is not None and scope.instance.node.kind is not OperatorKind.FOR_EACH_SPLIT:
        scope = scope.instance.outer
    return None if scope is None else scope.instance


def stop_items(machine: Effects, instance: BlockInstance) -> bool:
    """Start no further item of a for_each, and return whether a pull was open.

    The block ends when the results of the started items have arrived; if a running chunk gives the items, not before
    that chunk has completed, since its items can be taken back until then. The caller removes the pull from the
    completion group."""
    if instance.giver is not None and not instance.exhausted and machine.state.rules >= PROVISIONAL_RESULTS:
        instance.pulled, instance.fields = deque(), None
        return False
    if instance.pulled is None:
        instance.source = ()
    else:
        instance.pulled.clear()
        if instance.fields is not None:
            instance.fields.clear()
    pulling = stop_pulling(machine, instance)
    if instance.id in (machine.state.block_instances or ()):
        _feed(machine, instance)
    return pulling


def enter_for_each_collect(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """End of a for_each: the result of an item has arrived. After the last one, pass on the list of results in input
    order."""
    instance = fill(machine.state, scope, node.block, value)
    if instance is not None:
        instance.open -= 1
        _feed(machine, instance)


#: In `next` of a match, in place of the position of a case: no case has matched, and the else runs.
ELSE = -1


def enter_match(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """match: check the cases in order.

    `source` holds the value, `next` the case that is being checked, `slots` the cases that have matched so far."""
    instance = open_scope(machine.state, node, scope, group, 0)
    instance.source = (value,)
    _check_cases(machine, instance)


def _check_cases(machine: Effects, instance: BlockInstance) -> None:
    """Check cases until the driver has to run one, or until it is known which cases match.

    A case needs a run of its own if it has a callable, or if only the `==` method of the value can compare it with the
    literal."""
    node, value, hits = instance.node, instance.source[0], instance.slots
    cases, number, first_only = node.next, instance.next, node.mode == "hit_first"
    builtin = id(kind_of(value)) in BUILTIN
    while number < len(cases):
        case = cases[number]
        if case.otherwise:
            hit = not hits
        elif builtin and case.compares_builtin:
            hit = case.literal == value
        else:
            hit = None if case.handler is not None else _matches(machine, case.literal, value)
        if hit is None:
            instance.next = number
            enter_chunk(machine, case, node.trigger, value, Branch(instance, number), instance.group)
            return
        if hit:
            hits.append(number)
            if first_only:
                break
        number += 1
    instance.next = len(cases)
    _route(machine, instance)


def _matches(machine: Effects, literal: Any, value: Any) -> bool | None:
    """Whether a value equals the literal of a case; None if the driver has to compare them."""
    hit = equals(literal, value)
    if hit is not None or machine.state.rules:
        return hit
    try:  # journals of rules 0 (see `events.RULES`) have no record of the result: compare here, as that version did
        return bool(literal == value)
    except BaseException:  # the `==` of a user's class may raise anything; that is no match
        return False


def decide(machine: Effects, scope: Branch | None, value: bool) -> None:
    """Take the result of the condition of a case. The driver converts it to a bool, which may run user code."""
    if scope is None:
        return
    instance = scope.instance
    if value:
        instance.slots.append(scope.index)
    done = value and instance.node.mode == "hit_first"
    instance.next = len(instance.node.next) if done else scope.index + 1
    _check_cases(machine, instance)


def _route(machine: Effects, instance: BlockInstance) -> None:
    """Start the cases that matched. If none did, pass the value on to what follows the block."""
    node, value, hits = instance.node, instance.source[0], instance.slots
    if not hits and node.block is not None:
        _leave_block(machine, node.block, instance, value, instance.group)
        return
    cases: list[Node] = [node.next[position] for position in hits]
    instance.slots = [UNSET] * len(cases)
    instance.missing = len(cases)
    instance.source = tuple(hits)
    if cases[0].otherwise:
        instance.next = ELSE
    for index, case in enumerate(cases):
        branch = Branch(instance, index)
        for listener in case.next:
            listener.enter(machine, listener, case.trigger, value, branch, instance.group)


def enter_match_collect(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """End of a match: pass on the result of the case, or with hit_all the list of results in order of the cases.

    The else of a hit_all passes on its result, without a list."""
    instance = fill(machine.state, scope, node.block, value)
    if instance is not None and not instance.missing:
        if instance.failed is not None and (lost := first_lost(instance.slots)):
            lose_block(machine, node, instance, group, lost)
            return
        several = instance.node.mode == "hit_all" and instance.next != ELSE
        result = instance.slots if several else instance.slots[0]
        _leave_block(machine, node, instance, result, group)


def enter_collect(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """collect: fill a branch of a named collection, which joins branches of any chain within one scope."""
    options = node.operator.options
    name = f"{COLLECT}{node.name}"
    slots = fill_join(machine.state, name, scope, options["branch"], value, group)
    branches: list[str] = options["branches"]
    if len(slots) < len(branches):
        return
    if options["mode"] == "filled_then_empty":
        consume(machine.state, name, scope)
    full = {branch: slots[branch] for branch in branches}
    for listener in node.next:
        listener.enter(machine, listener, node.trigger, full, scope, group)


def enter_go_back(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """back_to: run an earlier step again. The matches in which the way back begins are left, and never complete."""
    state = machine.state
    for _ in range(node.leaves):
        if scope is None:  # the chain was entered from outside of its block
            break
        if scope.instance.id in (state.block_instances or ()):
            leave_scope(state, scope.instance)
        scope = scope.instance.outer
    for target in node.next:
        target.enter(machine, target, trigger, value, scope, group)


def enter_result(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """end: the first value that arrives is the result, see `results`."""
    state = machine.state
    certain = (group is None or group.provisional is None) and (state.rare is None or state.proposed is None)
    if certain and state.result is UNSET and not state.checks_result:
        fix_result(machine, node.id, value)  # what `offer` comes to for nearly every execution
    else:
        offer(machine, ProposedResult(node.id, trigger.name, value, first_undecided(state, group)))
    for listener in node.next:
        listener.enter(machine, listener, trigger, value, scope, group)


def end_without_value(
    machine: Effects, node: Node, scope: Branch | None, group: CompletionGroup | None, lost: Lost = MISSING
) -> None:
    """An operator has failed: its branch gets no value from it, and ends if no other way leads to its end."""
    if lost is MISSING and machine.state.rules < NO_VALUE:
        _end_with_none(machine, node, scope, group)
    elif node.kind is OperatorKind.MATCH_CASE and scope is not None:
        _fail_condition(machine, scope.instance, group, lost)
    else:
        lose(machine, node, scope, group, lost)


def _fail_condition(machine: Effects, instance: BlockInstance, group: CompletionGroup | None, lost: Lost) -> None:
    """A condition has raised: it is neither true nor false, so that no case runs and the match gives no value."""
    node, end = instance.node, instance.node.block
    if end is None or instance.id not in (machine.state.block_instances or ()):
        return
    if lost.failure is not None and node.collects:
        _leave_block(machine, end, instance, [lost.failure] if node.mode == "hit_all" else lost.failure, group)
    else:
        lose_block(machine, end, instance, group, lost)


def _end_with_none(machine: Effects, node: Node, scope: Branch | None, group: CompletionGroup | None) -> None:
    """Rules before `NO_VALUE`: the branch ends with None, and a condition that raised counts as false."""
    if scope is None or node.optional:
        return
    if node.kind is OperatorKind.MATCH_CASE:
        decide(machine, scope, False)
        return
    block = scope.instance.node.block
    if block is not None:
        block.enter(machine, block, node.trigger, None, scope, group)


def _leave_block(
    machine: Effects, node: Node, instance: BlockInstance, value: Any, group: CompletionGroup | None
) -> None:
    close_scope(machine.state, instance)
    for listener in node.next:
        listener.enter(machine, listener, node.trigger, value, instance.outer, group)


def enter_case(
    machine: Effects, node: Node, trigger: Trigger, value: Any, scope: Branch | None, group: CompletionGroup | None
) -> None:
    """Never called: the match checks its cases itself (`_check_cases`)."""


TRANSITIONS: Mapping[OperatorKind, Transition] = {
    OperatorKind.CHUNK: enter_chunk,
    OperatorKind.GATE: enter_gate,
    OperatorKind.BATCH_FANOUT: enter_batch,
    OperatorKind.BATCH_COLLECT: enter_batch_collect,
    OperatorKind.FOR_EACH_SPLIT: enter_split,
    OperatorKind.FOR_EACH_COLLECT: enter_for_each_collect,
    OperatorKind.MATCH_ROUTE: enter_match,
    OperatorKind.MATCH_CASE: enter_case,
    OperatorKind.MATCH_COLLECT: enter_match_collect,
    OperatorKind.COLLECT: enter_collect,
    OperatorKind.SUB_FLOW: enter_sub_flow,
    OperatorKind.RESULT: enter_result,
    OperatorKind.GO_BACK: enter_go_back,
}


#: Blocks that the user closes, and the method that closes each.
CLOSED_BY = {OperatorKind.FOR_EACH_SPLIT: "end_for_each", OperatorKind.MATCH_ROUTE: "end_match"}


def compile_plan(definition: Definition) -> Plan:
    """Return the plan of a definition. Raises `DefinitionError` for a block that is not closed, or a bad loop."""
    plan = Plan(definition, TRANSITIONS)
    for node in plan.nodes:
        if node.block is None and node.kind in CLOSED_BY:
            raise DefinitionError(
                f"flow {definition.name!r}: {node.id!r} is never closed; end it with .{CLOSED_BY[node.kind]}()"
            )
    check_cycles(plan)
    return plan
