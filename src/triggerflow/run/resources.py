"""Resources of a flow or of one execution: objects that chunks need and that are not recorded (clients, models)."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class ResourceHolder:
    """A flow, or an execution. An execution also sees the resources of its flow."""

    __slots__ = ()

    @property
    def resources(self) -> MutableMapping[str, Any]:
        """The resources by name. A change of this dict affects this object only. Resources are never recorded: set them
        again after a load or a restart."""
        raise NotImplementedError

    def set_runtime_resource(self, key: str, value: Any) -> Self:
        """Set a resource, such as a client, a model or an index. Returns this object."""
        self.resources[key] = value
        return self

    def update_runtime_resources(self, mapping: Mapping[str, Any] | None = None, **resources: Any) -> Self:
        """Set several resources at once. Returns this object."""
        self.resources.update(mapping or {}, **resources)
        return self
