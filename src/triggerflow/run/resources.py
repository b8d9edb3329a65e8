"""Resources: what runs need and no record can carry (clients, models, indexes), given to a flow or to one execution."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class ResourceHolder:
    """What has resources by name: flows, and executions, which see their flow's too."""

    __slots__ = ()

    @property
    def resources(self) -> Mapping[str, Any]:
        """All that are seen here, by name."""
        raise NotImplementedError

    @property
    def own_resources(self) -> dict[str, Any]:
        """Those that were given here, to be changed by the methods below."""
        raise NotImplementedError

    def set_runtime_resource(self, key: str, value: Any) -> "Self":
        """Give a resource: a client, a model, an index. Resources are never recorded."""
        self.own_resources[key] = value
        return self

    def update_runtime_resources(self, mapping: Mapping[str, Any] | None = None, **resources: Any) -> "Self":
        """Give several resources at once."""
        self.own_resources.update(mapping or {}, **resources)
        return self

    def get_runtime_resource(self, key: str, default: Any = None) -> Any:
        """A resource, or the default."""
        return self.resources.get(key, default)

    def del_runtime_resource(self, key: str) -> "Self":
        """Take a resource away that was given here, if it is there."""
        self.own_resources.pop(key, None)
        return self

    def clear_runtime_resources(self) -> "Self":
        """Take away all that were given here."""
        self.own_resources.clear()
        return self
