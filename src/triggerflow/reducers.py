"""Reducers for `flow.set_state`: how `state.reduce(key, value)` combines a value into a key."""

from .build.typed import add, append, extend, maximum, merge, minimum

__all__ = ["add", "append", "extend", "maximum", "merge", "minimum"]
