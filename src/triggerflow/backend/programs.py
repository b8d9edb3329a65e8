"""The programs to read executions with. Without the code of a flow, its definition is read from the store."""

from copy import copy

from .._core.definition import Definition
from .._core.operators import compile_plan
from .._core.plan import Plan
from ..build.contract import Contract
from ..durable.format.metadata import read_definition
from ..durable.format.reader import ExecutionReader, Start
from ..run.flow_runtime import FlowRuntime
from ..run.program import Program
from ..serialize.payload import Types
from ..stores.protocol import ExecutionRow, Store

#: How many plans of stored definitions are kept.
KEPT = 256


class StoredProgram(Program):
    """A program that can read executions but not run them. Only its name is known."""

    __slots__ = ()

    def __init__(self, name: str, types: Types) -> None:
        self.plan, self.name, self.types = compile_plan(Definition(name, ())), name, types
        self.contract = Contract()
        self.signals, self.signal_types, self.state = {}, {}, None
        self.promised, self.sub_flows = frozenset[str](), {}
        self.invokers = self.fallbacks = self.retries = ()
        self.retried = False


class Programs:
    """The programs to read the executions of a store with, whether this process has the code of their flow or not.

    Values of classes that are not registered here are marked (`serialize.marked`)."""

    def __init__(self, store: Store, flows: dict[str, FlowRuntime]) -> None:
        self.store = store
        #: the flows whose code is here, sub-flows included, by name
        self.flows = flows
        self._types = Types().reading()
        #: the types of each flow with code, for reading: readers with the same types share what they read
        self._types_of: dict[str, Types] = {}
        self._plans: dict[str, Plan] = {}

    def reader(self, flow: str) -> "LenientReader":
        """A reader for the executions of a flow."""
        known = self.flows.get(flow)
        if known is None:
            return LenientReader(self, StoredProgram(flow, self._types))
        program = copy(known.program())
        program.types = self._types_of.setdefault(flow, known.types.reading())
        return LenientReader(self, program)

    async def plan(self, fingerprint: str) -> Plan:
        """The plan of a definition in the store. Raises `StoreDamaged` if it is missing or cannot be read."""
        plan = self._plans.pop(fingerprint, None)
        if plan is None:
            data = await self.store.definition(fingerprint)
            plan = compile_plan(read_definition(data, fingerprint, self._types))
        self._plans[fingerprint] = plan
        while len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        return plan


class LenientReader(ExecutionReader):
    """Reads executions without needing the code of their flow or the classes of their values."""

    def __init__(self, programs: Programs, program: Program) -> None:
        known = programs.flows.get(program.name)
        super().__init__(program, programs.store, *(() if known is None else (known.environment.now,)))
        self._programs = programs

    def child(self, flow: str) -> ExecutionReader:
        """The reader for the executions of a sub-flow."""
        return self._programs.reader(flow)

    async def _plan(self, row: ExecutionRow, start: Start) -> Plan:
        if isinstance(self.program, StoredProgram):
            return await self._programs.plan(start.definition)
        return await super()._plan(row, start)
