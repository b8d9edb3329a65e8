"""The object `Agently`: global settings, the event centre, and the maker of agents."""

import logging
from typing import Any

from .adapt import delegate, later
from .events import CENTER
from .settings import GLOBAL


class AgentlyMain:
    """The class of the object `Agently`: `Agently.set_settings(...)`, `Agently.event_center.register_hook(...)`."""

    settings, event_center, logger = GLOBAL, CENTER, logging.getLogger("agently")
    load_settings = delegate("settings", "load_settings")
    emit_runtime, async_emit_runtime = delegate("event_center", "emit"), delegate("event_center", "async_emit")

    def set_settings(self, key: str, value: Any, **options: Any) -> "AgentlyMain":
        self.settings.set_settings(key, value, **options)
        return self

    def create_agent(self, name: str | None = None) -> Any:
        """Make an agent. It needs the extra `openai` and the settings "OpenAICompatible"."""
        from .agent import Agent  # imported here, so that programs without agents do not load the model client

        return Agent(name)

    create_request = create_agent

    def print(self, *args: Any, **options: Any) -> None:
        """Print to standard output, as the builtin `print` does."""
        print(*args, **options)  # noqa: T201 - printing is its purpose

    async_print = later("print")


Agently = AgentlyMain()
print_, async_print = Agently.print, Agently.async_print
