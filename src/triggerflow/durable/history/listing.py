"""Finds the open questions of an execution in its state, where they are not listed in the store."""

from ..._core.definition import OperatorKind
from ...run.subflow import path_of
from ...stores.protocol import FINAL_STATUSES, Append, ExecutionCopy, ExecutionRow
from ..format.metadata import with_listed_questions
from ..format.questions import QuestionData, asked_here, question, write_question
from ..format.reader import ExecutionReader


async def questions_of(
    reader: ExecutionReader, row: ExecutionRow, path: str = ""
) -> list[tuple[ExecutionRow, dict[str, QuestionData]]]:
    """The open questions of an execution and of its sub-flows, by id, with the row of the execution that asks.

    `path` leads from the outermost execution to this one. Raises `StoreError`, and `SnapshotError` for an execution
    that cannot be read."""
    state = (await reader.restore(row, row.records)).machine.state
    asked = {id: question(reader.program, it, path) for id, it in asked_here(state).items()}
    found = [(row, asked)]
    for run in state.runs.values():
        if run.node.kind is not OperatorKind.SUB_FLOW:
            continue
        child = await reader.newest_child(row, run)
        child_reader = None if child is None else reader.child(child.flow)
        if child is not None and child_reader is not None and child.status not in FINAL_STATUSES:
            step = path_of(run)
            found += await questions_of(child_reader, child, f"{path}/{step}" if path else step)
    return found


async def put_copies(reader: ExecutionReader, copies: list[ExecutionCopy]) -> None:
    """Add whole executions to the store, the outermost first, and list their open questions.

    If the process ends in between, the questions are listed when the execution is used."""
    store = reader.store
    await store.put_copies([with_listed_questions(copy) for copy in copies])
    row = await store.find(copies[0].row.id)
    if row is None or row.status in FINAL_STATUSES:
        return
    appends = [
        Append(
            execution=asks.id,
            first=asks.records,
            records=[],
            status=asks.status,
            due=asks.due,
            at=asks.updated,
            questions={id: write_question(it) for id, it in asked.items()},
        )
        for asks, asked in await questions_of(reader, row)
        if asked
    ]
    if appends:
        await store.append(appends)
