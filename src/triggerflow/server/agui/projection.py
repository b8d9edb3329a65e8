"""The events of one AG-UI run, made of the frames of an execution.

A run is a part of an execution: from its start, or from the moment at which an earlier run has asked, up to its end or
the next question. The same frames give the same events with the same ids, so that a run can be streamed again. Each
event that opens something is followed by one that closes it, however the run ends.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from ...backend import Frame, QuestionInfo, StateInfo
from ...backend.shapes import Failed, RunChange, RunInfo
from ...wire import Problem
from ...wire.agui import PROTOCOL_VERSION, AgentInput
from .items import (
    AnswerEnded,
    AnswerReset,
    CallPiece,
    Calls,
    Message,
    Other,
    Raw,
    Text,
    Thought,
    ToolResult,
    Usage,
    as_list,
    as_object,
    read_item,
)
from .patches import changes, is_taken, pointer

#: What is ours in the metadata of an event, and in the names of custom events.
OWN = "triggerflow"
#: The largest event. The reference client fails at 10 Mi characters.
MAX_EVENT = 8 * 1024 * 1024
#: A text is sent in pieces of so many characters, and small pieces that wait are joined up to it.
PIECE = 64 * 1024
#: Fields of an item beside its text are told with the message up to so many bytes.
MAX_ABOUT = 4096
#: How many messages and calls of an answer can be taken back.
MAX_TAKEN_BACK = 1000
#: For an execution that has ended.
FINAL = ("completed", "failed", "cancelled")
#: The fields of a usage, and the key of it in the meta data of a response.
_COUNTS = {
    "inputTokens": "prompt_tokens",
    "outputTokens": "completion_tokens",
    "reasoningTokens": "reasoning_tokens",
    "cachedInputTokens": "cached_tokens",
}
#: Items of the engine that the protocol says in another way.
_ASKING = ("pause", "resume")

Event = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """What an interrupt is: a question of an execution, and the moment up to which the client has been told."""

    execution: str
    moment: int
    question: str

    @property
    def id(self) -> str:
        """The id of the interrupt."""
        return f"{self.execution}:{self.moment}:{self.question}"

    @classmethod
    def read(cls, id: str) -> "Asked | None":
        """The interrupt of an id; None if it is none of ours."""
        found = _INTERRUPT.fullmatch(id)
        return None if found is None else cls(found[1], int(found[2]), found[3])


_INTERRUPT = re.compile(r"([^:]+):([0-9]{1,15}):(.+)", re.DOTALL | re.ASCII)


class _Run:
    """An open run of a chunk or a sub-flow. `shown` is the name of its step, or the id of its subagent."""

    def __init__(self, change: RunChange | RunInfo) -> None:
        self.chunk = change.chunk
        self.sub_flow = change.sub_flow or ""
        self.shown = ""


class _Call:
    """An open tool call. It is told once its name is known."""

    def __init__(self) -> None:
        self.given = ""
        self.name = ""
        self.id = ""
        self.waiting = ""
        self.has_arguments = False


class _Speaker:
    """A run, or a sub-flow, and what of its answer is open."""

    def __init__(self, owner: str, chunk: str) -> None:
        self.owner = owner
        self.chunk = chunk
        #: the ids of the text and of the reasoning that are open
        self.text = ""
        self.thought = ""
        self.about = b""
        self.calls: dict[int | str, _Call] = {}
        #: the message that holds the tool calls of the answer
        self.parent = ""
        self.begin_answer()

    def begin_answer(self) -> None:
        """What comes belongs to another answer."""
        self.parent = ""
        #: what there was of the answer: a digest of its text, and the newest of its messages and calls
        self.said, self.has_said, self.has_thought = blake2b(), False, False
        self.messages: deque[str] = deque(maxlen=MAX_TAKEN_BACK)
        self.called: deque[str] = deque(maxlen=MAX_TAKEN_BACK)

    def has_told(self, text: str) -> bool:
        """Whether the answer so far is this text."""
        return self.has_said and self.said.digest() == blake2b(text.encode()).digest()


class Projection:
    """Takes the frames of an execution after a moment, and makes the events of an AG-UI run."""

    def __init__(self, execution: str, flow: str, given: AgentInput, at: StateInfo | None = None) -> None:
        self.execution = execution
        self._flow = flow
        self._given = given
        self._at = at
        #: how far the execution is known: the number of the last frame, the status, and the open questions with whether
        #: they are of a sub-flow
        self.number = 0 if at is None else at.moment
        self.status = "created" if at is None else at.status
        self.questions: dict[str, bool] = {} if at is None else {it.id: it.inside for it in at.questions}
        self._begun = self._over = False
        self._out: list[Event] = []
        self._time: int | None = None
        self._runs: dict[int, _Run] = {}
        self._steps: set[str] = set()
        self._subs: dict[str, str] = {}
        self._used_subs: set[str] = set()
        self._speakers: dict[int | str, _Speaker] = {}
        self._calls: dict[str, str] = {}
        self._used_calls: set[str] = set()
        self._pending: dict[str, None] = {}
        self._usage: dict[str | None, dict[str, int]] = {}
        self._has_spoken = False
        #: the state of the execution, and what the client had before under other keys
        self._state: dict[str, Any] = {} if at is None else dict(at.state)
        self._base: dict[str, Any] = dict(as_object(given.state))
        self._is_synced, self._too_large = False, False
        self._result: Any = None
        self._error: Failed | None = None
        self._reason = ""

    # -- the run -----------------------------------------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the execution has ended."""
        return self.status in FINAL

    @property
    def is_asking(self) -> bool:
        """Whether a question is open, and nothing of the execution runs but perhaps in sub-flows."""
        waiting = self.status == "waiting" or all(run.sub_flow for run in self._runs.values())
        return bool(self.questions) and waiting and not self.has_ended

    def begin(self) -> None:
        """The first events."""
        given = self._given
        self._begun = True
        self._event(
            "RUN_STARTED",
            threadId=given.thread_id,
            runId=given.run_id,
            protocolVersion=PROTOCOL_VERSION,
            parentRunId=given.parent_run_id,
            metadata={OWN: {"execution": self.execution, "flow": self._flow}},
        )
        self._take_back_messages()
        if self._at is not None:
            if self._at.state:
                self._send_state()
            for run in self._at.runs:
                self._run(run)

    def _take_back_messages(self) -> None:
        """If the client has messages of this run, it has seen a part of it before: it gets them anew."""
        first, kept, is_own = self.number, list[Any](), False
        for message in self._given.messages:
            id = message.get("id")
            number = self._number_of(id) if isinstance(id, str) else 0
            if number > first:
                is_own = True
                if message.get("role") != "reasoning":  # clients keep those whatever a snapshot says
                    continue
                message = {"id": id, "role": "reasoning", "content": ""}
            else:
                calls: Any = message.get("toolCalls")
                for call in as_list(calls):
                    id = as_object(call).get("id")
                    if isinstance(id, str):
                        self._used_calls.add(id)
            kept.append(message)
        if is_own:
            self._event("MESSAGES_SNAPSHOT", messages=kept)

    def _number_of(self, id: str) -> int:
        """The number of the frame in the id of a message of this execution; 0 for another message."""
        rest = id.removeprefix(f"{self.execution}-")
        digits = rest.removesuffix(_THOUGHT) if rest != id else ""
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0

    def finish(self) -> None:
        """The last events of a run whose execution has ended."""
        result = self._result
        if self.status == "completed" and isinstance(result, str) and result and not self._has_spoken:
            self._whole_text(self._speaker(None, ""), result)
        self._close_all()
        own: dict[str, Any] = {}
        if self.status == "failed":
            error = self._error or Failed(type="", message="the execution failed")
            own = {"type": error.type, **({"chunk": error.chunk} if error.chunk else {})}
            self._fail(error.message or error.type or "the execution failed", "failed", own)
            return
        outcome: dict[str, Any] = {"type": "cancelled"}
        if self.status == "completed":
            outcome = {"type": "success"}
            if self._pending:
                outcome["pendingToolCallIds"] = list(self._pending)
        elif self._reason:
            own["reason"] = self._reason
        self._finished(outcome, result if self.status == "completed" else None, own)

    def interrupt(self, questions: Iterable[QuestionInfo]) -> None:
        """The last events of a run that waits for answers."""
        found: list[Event] = []
        asked_by: dict[str, list[str]] = {}
        for question in questions:
            interrupt = self._interrupt(question)
            found.append(interrupt)
            asked_by.setdefault(interrupt.get("subagentRunId", ""), []).append(interrupt["id"])
        self._close_all(asked_by)
        self._finished({"type": "interrupt", "interrupts": found}, None, {})

    def _interrupt(self, question: QuestionInfo) -> Event:
        payload, told = question.payload, as_object(question.payload)
        message: Any = payload if isinstance(payload, str) else None
        for key in ("message", "question", "prompt", "text"):
            if message is None and isinstance(told.get(key), str):
                message = told[key]
        call: Any = told.get("tool_call_id")
        call = self._calls.get(call, call) if isinstance(call, str) else None
        schema = question.schema
        expires = None
        if question.expires is not None:
            expires = datetime.fromtimestamp(question.expires, UTC).isoformat(timespec="milliseconds")
        reason = "confirmation" if schema.get("type") == "boolean" else "input_required"
        own: dict[str, Any] = {
            "execution": question.execution,
            "question": question.id,
            "type": question.type,
            "chunk": question.chunk,
            "since": question.since,
            **({} if question.cut else {"payload": payload}),
        }
        found: dict[str, Any] = {
            "id": Asked(self.execution, self.number, question.id).id,
            "reason": "tool_call" if call else reason,
            "message": message,
            "toolCallId": call,
            "responseSchema": schema or None,
            "expiresAt": expires,
            "subagentRunId": self._owner_of(question.asked_by) or None,
            "metadata": {OWN: own},
        }
        return {key: value for key, value in found.items() if value is not None}

    def fail(self, problem: Problem) -> None:
        """The last events of a run that cannot be told to its end: the execution may go on."""
        if self._over:
            return
        if self._begun:
            self._close_all({})
        self._fail(problem.detail or problem.title, problem.code, {"again": problem.again, "goes_on": True})

    def _fail(self, message: str, code: str, own: dict[str, Any]) -> None:
        self._over = True
        self._event("RUN_ERROR", message=message, code=code, usage=self._usages() or None, metadata={OWN: own})

    def _finished(self, outcome: dict[str, Any], result: Any, own: dict[str, Any]) -> None:
        self._over = True
        self._event(
            "RUN_FINISHED",
            threadId=self._given.thread_id,
            runId=self._given.run_id,
            result=result,
            outcome=outcome,
            usage=self._usages() or None,
            metadata={OWN: own} if own else None,
        )

    def _usages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for model, counts in self._usage.items():
            entry: dict[str, Any] = {} if model is None else {"model": model}
            entry |= {name: counts[key] for name, key in _COUNTS.items() if key in counts}
            if "inputTokens" in entry and "outputTokens" in entry:
                entry["totalTokens"] = entry["inputTokens"] + entry["outputTokens"]
            found.append(entry)
        return found

    # -- frames ------------------------------------------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """Go on to the moment after this frame."""
        self._time = int(frame.at * 1000)
        self.number, self.status = frame.number, frame.status
        if frame.state is not None:
            self._restart(frame.state)
            return
        for question in frame.questions:
            if question.open:
                self.questions[question.id] = question.inside
            else:
                self.questions.pop(question.id, None)
        record = frame.record
        if frame.kind == "stream":
            run = record.get("run")
            self._item(self._speaker(run, record.get("path", "")), record["item"])
        elif frame.kind == "state":
            self._change(str(record["key"]), record["op"], record.get("value"))
        elif frame.kind == "cancel_requested":
            self._reason = record.get("reason", "")
        for change in frame.runs:
            if change.phase == "ended":
                self._end_run(change.run, frame)
        for change in frame.runs:
            if change.phase != "ended":
                self._run(change)
        if frame.kind == "failed" and record.get("run") in self._runs:  # another attempt comes
            self._close_speaker(record["run"], {"failed": _message(record.get("error"))})
        if self.has_ended:
            self._result, self._error = frame.result if frame.has_result else None, frame.error

    def _restart(self, whole: StateInfo) -> None:
        """The records up to here are gone: go on from the whole state."""
        self._close_all({})
        self._runs.clear()
        self.questions = {it.id: it.inside for it in whole.questions}
        self._state, self._is_synced = dict(whole.state), False
        if self._state:
            self._send_state()
        for run in whole.runs:
            self._run(run)
        self._result, self._error, self._reason = whole.result, whole.error, whole.reason

    def _run(self, change: RunChange | RunInfo) -> None:
        run = self._runs.get(change.run)
        if run is None:
            run = self._runs[change.run] = _Run(change)
        if run.shown or change.phase == "ready":
            return
        own = {OWN: {"run": change.run, "operator": change.operator}}
        if run.sub_flow:
            run.shown = _unused(run.sub_flow, self._used_subs)
            self._used_subs.add(run.shown)
            self._subs[run.sub_flow] = run.shown
            self._event("SUBAGENT_STARTED", subagentRunId=run.shown, name=run.chunk, metadata=own)
        else:
            run.shown = _unused(run.chunk or change.operator, self._steps)
            self._steps.add(run.shown)
            self._event("STEP_STARTED", stepName=run.shown, metadata=own)

    def _end_run(self, number: int, frame: Frame) -> None:
        run = self._runs.pop(number, None)
        self._close_speaker(number)
        if run is None or not run.shown:
            return
        is_own = frame.record.get("run") == number
        error = frame.record.get("error") if is_own and frame.kind == "failed" else None
        if run.sub_flow:
            self._close_sub(run)
            if is_own and frame.kind in ("completed", "paused"):
                self._event("SUBAGENT_FINISHED", subagentRunId=run.shown)
            else:
                found, code = (_message(error), "failed") if error else ("it was cancelled", "cancelled")
                self._event("SUBAGENT_ERROR", subagentRunId=run.shown, message=found, code=code)
        else:
            self._steps.discard(run.shown)
            own: dict[str, Any] = {"run": number, **({"failed": _message(error)} if error else {})}
            self._event("STEP_FINISHED", stepName=run.shown, metadata={OWN: own})

    def _close_sub(self, run: _Run) -> None:
        """Close what a sub-flow was saying."""
        if self._subs.get(run.sub_flow) == run.shown:
            del self._subs[run.sub_flow]
        for key in [key for key, speaker in self._speakers.items() if speaker.owner == run.shown]:
            self._close_speaker(key)

    def _close_all(self, asked_by: Mapping[str, list[str]] | None = None) -> None:
        """Close all that is open. With `asked_by` the sub-flows go on later: the interrupts of each of them."""
        for key in list(self._speakers):
            self._close_speaker(key)
        for run in self._runs.values():
            if not run.shown:
                continue
            if run.sub_flow:
                outcome: dict[str, Any] | None = None
                if asked_by is not None:
                    outcome = {"type": "suspended"}
                    if run.shown in asked_by:
                        outcome["interruptIds"] = asked_by[run.shown]
                self._event("SUBAGENT_FINISHED", subagentRunId=run.shown, outcome=outcome)
            else:
                self._event("STEP_FINISHED", stepName=run.shown)
            run.shown = ""
        self._steps.clear()
        self._subs.clear()

    # -- state -------------------------------------------------------------------------------------------------------

    def _change(self, key: str, op: str, value: Any) -> None:
        """A key of the state was changed. The client's own keys stay beside it: they are what the run began with."""
        place, missing = pointer(key), object()
        old = self._state.get(key, self._base.get(key, missing))
        patch: list[Any]
        if op == "append" and isinstance(self._state.get(key), list):
            self._state[key].append(value)
            patch = [{"op": "add", "path": f"{place}/-", "value": value}]
        elif op == "delete":
            self._state.pop(key, None)
            patch = [] if old is missing else [{"op": "remove", "path": place}]
        else:
            new = self._state[key] = [value] if op == "append" else value
            patch = [{"op": "add", "path": place, "value": new}] if old is missing else changes(place, old, new)
        self._base.pop(key, None)
        if not self._is_synced or not all(is_taken(it["path"]) for it in patch):
            self._send_state()
        elif patch and not self._too_large:
            self._event("STATE_DELTA", delta=msgspec.Raw(_encode(patch)))  # now: lists of the state grow in place

    def _send_state(self) -> None:
        self._is_synced = True
        if not self._too_large:
            self._event("STATE_SNAPSHOT", snapshot=msgspec.Raw(_encode({**self._base, **self._state})))

    # -- items -------------------------------------------------------------------------------------------------------

    def _speaker(self, run: int | None, path: str) -> _Speaker:
        key: int | str = path if path or run is None else run
        speaker = self._speakers.get(key)
        if speaker is None:
            owner = self._owner_of(f"{self.execution}/{path}") if path else ""
            known = None if run is None else self._runs.get(run)
            speaker = self._speakers[key] = _Speaker(owner, "" if known is None else known.chunk)
        return speaker

    def _owner_of(self, id: str) -> str:
        """The subagent to which the execution of a sub-flow belongs, "" if there is none."""
        for prefix, shown in self._subs.items():
            if id == prefix or id.startswith((f"{prefix}/", f"{prefix}.")):
                return shown
        return ""

    def _close_speaker(self, key: int | str, own: dict[str, Any] | None = None) -> None:
        speaker = self._speakers.pop(key, None)
        if speaker is not None:
            self._close(speaker, own)

    def _close(self, speaker: _Speaker, own: dict[str, Any] | None = None) -> None:
        self._end_thought(speaker)
        self._end_text(speaker, own)
        self._end_calls(speaker)

    def _item(self, speaker: _Speaker, item: Any) -> None:
        match read_item(item):
            case Text() as text:
                self._text(speaker, text)
            case Thought(delta=delta):
                self._thought(speaker, delta)
            case Calls(pieces=pieces):
                self._call(speaker, pieces)
            case Message(text=text, calls=calls):
                if text and not speaker.has_told(text):  # it may have been streamed before
                    self._whole_text(speaker, text)
                self._call(speaker, [it for it in calls if it.id is None or it.id not in self._calls])
                self._close(speaker)
                speaker.begin_answer()
            case ToolResult(call=call, content=content):
                self._tool_result(speaker, call, content)
            case AnswerEnded(text=text, reasoning=True):
                if text and not speaker.has_thought:
                    self._thought(speaker, text)
                self._end_thought(speaker)
            case AnswerEnded(text=text):
                if text and not speaker.has_said:
                    self._whole_text(speaker, text)
                self._close(speaker)
                speaker.begin_answer()
            case AnswerReset():
                self._take_back(speaker)
            case Usage(model=model, counts=counts):
                known = self._usage.setdefault(model, {})
                for key, count in counts.items():
                    known[key] = known.get(key, 0) + count
            case Raw(chunk=chunk):
                self._event("RAW", event=chunk, subagentRunId=speaker.owner or None)
            case Other(name=name, value=value):
                if name == "interrupt" and value.get("action") in _ASKING:
                    return
                own = {OWN: {"chunk": speaker.chunk}} if speaker.chunk else None
                self._event("CUSTOM", name=name, value=value, subagentRunId=speaker.owner or None, metadata=own)

    def _text(self, speaker: _Speaker, text: Text) -> None:
        about = _encode(text.about) if text.about else b""
        if speaker.text and speaker.about != about:
            self._end_text(speaker)
        if not text.delta:
            return
        if not speaker.text:
            self._end_thought(speaker)
            self._end_calls(speaker)
            own: dict[str, Any] = {"chunk": speaker.chunk} if speaker.chunk else {}
            if text.about and len(about) <= MAX_ABOUT:
                own["item"] = text.about
            speaker.text, speaker.about, speaker.parent = self._message_id(), about, ""
            speaker.messages.append(speaker.text)
            self._event(
                "TEXT_MESSAGE_START",
                messageId=speaker.text,
                role="assistant",
                subagentRunId=speaker.owner or None,
                metadata={OWN: own} if own else None,
            )
            self._has_spoken = True
        speaker.said.update(text.delta.encode())
        speaker.has_said = True
        self._content("TEXT_MESSAGE_CONTENT", "messageId", speaker.text, text.delta)

    def _whole_text(self, speaker: _Speaker, text: str) -> None:
        self._end_text(speaker)
        self._text(speaker, Text(text))
        self._end_text(speaker, parent=True)

    def _end_text(self, speaker: _Speaker, own: dict[str, Any] | None = None, *, parent: bool = False) -> None:
        """Close an open text; as `parent`, it holds the tool calls that follow."""
        if speaker.text:
            if own and speaker.chunk:  # it takes the place of what the first event has told
                own = {"chunk": speaker.chunk, **own}
            self._event("TEXT_MESSAGE_END", messageId=speaker.text, metadata={OWN: own} if own else None)
            speaker.text, speaker.parent = "", speaker.text if parent else ""

    def _thought(self, speaker: _Speaker, delta: str) -> None:
        if not delta:
            return
        if not speaker.thought:
            self._end_text(speaker)
            self._end_calls(speaker)
            speaker.thought, owner = f"{self._message_id()}{_THOUGHT}", speaker.owner or None
            speaker.messages.append(speaker.thought)
            self._event("REASONING_START", messageId=speaker.thought, subagentRunId=owner)
            self._event(
                "REASONING_MESSAGE_START", messageId=speaker.thought, role="reasoning", subagentRunId=owner
            )  # fmt: skip
        speaker.has_thought = True
        self._content("REASONING_MESSAGE_CONTENT", "messageId", speaker.thought, delta)

    def _end_thought(self, speaker: _Speaker) -> None:
        if speaker.thought:
            self._event("REASONING_MESSAGE_END", messageId=speaker.thought)
            self._event("REASONING_END", messageId=speaker.thought)
            speaker.thought = ""

    # -- tool calls --------------------------------------------------------------------------------------------------

    def _call(self, speaker: _Speaker, pieces: Iterable[CallPiece]) -> None:
        for piece in pieces:
            self._end_thought(speaker)
            self._end_text(speaker, parent=True)
            if not speaker.parent:
                speaker.parent = self._message_id()
                speaker.messages.append(speaker.parent)
            key = piece.number if piece.number is not None else piece.id or ""
            if piece.number is None and piece.id is not None and piece.id in self._calls and key not in speaker.calls:
                continue  # a whole call that was streamed before
            call = speaker.calls.get(key)
            if call is not None and piece.id is not None and call.given not in ("", piece.id):
                self._end_call(speaker.calls.pop(key))
                call = None
            if call is None:
                call = speaker.calls[key] = _Call()
            call.given = call.given or piece.id or ""
            if not call.id:
                call.name += piece.name or ""
            call.waiting += piece.arguments
            if call.name and (call.waiting or piece.done):
                self._begin_call(speaker, call)
            if piece.done:
                self._begin_call(speaker, call)
                self._end_call(speaker.calls.pop(key))

    def _begin_call(self, speaker: _Speaker, call: _Call) -> None:
        """Tell of a call whose name is known, and send the arguments that wait."""
        if not call.id:
            wanted = call.given or f"{self._message_id()}-call"
            call.id = _unused(wanted, self._used_calls)
            self._used_calls.add(call.id)
            self._calls[call.given or call.id] = call.id
            self._pending[call.id] = None
            speaker.called.append(call.id)
            self._event(
                "TOOL_CALL_START",
                toolCallId=call.id,
                toolCallName=call.name or "unknown",
                parentMessageId=speaker.parent,
                subagentRunId=speaker.owner or None,
            )
        if call.waiting:
            self._content("TOOL_CALL_ARGS", "toolCallId", call.id, call.waiting)
            call.waiting, call.has_arguments = "", True

    def _end_call(self, call: _Call) -> None:
        if call.id:
            if not call.has_arguments:  # a tool without parameters
                self._content("TOOL_CALL_ARGS", "toolCallId", call.id, "{}")
            self._event("TOOL_CALL_END", toolCallId=call.id)

    def _end_calls(self, speaker: _Speaker) -> None:
        for call in speaker.calls.values():
            if call.name or call.waiting:
                self._begin_call(speaker, call)
            self._end_call(call)
        speaker.calls.clear()

    def _tool_result(self, speaker: _Speaker, given: str, content: str) -> None:
        id = self._calls.get(given, given)
        for known in self._speakers.values():
            for key in [key for key, call in known.calls.items() if call.id == id]:
                self._end_call(known.calls.pop(key))
        self._pending.pop(id, None)
        self._event(
            "TOOL_CALL_RESULT",
            messageId=self._message_id(),
            toolCallId=id,
            content=content,
            role="tool",
            subagentRunId=speaker.owner or None,
        )

    def _take_back(self, speaker: _Speaker) -> None:
        """The answer is void. The protocol has no word for it, so the application is told what to take away."""
        messages, called = list(speaker.messages), list(speaker.called)
        self._close(speaker, {"withdrawn": True})
        speaker.begin_answer()
        if messages or called:
            for id in called:
                self._pending.pop(id, None)
            value = {"messageIds": messages, "toolCallIds": called}
            self._event("CUSTOM", name=f"{OWN}.withdrawn", value=value, subagentRunId=speaker.owner or None)

    def _message_id(self) -> str:
        return f"{self.execution}-{self.number}"

    # -- events ------------------------------------------------------------------------------------------------------

    def _event(self, type: str, **fields: Any) -> None:
        """Add an event, without the fields that are None."""
        event: Event = {"type": type}
        event |= {key: value for key, value in fields.items() if value is not None or (type, key) in _NULLS}
        if self._time is not None:
            event["timestamp"] = self._time
        self._out.append(event)

    def _content(self, type: str, key: str, id: str, delta: str) -> None:
        """Add a piece of a text. Pieces that have not been sent yet are joined."""
        last = self._out[-1] if self._out else None
        if last is not None and last["type"] == type and last[key] == id and len(last["delta"]) + len(delta) <= PIECE:
            last["delta"] += delta
            return
        for begin in range(0, len(delta), PIECE):
            self._event(type, **{key: id, "delta": delta[begin : begin + PIECE]})

    def flush(self) -> bytes:
        """The events that were added since the last time."""
        found, self._out = self._out, []
        return b"".join(b"data: %b\n\n" % self._bytes(event) for event in found)

    def _bytes(self, event: Event) -> bytes:
        data = _encode(event)
        if len(data) <= MAX_EVENT or event["type"] == "MESSAGES_SNAPSHOT":  # which has what the client has sent
            return data
        own = {"type": event["type"], "bytes": len(data)}
        match event["type"]:
            case "TOOL_CALL_RESULT":
                event = {**event, "content": "", "metadata": {OWN: {"left_out": own}}}
            case "RUN_FINISHED":
                event = {**event, "metadata": {OWN: {"left_out": own}}}
                event.pop("result", None)
            case kind:
                self._too_large = self._too_large or kind in ("STATE_SNAPSHOT", "STATE_DELTA")
                event = {"type": "CUSTOM", "name": f"{OWN}.left_out", "value": own}
        return _encode(event)


#: What the id of a reasoning ends with.
_THOUGHT = "-reasoning"
#: Fields in which null is a value.
_NULLS = {("CUSTOM", "value"), ("RAW", "event")}


def _message(error: Any) -> str:
    """The text of a recorded error."""
    found = as_object(error)
    return str(found.get("message") or found.get("type") or "it failed")


def _unused(wanted: str, used: set[str]) -> str:
    number, found = 1, wanted
    while found in used:
        number += 1
        found = f"{wanted} #{number}"
    return found
