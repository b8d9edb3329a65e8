"""The own APIs of two servers for open models: `/completion` of llama.cpp, `/generate_stream` of TGI."""

from typing import Any

from .delta import Delta
from .fields import get, text_of
from .finish import finish_reason
from .seen import Seen
from .usage import usage_of


def is_llama_cpp(chunk: Any) -> bool:
    """Whether a chunk is of llama.cpp's `/completion`: a text, and whether it is the last one."""
    return isinstance(get(chunk, "stop"), bool) and isinstance(get(chunk, "content"), str)


def read_llama_cpp(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk."""
    stopped = get(chunk, "stop")
    reason = get(chunk, "stop_type") or ("limit" if get(chunk, "stopped_limit") else "eos")
    return Delta(
        text=text_of(get(chunk, "content")),
        finish_reason=finish_reason(reason) or "stop" if stopped else None,
        usage=usage_of(chunk) if stopped else None,
    )


def is_tgi(chunk: Any) -> bool:
    """Whether a chunk is of TGI's `/generate_stream`: one token each."""
    return isinstance(get(chunk, "token", "text"), str) and get(chunk, "token", "id") is not None


def read_tgi(chunk: Any, seen: Seen) -> Delta:
    """Read a chunk. Special tokens, like that of the end, are no text."""
    token, details = get(chunk, "token"), get(chunk, "details")
    written = get(details, "generated_tokens")
    return Delta(
        text="" if get(token, "special") else text_of(get(token, "text")),
        finish_reason=finish_reason(get(details, "finish_reason")),
        usage={"completion_tokens": written} if isinstance(written, int) else None,
    )
