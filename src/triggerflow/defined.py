"""A flow as data: its definition exported, loaded and drawn.

What does the work is imported on use: a program that only runs flows shall not pay for exports and diagrams when it
starts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from ._core.definition import Definition
from ._core.operators import compile_plan
from .build.blueprint import Blueprint
from .build.chunk import Handler

if TYPE_CHECKING:
    from pathlib import Path

    from .diagram import RunView
    from .diagram.graph import Mode


class DefinedFlow:
    """A blueprint under a name; the part of `TriggerFlow` that reads and writes definitions.

    The text forms are those of `get_flow_config` and `load_flow_config`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        #: what has been written so far: operators, chunks and handlers
        self.blueprint = Blueprint(name)

    def executable(self) -> Blueprint:
        """The blueprint as executions run it; a flow of another front end may complete here what its user wrote."""
        return self.blueprint

    @property
    def definition(self) -> Definition:
        """The flow as immutable data, as it stands now."""
        return compile_plan(self.blueprint.freeze()).definition

    def get_flow_config(self, *, validate_serializable: bool = True) -> dict[str, Any]:
        """The flow as a dict in the format `triggerflow/v1`; see `flow_config`."""
        from .serialize import flow_config

        return flow_config.get_flow_config(self.blueprint, validate_serializable=validate_serializable)

    def get_json_flow(self, save_to: "str | Path | None" = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as JSON text, which is also written to a file if one is named; options of `get_flow_config`."""
        from .serialize import config, flow_config

        return flow_config.saved(config.to_json(self.get_flow_config(**options)), save_to, encoding)

    def get_yaml_flow(self, save_to: "str | Path | None" = None, *, encoding: str = "utf-8", **options: Any) -> str:
        """The flow as YAML text, which is also written to a file if one is named; options of `get_flow_config`."""
        from .serialize import config, flow_config

        return flow_config.saved(config.to_yaml(self.get_flow_config(**options)), save_to, encoding)

    def register_chunk_handler(self, handler: Any, *, name: str | None = None) -> Self:
        """Make a function known by name, so that a definition that is loaded later can use it as a chunk."""
        from .serialize import flow_config

        flow_config.register_chunk_handler(self.blueprint, handler, name=name)
        return self

    def register_condition_handler(self, handler: Handler, *, name: str | None = None) -> Self:
        """Make a function known by name, so that a definition that is loaded later can use it as a condition."""
        from .serialize import flow_config

        flow_config.register_condition_handler(self.blueprint, handler, name=name)
        return self

    def load_flow_config(self, config: Mapping[str, Any], *, replace: bool = True) -> Self:
        """Take a definition over from a dict: in place of this flow's, or after it. Its handlers must be registered.

        Raises `DefinitionError` that names the place; nothing has changed then.
        """
        from .serialize import flow_config

        flow_config.load_flow_config(self.blueprint, config, replace=replace)
        self.name = self.blueprint.name
        return self

    def load_json_flow(self, path_or_content: "str | Path", *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """`load_flow_config` from JSON text or a file."""
        from .serialize import config, flow_config

        text = flow_config.text(path_or_content, encoding)
        return self.load_flow_config(config.parse_json(text), replace=replace)

    def load_yaml_flow(self, path_or_content: "str | Path", *, replace: bool = True, encoding: str = "utf-8") -> Self:
        """`load_flow_config` from YAML text or a file."""
        from .serialize import config, flow_config

        text = flow_config.text(path_or_content, encoding)
        return self.load_flow_config(config.parse_yaml(text), replace=replace)

    def to_mermaid(self, *, mode: "Mode" = "simplified", run: "RunView | None" = None) -> str:
        """The flow as a Mermaid flowchart, coloured by a run if one is given; see `diagram`."""
        from .diagram import to_mermaid

        return to_mermaid(self.definition, mode=mode, run=run)

    def to_dot(self, *, run: "RunView | None" = None) -> str:
        """The flow as a graph for Graphviz's `dot`."""
        from .diagram import to_dot

        return to_dot(self.definition, run=run)
