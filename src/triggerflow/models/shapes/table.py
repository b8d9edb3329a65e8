"""The table of shapes, and `ChunkReader`, which reads the chunks of one stream with it."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from ..errors import ChunkError, RequestFailedError
from .anthropic import is_message, read_message
from .bedrock import is_converse, read_converse
from .calls import CallNumbers
from .chat import is_chat, is_helper, read_chat, read_helper
from .cohere import is_cohere, read_cohere
from .delta import Delta
from .failures import failure_in, failure_of_no_shape
from .fields import fields_of, get, text_of
from .finish import ending_of, finish_reason
from .gemini import is_gemini, read_gemini
from .langchain import is_langchain, read_langchain
from .ollama import is_ollama, read_ollama
from .responses import is_response, read_response
from .seen import Seen
from .servers import is_llama_cpp, is_tgi, read_llama_cpp, read_tgi

LIFE = {"ping", "pong", "keepalive", "keep-alive", "keep_alive", "heartbeat"}
"""What servers call an event that only says that the connection lives."""


class Shape(NamedTuple):
    """One dialect: how its chunks are recognised, and what reads them."""

    name: str
    spoken_by: str
    """Providers and servers whose chunks have this shape."""
    known_by: str
    """The fields by which a chunk is recognised, for the table in the documentation."""
    fits: Callable[[Any], bool]
    read: Callable[[Any, Seen], Delta]


def _is_event_of_mistral(chunk: Any) -> bool:
    return isinstance(get(chunk, "data", "choices"), list | tuple)


def _read_event_of_mistral(event: Any, seen: Seen) -> Delta:
    return read_chat(fields_of(get(event, "data")), seen)


def _is_life(chunk: Any) -> bool:
    if isinstance(chunk, dict) and not chunk:
        return True
    words = (get(chunk, name) for name in ("type", "object", "event"))
    return any(isinstance(word, str) and word.lower() in LIFE for word in words)


def _read_life(chunk: Any, seen: Seen) -> Delta:
    return Delta()


SHAPES = (
    Shape(
        "OpenAI chat completions",
        "OpenAI, Azure, OpenRouter, LiteLLM, Mistral, DeepSeek, Groq, vLLM, llama.cpp, LM Studio, Ollama's `/v1`;"
        " streamed or whole, and text completions",
        "`choices`, or token counts in `usage`",
        is_chat,
        read_chat,
    ),
    Shape(
        "OpenAI responses",
        "`client.responses.create(stream=True)` and `.stream()`, or a whole response",
        '`type` "response.…", `object` "response"',
        is_response,
        read_response,
    ),
    Shape(
        "OpenAI stream helper",
        "`client.chat.completions.stream()`",
        '`type` "chunk", "content.delta", "refusal.delta" …',
        is_helper,
        read_helper,
    ),
    Shape(
        "Anthropic messages",
        "Anthropic and its compatible servers, `client.messages.stream()`, or a whole message",
        '`type` "message_start", "content_block_delta" …',
        is_message,
        read_message,
    ),
    Shape(
        "Gemini",
        "Gemini and Vertex AI, as their API and their SDKs write it",
        "`candidates`, `promptFeedback`, `usageMetadata`",
        is_gemini,
        read_gemini,
    ),
    Shape(
        "Ollama",
        "Ollama's `/api/chat` and `/api/generate`",
        "`done`, with `message` or `response`",
        is_ollama,
        read_ollama,
    ),
    Shape("llama.cpp", "llama.cpp's `/completion`", "`content` and `stop`", is_llama_cpp, read_llama_cpp),
    Shape("TGI", "`/generate_stream` of text-generation-inference", "`token`", is_tgi, read_tgi),
    Shape("Bedrock", "Amazon's ConverseStream", "`contentBlockDelta`, `messageStop` …", is_converse, read_converse),
    Shape("Cohere", "Cohere's chat, version 2", '`type` "content-delta", "message-end" …', is_cohere, read_cohere),
    Shape("LangChain", "message chunks of LangChain's chat models", "`tool_call_chunks`", is_langchain, read_langchain),
    Shape(
        "Mistral's SDK",
        "events of `client.chat.stream()`",
        "`data` with `choices`",
        _is_event_of_mistral,
        _read_event_of_mistral,
    ),
    Shape(
        "keep-alives",
        "any server",
        '`type`, `object` or `event` "ping", "keepalive", "heartbeat" …, or nothing',
        _is_life,
        _read_life,
    ),
)
"""All shapes. The first that fits reads a chunk."""


def shape_of(chunk: Any) -> Shape | None:
    """The shape of a chunk, or None if it is of none."""
    return next((shape for shape in SHAPES if shape.fits(chunk)), None)


class ChunkReader:
    """Reads the chunks of one stream. It remembers what a chunk alone does not say: which choice is read, which call a
    piece belongs to, whether a text has come already."""

    def __init__(self) -> None:
        self.failure: RequestFailedError | None = None
        """The error that the last chunk reports. What `read` returned for that chunk comes before it."""
        self.unfinished = False
        """Whether there were chunks of a known shape, and none of them said why the answer ended."""
        self._shape = SHAPES[0]
        self._seen = Seen()
        self._calls = CallNumbers()

    def read(self, chunk: Any) -> Delta:
        """Read a chunk: a text, a `Delta`, or of a known shape.

        Raises `ChunkError` for a chunk of an unknown shape, or with a text that is not a string.
        """
        if isinstance(chunk, str):
            return Delta(text=chunk, raw=chunk)
        if isinstance(chunk, Delta):
            text, reasoning = text_of(chunk.text), text_of(chunk.reasoning)
            reason = finish_reason(chunk.finish_reason)
            if (text, reasoning, reason) != (chunk.text, chunk.reasoning, chunk.finish_reason):
                chunk = replace(chunk, text=text, reasoning=reasoning, finish_reason=reason)
            self.unfinished = self.unfinished or (chunk.raw is not None and not isinstance(chunk.raw, str))
            return self._counted(chunk)
        seen = self._seen
        seen.raw, fields = chunk, fields_of(chunk)
        seen.failure = failure_in(fields)
        shape = self._shape
        if not shape.fits(fields):
            found = shape_of(fields)
            if found is None:
                return self._unknown(chunk)
            shape = self._shape = found
        delta = shape.read(fields, seen)
        self.failure = seen.failure
        self.unfinished = True
        if delta.raw is None:
            delta = replace(delta, raw=chunk)
        return self._counted(delta)

    def knows(self, chunk: Any) -> bool:
        """Whether a chunk has a known shape."""
        fields = fields_of(chunk)
        return self._shape.fits(fields) or shape_of(fields) is not None

    def end(self) -> Delta | None:
        """What is left to say at the end of the stream: that its calls are done; None if nothing is."""
        calls = () if self.unfinished or self._seen.finished else self._calls.end()
        return Delta(tool_calls=calls) if calls else None

    def _counted(self, delta: Delta) -> Delta:
        reason = delta.finish_reason
        if reason is not None:
            self._seen.finished = True
        if self._seen.finished:
            self.unfinished = False
        if not delta.tool_calls and (reason is None or not self._calls.any):
            return delta
        calls = self._calls.number(delta.tool_calls)
        if reason is not None and ending_of(reason) == "end":
            calls = (*calls, *self._calls.end())
        return replace(delta, tool_calls=calls)

    def _unknown(self, chunk: Any) -> Delta:
        self.failure = self._seen.failure or failure_of_no_shape(chunk)
        if self.failure is None and not (self._shape.fits is is_message and isinstance(get(chunk, "type"), str)):
            # Anthropic adds types of events, and asks its clients to pass over those that they do not know.
            raise ChunkError(_not_known(chunk))
        return Delta(raw=chunk)


def _not_known(chunk: Any) -> str:
    kind = cast("type[object]", type(chunk))
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    is_dict = isinstance(chunk, dict)
    fields = cast("dict[Any, Any]", chunk) if is_dict else getattr(chunk, "__dict__", {})
    names = [str(field) for field in fields if not str(field).startswith("_")]
    has = f" with the {'keys' if is_dict else 'fields'} {', '.join(names) or '(none)'}" if is_dict or names else ""
    known = ", ".join(shape.name for shape in SHAPES[:-1])
    text = next((field for field in names if isinstance(fields.get(field), str)), "text")
    return (
        f"a delta must be text (str or UTF-8 bytes), a Delta, or a chunk of a known shape ({known}), not"
        f" {name}{has[:200]}: {_shown(chunk)}. Pass a function that turns your chunks into text, as"
        f" adapter=lambda chunk: chunk{f'[{text!r}]' if is_dict else f'.{text}'}, or into"
        " triggerflow.models.Delta(text, reasoning=..., tool_calls=..., finish_reason=...); None skips a chunk"
    )


def _shown(chunk: Any) -> str:
    try:
        shown = repr(chunk)
    except Exception as error:  # any exception: the chunk's own code
        return f"(its repr raises {type(error).__name__})"
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def id_and_model(raw: Any) -> dict[str, Any]:
    """`id` and `model` of the answer, as a chunk says them; None for what it does not say."""
    inner = [raw, *(get(raw, name) for name in ("message", "response", "chunk", "data"))]
    ids = (get(place, name) for place in inner for name in ("id", "responseId", "response_id"))
    models = (get(place, name) for place in inner for name in ("model", "modelVersion", "model_version"))
    return {
        "id": next((found for found in ids if found and isinstance(found, str)), None),
        "model": next((found for found in models if found and isinstance(found, str)), None),
    }
