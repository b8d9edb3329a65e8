"""The first append of an execution that this process does not run: the workers do.

It creates the execution with the records of its start, and releases it in the same transaction. So it is in the store
as a whole, and has work to do, or it is not there at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .._core import events
from .._core.machine import Machine
from ..run.flow_runtime import FlowRuntime
from ..run.options import Options
from ..run.program import Program
from ..stores.protocol import Append, NewRecord, Store
from .codec import encode
from .commit import session_of
from .commit_buffer import status_and_due
from .metadata import first_row


async def submission_of(
    flow: FlowRuntime, store: Store, id: str, value: Any, now: float, labels: Mapping[str, str] | None = None
) -> Append:
    """The append that starts an execution of a flow with its own options; stores the definition before.

    Raises what `submission` raises, and `StoreError`.
    """
    program, session = flow.program(), session_of(store)
    session.add_definition(program)
    await session.write_definitions()
    options = Options(skip_exceptions=flow.skip_exceptions, execution_timeout=flow.execution_timeout)
    return submission(program, options, id, value, now, labels=labels)


def submission(
    program: Program,
    options: Options,
    id: str,
    value: Any,
    now: float,
    *,
    labels: Mapping[str, str] | None = None,
    delay: float | None = None,
) -> Append:
    """The append that creates and starts an execution with this id, and leaves it to the workers.

    The store must have the definition of the program before. Raises `ContractError` if the value does not have the
    declared type, and `PayloadError` if it cannot be recorded.
    """
    contract = program.contract.initial_input
    started = value if contract is None else contract(value)
    machine, payloads = Machine(program.plan), dict[str, bytes]()
    records: list[NewRecord] = []
    for event in _first_records(program, options, started, now, delay):
        records.append(NewRecord(encode(event, program.types, machine.state, payloads)))
        machine.receive(event)
    status, due = status_and_due(machine)
    row = first_row(id, program, options, None, now)
    return Append(
        execution=id,
        first=0,
        records=records,
        payloads=payloads,
        status=status,
        due=due,
        at=now,
        create=msgspec.structs.replace(row, labels=dict(labels or {})),
        releases=True,
    )


def _first_records(
    program: Program, options: Options, value: Any, now: float, delay: float | None
) -> Iterator[events.Event]:
    recorded = (*options.recorded(), program.contract.result is not None, options.execution_timeout)
    if program.state is not None:
        yield events.Created(now, *recorded)
        for key, default in program.state.initial().items():
            yield events.StateChanged(now, None, "set", key, default, emit=False)
    yield events.Started(now, value, *recorded, delay=delay, submitted=True)
