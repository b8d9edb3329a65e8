"""The state of an execution as the attributes of its declared model, so that type checkers know keys and types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .._core.errors import ContractError

if TYPE_CHECKING:
    from ..build.typed import StateModel


class Keys(Protocol):
    """The methods of `State` that are needed here."""

    def __contains__(self, key: object) -> bool: ...

    def get(self, key: str, default: Any = None) -> Any:
        """See `State.get`."""
        ...

    def set(self, key: str, value: Any, *, emit: bool = True) -> None:
        """See `State.set`."""
        ...

    def delete(self, key: str, *, emit: bool = True) -> None:
        """See `State.delete`."""
        ...


class TypedState:
    """What `State.typed` returns: reading, setting and deleting an attribute does so with that key of the state.

    Raises `AttributeError` for a key that the model does not declare, and for one that has no value.
    """

    __slots__ = ("_model", "_state")

    _state: Keys
    _model: StateModel

    def __init__(self, state: Keys, model: StateModel) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_model", model)

    def __getattr__(self, key: str) -> Any:
        if self._known(key) not in self._state:
            raise AttributeError(f"state has no value at {key!r}", name=key, obj=self)
        return self._state.get(key)

    def __setattr__(self, key: str, value: Any) -> None:
        self._state.set(self._known(key), value)

    def __delattr__(self, key: str) -> None:
        self._state.delete(self._known(key))

    def _known(self, key: str) -> str:
        try:
            self._model.require(key)
        except ContractError as unknown:
            raise AttributeError(str(unknown), name=key, obj=self) from None
        return key

    def __repr__(self) -> str:
        return f"<state with the keys {list(self._model.checks)}>"
