"""`Moment`: the fold of frames. Pages and terminals fold frames in the same way."""

from typing import Any

from .._core.state import StatusName
from .shapes import Failed, Frame, QuestionChange, RunChange


class Moment:
    """An execution at one moment, made by taking its frames in order, from the first on.

    `runs` and `questions` hold the open ones, by number and id, each as the last frame with it shows it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.status: StatusName = "created"
        self.definition = ""
        self.state: dict[str, Any] = {}
        self.runs: dict[int, RunChange] = {}
        self.questions: dict[str, QuestionChange] = {}
        self.items = 0
        self.has_result = False
        self.result: Any = None
        self.error: Failed | None = None

    def take(self, frame: Frame) -> None:
        """Advance to the moment after this frame."""
        self.number, self.status = frame.number, frame.status
        self.definition = frame.definition or self.definition
        if frame.state is not None:
            self._restart(frame)
            return
        record = frame.record
        if frame.kind == "state":
            self._change(str(record["key"]), record["op"], record.get("value"))
        for run in frame.runs:
            if run.phase == "ended":
                self.runs.pop(run.run, None)
            else:
                self.runs[run.run] = run
        for question in frame.questions:
            if question.open:
                self.questions[question.id] = question
            else:
                self.questions.pop(question.id, None)
        self.items = frame.item or self.items
        self.has_result, self.result, self.error = frame.has_result, frame.result, frame.error

    def _change(self, key: str, op: str, value: Any) -> None:
        if op == "set":
            self.state[key] = value
        elif op == "append":
            self.state[key] = [*self.state.get(key, ()), value]
        else:
            self.state.pop(key, None)

    def _restart(self, frame: Frame) -> None:
        assert frame.state is not None
        whole = frame.state
        self.state = dict(whole.state)
        self.runs = {
            it.run: RunChange(
                run=it.run,
                phase=it.phase,
                operator=it.operator,
                chunk=it.chunk,
                attempt=it.attempt,
                losses=it.losses,
                cause=it.cause,
                sub_flow=it.sub_flow,
            )
            for it in whole.runs
        }
        self.questions = {it.id: QuestionChange(id=it.id, open=True, inside=it.inside) for it in whole.questions}
        self.items, self.has_result, self.result, self.error = whole.items, whole.has_result, whole.result, whole.error
