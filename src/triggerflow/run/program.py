"""A definition with the Python objects that it names. All executions of one version of a flow share it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._core.definition import OperatorKind
from .._core.errors import DefinitionError
from .._core.plan import Node, Plan
from ..build.blueprint import Blueprint
from ..build.chunk import Chunk, Handler
from ..build.contract import Check, Contract
from ..build.subflow import SubFlow
from ..serialize.payload import Types
from .data import run_of
from .invoke import condition_invoker, invoker

if TYPE_CHECKING:
    from ..build.cache import Invoker
    from ..build.retry import Retry
    from ..build.typed import StateModel
    from .fallback import Fallback


class Program:
    """A plan, an invoker per operator, retry policies, the contract, typed signals and recordable types."""

    __slots__ = (
        "contract",
        "fallbacks",
        "invokers",
        "name",
        "plan",
        "promised",
        "retried",
        "retries",
        "signal_types",
        "signals",
        "state",
        "sub_flows",
        "types",
    )

    def __init__(
        self,
        plan: Plan,
        blueprint: Blueprint,
        types: Types,
        contract: Contract,
        signals: Mapping[str, Check],
        state: StateModel | None,
        signal_types: Mapping[str, Any],
    ) -> None:
        self.plan = plan
        self.name = blueprint.name
        self.types = types
        self.contract = contract
        self.signals = signals
        #: the types of the signals, as they were declared
        self.signal_types = signal_types
        self.state = state
        #: the events that chunks were declared to emit (`emits=`, `declare_emits`)
        self.promised = frozenset(name for chunk in blueprint.nodes.values() for name in chunk.emits)
        #: the flows that are steps of this one, by name
        self.sub_flows: dict[str, Any] = {
            handler.flow.name: handler.flow for handler in blueprint.handlers.values() if isinstance(handler, SubFlow)
        }
        self.invokers: tuple[Invoker, ...] = tuple(_invoker(node, blueprint) for node in plan.nodes)
        self.fallbacks: tuple[Fallback | None, ...] = tuple(_fallback(node, blueprint) for node in plan.nodes)
        self.retries: tuple[Retry | None, ...] = tuple(_retry(node, blueprint) for node in plan.nodes)
        #: whether any chunk has a retry policy
        self.retried = any(retry is not None for retry in self.retries)


def _invoker(node: Node, blueprint: Blueprint) -> Invoker:
    if node.handler is None:
        compares = "equals" in node.operator.options
        return invoker(Chunk(node.id, _equal_to(node.literal)), blueprint) if compares else _no_handler
    handler = blueprint.handlers.get(node.handler)
    if handler is None:
        raise DefinitionError(
            f"flow {blueprint.name!r}: no handler named {node.handler!r} is registered for {node.id!r}"
        )
    if node.kind is OperatorKind.MATCH_CASE:
        return condition_invoker(handler)
    if isinstance(handler, SubFlow):
        return _sub_flow_invoker(handler)
    call = invoker(blueprint.nodes[node.trigger.name], blueprint)
    if not node.fallback:
        return call
    from .fallback import unless_expired  # few chunks have one

    return unless_expired(call)


def _fallback(node: Node, blueprint: Blueprint) -> Fallback | None:
    if not node.fallback:
        return None
    from .fallback import fallback_of

    return fallback_of(node, blueprint)


def _sub_flow_invoker(handler: SubFlow) -> Invoker:
    from .subflow import run_sub_flow  # imported late, so that flows without sub-flows load faster

    async def call(data: Any) -> Any:
        return await run_sub_flow(handler, *run_of(data), data)

    return call


def _retry(node: Node, blueprint: Blueprint) -> Retry | None:
    chunk = blueprint.nodes.get(node.trigger.name)
    return None if chunk is None else chunk.retry


def _equal_to(literal: Any) -> Handler:
    """Return a handler that compares with a literal. It is sync and runs in a thread, because the `==` of a user's
    class may be slow. If `==` raises, the values count as not equal."""

    def equal(data: Any) -> bool:
        try:
            return bool(literal == data.value)
        except BaseException:  # user code may raise anything, such as the `==` of an array
            return False

    return equal


async def _no_handler(data: Any) -> Any:
    raise NotImplementedError(f"operator {data.chunk_name!r} has no handler to run")
