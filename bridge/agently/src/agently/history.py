"""The chat history of an agent, as the messages that its model gets."""

import warnings
from collections.abc import Mapping
from typing import Any, cast

from .state import copied

Message = dict[str, Any]
#: The roles that a model knows; a message of another one counts as the assistant's.
_ROLES = {"system", "developer", "assistant", "user"}


def history_of(said: Any) -> list[Message]:
    """Messages from what a program gives as such: one, several, or texts, which are the user's."""
    several = [*cast("list[Any]", said)] if isinstance(said, list | tuple) else [said]
    plain: list[Any] = [it.model_dump() if hasattr(it, "model_dump") else it for it in several]
    return [{"role": "user", **copied(it)} if isinstance(it, dict) else _of_user(str(it)) for it in plain]


def joined(held: list[Message], more: list[Message]) -> list[Message]:
    """A history with more messages.

    A program may repeat the end of the history, or all of it, before the new messages: this overlap counts once. Other
    messages that are equal stay: a user may say the same twice.
    """
    overlap = next(it for it in range(min(len(held), len(more)), -1, -1) if held[len(held) - it :] == more[:it])
    return [*held, *more[overlap:]]


def messages_of(history: list[Message], *, rich: bool, strict: bool) -> list[Message]:
    """What the model gets.

    `strict`: each role speaks once in turn, the user first and the assistant last, as some servers want it. `rich`:
    contents are lists of parts; else text, and a part that is not text is left out with a warning.
    """
    made: list[Message] = []
    for message in history:
        role = message["role"] if message["role"] in _ROLES else "assistant"
        content = message.get("content")
        parts = content if isinstance(content, list) else [content if _is_part(content) else _text(content)]
        if strict and made and made[-1]["role"] == role:
            made[-1]["content"] += parts
        else:
            made.append({"role": role, "content": [*parts]})
    if strict and made and made[0]["role"] != "user":
        made.insert(0, {"role": "user", "content": [_text("[CHAT HISTORY]")]})
    if strict and made and made[-1]["role"] != "assistant":
        made.append({"role": "assistant", "content": [_text("[User continue input]")]})
    return made if rich else [{**it, "content": _simple(it["content"])} for it in made]


def _simple(parts: list[Any]) -> str:
    left_out = [it["type"] for it in parts if it.get("type") != "text"]
    if left_out:
        warnings.warn(
            f"the chat history has parts of the types {left_out}, which are left out; the setting "
            '"OpenAICompatible.rich_content" lets the model have them',
            stacklevel=2,
        )
    return "\n\n".join(it["text"] for it in parts if it.get("type") == "text")


def _is_part(content: Any) -> bool:
    return isinstance(content, Mapping) and "type" in content


def _text(content: Any) -> dict[str, Any]:
    return {"type": "text", "text": str(content)}


def _of_user(text: str) -> Message:
    return {"role": "user", "content": text}
