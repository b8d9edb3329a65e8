"""Resources of a flow or of one execution: objects that chunks need and that are not recorded (clients, models)."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Never

from .._core.errors import MissingResource

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


class Resources(ChainMap[str, Any]):
    """The resources that an execution sees: its own, and those of its flow. A name that is missing raises
    `MissingResource`, a `KeyError`."""

    def __init__(self, owner: object, *maps: MutableMapping[str, Any]) -> None:
        super().__init__(*maps)
        self._owner = owner

    def __missing__(self, key: str) -> Never:
        raise MissingResource(f"missing required runtime resource {key!r} in {self._owner!r}; it has {sorted(self)}")
