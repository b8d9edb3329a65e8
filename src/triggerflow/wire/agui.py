"""What a client of AG-UI 1.0 sends to a server (https://docs.ag-ui.com/spec/1.0).

The events that it gets are made by `triggerflow.server.agui`; docs/guide/agui.md says which.
"""

from typing import Annotated, Any, Literal

import msgspec

#: The version of the protocol that the server speaks.
PROTOCOL_VERSION = "1.0"
#: The label with the thread of an execution that was started over AG-UI.
THREAD_LABEL = "agui-thread"

#: No text that a store keeps has a null character.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern="^[^\\x00]*$")]
#: Kept as it came: the protocol asks to pass on what a peer does not know.
Object = dict[str, Any]


class ResumeEntry(msgspec.Struct, kw_only=True, rename="camel"):
    """An answer to an interrupt. "cancelled" abandons it; `payload` is the answer of "resolved"."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None
    metadata: Object | None = None


class AgentInput(msgspec.Struct, kw_only=True, rename="camel"):
    """`RunAgentInput`: a run of a thread, new or, with `resume`, one that goes on after its interrupts.

    `forwardedProps.value` is the value to start with; without it, the last text of the user is, or the whole input, as
    the flow takes it. What the server does not know of an input it ignores.
    """

    thread_id: Id
    run_id: Id
    messages: list[Object]
    parent_run_id: str | None = None
    protocol_version: str | None = None
    state: Any = None
    tools: list[Object] | None = None
    context: list[Object] | None = None
    forwarded_props: Any = None
    resume: list[ResumeEntry] | None = None
