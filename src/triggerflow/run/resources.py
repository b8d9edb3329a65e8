"""Resources: what runs need and no record can carry (clients, models, indexes), given to a flow or to one execution."""

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class ResourceHolder:
    """A flow, or an execution, which sees its flow's resources too."""

    __slots__ = ()

    @property
    def resources(self) -> MutableMapping[str, Any]:
        """The resources by name. What is set or deleted here is this object's own. Resources are never recorded: after
        a load or a restart they have to be given again."""
        raise NotImplementedError

    def set_runtime_resource(self, key: str, value: Any) -> "Self":
        """Give a resource: a client, a model, an index."""
        self.resources[key] = value
        return self

    def update_runtime_resources(self, mapping: Mapping[str, Any] | None = None, **resources: Any) -> "Self":
        """Give several resources at once."""
        self.resources.update(mapping or {}, **resources)
        return self
