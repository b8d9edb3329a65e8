"""Anthropic's native stream. Needs the extra `anthropic`; the SDK is imported when the first provider is made."""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal

from msgspec.structs import replace

from .errors import InvalidResponseError, MissingExtraError, shortened
from .request import Request
from .shapes import Delta, ToolCallDelta
from .sources import Clients, Relayed, Source, read_deltas

_TOOL = "answer"


class AnthropicProvider:
    """A model behind the messages API.

    `structured`: how the description of the answer is sent. "tool" makes the model call a tool whose input has the
    described schema, and that input is the text of the answer; so is text that a compatible server sends in its place.
    "prompt" asks for JSON in words.
    `client`: your own `AsyncAnthropic`; it is used on every loop, and not closed.
    `max_tokens` is required by the API. Other options are added to every request.

    Raises `MissingExtraError` if the SDK is not installed. The SDK's own retries are off: the response retries.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        structured: Literal["tool", "prompt"] = "tool",
        max_tokens: int = 4096,
        client: Any = None,
        **options: Any,
    ) -> None:
        try:
            from anthropic import AsyncAnthropic
        except ImportError:
            raise MissingExtraError(
                "AnthropicProvider needs the Anthropic SDK: pip install 'triggerflow-engine[anthropic]'"
            ) from None
        self._structured = structured
        self._options: Mapping[str, Any] = {"model": model, "max_tokens": max_tokens, **options}
        self._client = None if client is None else client.with_options(max_retries=0)
        self._clients = Clients(lambda: AsyncAnthropic(base_url=base_url, api_key=api_key, max_retries=0))

    @property
    def constrained(self) -> bool:
        """False: a tool's input usually fits its schema, but the server does not guarantee it."""
        return False

    async def open(self, request: Request) -> Source:
        """Send the request; return the SDK's stream of events, or with "tool" the tool's input as text deltas."""
        client = self._client or self._clients.current()
        as_tool = request.described is not None and self._structured == "tool"
        messages = request.to_messages(ask_for_json=not as_tool)
        options = dict(self._options)
        if request.system_prompt is not None:
            options["system"] = messages.pop(0)["content"]
        if request.described is not None and as_tool:
            tool = {"name": _TOOL, "description": "Give the answer.", "input_schema": request.described.object_schema}
            options.update(tools=[tool], tool_choice={"type": "tool", "name": _TOOL})
        stream = await client.messages.create(messages=messages, stream=True, **options)
        return Relayed(lambda alive: _answers(read_deltas(stream, None, alive))) if as_tool else stream

    async def aclose(self) -> None:
        """Close the connections that were opened on the running loop."""
        await self._clients.aclose()


async def _answers(deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """Yield the input of the tool as text deltas."""
    answer = _ToolAnswer()
    async with aclosing(deltas):
        async for delta in deltas:
            yield answer.read(delta)


class _ToolAnswer:
    """Turns the deltas of a message with the tool's call into those of an answer in text. Other calls stay as they are.

    Compatible servers may answer in text instead. Text that begins as JSON is passed on as it comes. Other text is held
    back until the tool is called, and is reasoning then, or until the message ends, and is the answer then.
    """

    def __init__(self) -> None:
        self._answers: dict[int | None, str] = {}
        """The answers by the index of their calls; None is the one in text. The first one is passed on."""
        self._held = ""
        self._others: set[int] = set()
        """The calls of other tools."""

    def read(self, delta: Delta) -> Delta:
        """The delta as one of an answer. Raises `InvalidResponseError` at the end of two answers that differ."""
        text, reasoning = self._text(delta.text), delta.reasoning
        calls: list[ToolCallDelta] = []
        for call in delta.tool_calls:
            if call.name not in (None, "", _TOOL):
                self._others.add(call.index)
            if call.index in self._others:
                calls.append(call)
            else:
                reasoning, self._held = self._held + reasoning, ""
                text += self._add(call.index, call.arguments)
        reason = delta.finish_reason
        if reason is not None:
            text += self._end(reason)
            reason = "stop" if reason == "tool_calls" and self._answers else reason
        return replace(delta, text=text, reasoning=reasoning, tool_calls=tuple(calls), finish_reason=reason)

    def _text(self, text: str) -> str:
        if self._answers:
            return self._add(None, text) if None in self._answers else ""
        self._held += text
        if not self._held.lstrip().startswith(("{", "[", "```")):
            return ""
        text, self._held = self._held, ""
        return self._add(None, text)

    def _add(self, index: int | None, text: str) -> str:
        """Add to an answer; return what of it is passed on."""
        self._answers[index] = self._answers.get(index, "") + text
        return text if index == next(iter(self._answers)) else ""

    def _end(self, reason: str) -> str:
        """The rest of the answer."""
        if not self._answers or reason not in ("stop", "tool_calls"):
            text, self._held = self._held, ""
            return text
        first, *more = (_value(text) for text in self._answers.values())
        if any(value != first for value in more):
            texts = [*self._answers.values()]
            raise InvalidResponseError(
                f"the model gave {len(texts)} answers that differ; the first is {shortened(texts[0])!r}, the last"
                f" {shortened(texts[-1])!r}",
                text=texts[0],
                data=None,
            )
        return "" if next(iter(self._answers.values())) else self._add(next(iter(self._answers)), "{}")


def _value(text: str) -> Any:
    """The JSON in a text, with a code fence around it or without; the text itself if it is none."""
    found = re.fullmatch(r"\s*(?:```\w*)?(.*?)(?:```)?\s*", text, re.DOTALL)
    try:
        return json.loads(found[1]) if found else text
    except ValueError:
        return text
