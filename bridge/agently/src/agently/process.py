"""`TriggerFlowProcess`: the engine's chain, which also accepts what only Agently accepts."""

import functools
import logging
from typing import Any

from triggerflow import Chain
from triggerflow.errors import DefinitionError, UnknownChunkError

from .config import Names
from .graph import TriggerFlowChunk


def limit(concurrency: int | None) -> int | None:
    """The concurrency limit for the engine. In Agently 0 and negative numbers mean no limit."""
    return concurrency if concurrency is None or concurrency > 0 else None


def _refusing(method: Any, error: type[Exception] = DefinitionError) -> Any:
    """Wrap a method so that it raises `NotImplementedError` in place of the engine's error, as Agently does."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except error as refused:
            raise NotImplementedError(str(refused)) from refused

    return call


class TriggerFlowProcess(Chain):
    """A place in the graph; see the engine's `Chain`. Closing a block that is not open raises `NotImplementedError`."""

    __slots__ = ()
    case, case_else, end_match = map(_refusing, (Chain.case, Chain.case_else, Chain.end_match))
    end_for_each = _refusing(Chain.end_for_each)
    signal = property(lambda self: Names(self.blueprint.freeze()).signal(self.at))
    trigger_event, trigger_type = (
        property(lambda self: self.signal["trigger_event"]),
        property(lambda self: self.signal["trigger_type"]),
    )

    def _to(self, chunk: Any, side_branch: bool = False, name: str | None = None) -> Any:
        return super().to(chunk, side_branch, None if isinstance(chunk, TriggerFlowChunk) else name)

    to = _refusing(_to, UnknownChunkError)

    def to_sub_flow(self, trigger_flow: Any, *, concurrency: int | None = None, **options: Any) -> Any:
        return super().to_sub_flow(trigger_flow, concurrency=limit(concurrency), **options)

    def for_each(self, *, concurrency: int | None = None) -> Any:
        return super().for_each(concurrency=limit(concurrency))

    def batch(self, *chunks: Any, side_branch: bool = False, concurrency: int | None = None) -> Any:
        """Run several chunks with the same value. If several have one name, the result holds the value of the last."""
        resolved = [self.blueprint.resolve(chunk) for chunk in chunks]
        counting = {chunk.name: chunk for chunk in resolved}
        for chunk in resolved:
            if chunk is not counting[chunk.name]:
                super().to(chunk, side_branch=True)
        return super().batch(*counting.values(), side_branch=side_branch, concurrency=limit(concurrency))

    def ____(
        self, *labels: Any, log_info: bool = False, print_info: bool = False, show_value: bool = False, **more: Any
    ) -> Any:
        """A separator between parts of a long chain.

        With `log_info` or `print_info` it logs or prints its labels, with `show_value` also the value of the chain.
        """
        if not (log_info or print_info):
            return self
        label = "\t".join([*map(str, labels), *(f"{key}:{value}" for key, value in more.items())])

        async def separator(data: Any) -> None:
            text = f"{label} {data.value}" if show_value else label
            if log_info:
                logging.getLogger("triggerflow").info(text)
            if print_info:
                print(text)  # noqa: T201 - the caller asked for it with `print_info`

        return self.side_branch(separator)
