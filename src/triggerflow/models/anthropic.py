"""Anthropic's native stream. Needs the extra `anthropic`; the SDK is imported when the first provider is made."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal

from msgspec.structs import replace

from .clients import Clients
from .deltas import Source, read_deltas
from .errors import MissingExtraError
from .request import Request
from .shapes import Delta

_TOOL = "answer"


class AnthropicProvider:
    """A model behind the messages API.

    `structured`: how the description of the answer is sent. "tool" makes the model call a tool whose input has the
    described schema, and that input is the text of the answer; "prompt" asks for JSON in words.
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
        return _answers(stream) if as_tool else stream

    async def aclose(self) -> None:
        """Close the connections that were opened on the running loop."""
        await self._clients.aclose()


async def _answers(stream: Any) -> AsyncGenerator[Delta, None]:
    """Yield the input of the tool as text deltas: it is the only tool that the model may call, and its input is the
    answer. A model that answers in text instead has its text read. Beside an input, a text is no part of the answer."""
    calls: set[int] = set()
    async with aclosing(read_deltas(stream)) as deltas:
        async for delta in deltas:
            calls.update(call.index for call in delta.tool_calls)
            text = "".join(call.arguments for call in delta.tool_calls if call.index == 0) or (
                "" if calls else delta.text
            )
            reason = "stop" if delta.finish_reason == "tool_calls" else delta.finish_reason
            yield replace(delta, text=text, tool_calls=(), finish_reason=reason)
