"""`Delta`: what one chunk of any provider says, in one form."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

# gc=False: the garbage collector skips these objects. A response keeps one for each delta, and our code never makes one
# part of a reference cycle.

UNSAID = -1
"""The index of a piece of a tool call whose provider gives none."""


class ToolCallDelta(Struct, frozen=True, gc=False):
    """A piece of a tool call: `arguments` is JSON text, which grows; `id` and `name` come with the first piece.

    In what a response yields, `index` counts the calls of the answer from 0, however the provider counts them: all
    pieces of one call have the same number, and no other call has it. An adapter gives the provider's index, or -1
    (`UNSAID`) if there is none. `done` is True in the last piece of a call, whose arguments are then complete.
    """

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    done: bool = False


class Delta(Struct, frozen=True, gc=False):
    """One chunk of a response of any provider. `raw` is the chunk itself; `usage` has the token counts so far.

    `refusal` is text in which the model says that it will not answer; it is no part of the answer. `damaged`: the text
    had half of a character, which is U+FFFD now.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    raw: Any = None
    refusal: str = ""
    damaged: bool = False
