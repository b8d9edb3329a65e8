"""`Agently`: settings, the event centre, and what the model side will be."""

import logging
from typing import Any, NoReturn

from .events import CENTER
from .state import GLOBAL, delegate, later


class AgentlyMain:
    """The entrance: `Agently.set_settings(...)`, `Agently.event_center.register_hook(...)`."""

    settings, event_center, logger = GLOBAL, CENTER, logging.getLogger("agently")
    set_settings, load_settings = delegate("settings", "set_settings"), delegate("settings", "load_settings")
    emit_runtime, async_emit_runtime = delegate("event_center", "emit"), delegate("event_center", "async_emit")

    def create_agent(self, name: str | None = None) -> NoReturn:
        """Not there yet."""
        raise NotImplementedError("agents and model requests are not part of this version of triggerflow-agently; "
                                  "call your model in a chunk, or give it to the flow as a resource")  # fmt: skip

    create_request = create_agent

    def print(self, *args: Any, **options: Any) -> None:
        """Print."""
        print(*args, **options)  # noqa: T201 - what it is for

    async_print = later("print")


Agently = AgentlyMain()
print_, async_print = Agently.print, Agently.async_print
