"""A definition joined with the Python it names: what all executions of one version of a flow share."""

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


class Program:
    """A plan, an invoker per operator, retry policies, and what is checked: contract, typed signals, recordable
    types."""

    __slots__ = (
        "contract",
        "invokers",
        "name",
        "plan",
        "promised",
        "retried",
        "retries",
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
    ) -> None:
        self.plan = plan
        self.name = blueprint.name
        self.types = types
        self.contract = contract
        self.signals = signals
        self.state = state
        #: the events that chunks were declared to emit (`emits=`, `declare_emits`)
        self.promised = frozenset(name for chunk in blueprint.nodes.values() for name in chunk.emits)
        #: the flows that are steps of this one, by name
        self.sub_flows: dict[str, Any] = {
            handler.flow.name: handler.flow for handler in blueprint.handlers.values() if isinstance(handler, SubFlow)
        }
        self.invokers: tuple[Invoker, ...] = tuple(_invoker(node, blueprint) for node in plan.nodes)
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
    return invoker(blueprint.nodes[node.trigger.name], blueprint)


def _sub_flow_invoker(handler: SubFlow) -> Invoker:
    from .subflow import run_sub_flow  # imported for a flow with such a step, to keep the import of the package fast

    async def call(data: Any) -> Any:
        return await run_sub_flow(handler, *run_of(data), data)

    return call


def _retry(node: Node, blueprint: Blueprint) -> Retry | None:
    chunk = blueprint.nodes.get(node.trigger.name)
    return None if chunk is None else chunk.retry


def _equal_to(literal: Any) -> Handler:
    """A sync handler, which runs in a thread: the `==` of a value is the user's code, and may take its time. What it
    raises counts as not equal."""

    def equal(data: Any) -> bool:
        try:
            return bool(literal == data.value)
        except BaseException:  # an array's may refuse; and nobody interrupts this thread, so that anything is its own
            return False

    return equal


async def _no_handler(data: Any) -> Any:
    raise NotImplementedError(f"{data!r} has no handler")
