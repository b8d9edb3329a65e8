"""Any source of a model's answer, read as a stream of `Delta`s."""

import codecs
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any, cast

from msgspec.structs import replace

from ..errors import TransportError
from ..shapes import ChunkReader, Delta, failure_in, finish_reason
from .halves import Halves
from .http import ENDED, Plain
from .items import Source, opened

Adapter = Callable[[Any], Any]
"""Turns one chunk of a source into a `Delta`, text, or a chunk of a known shape; into None if the chunk has nothing to
read."""

_EVENT = re.compile(r"\s*(?:(?:event|id|retry)?:[^\n]*\n\s*)*data:[ ]?(\{[^\n]*)")


async def read_deltas(
    source: Source, adapter: Adapter | None = None, alive: Callable[[], None] = lambda: None
) -> AsyncGenerator[Delta, None]:
    """Yield a `Delta` for each item of a source; close the source at the end, also when left early.

    `alive` is called for signs of life that yield no delta: an item without content, and bytes of the SDKs' streams.

    Bytes are decoded as UTF-8 across the borders of items. Invalid bytes become U+FFFD, and so do halves of characters
    (surrogates); two halves in two items are joined.

    Raises `TypeError` for an object that is not a source, for an item that is neither text nor a chunk of a known
    shape, and for the undecoded lines of an event stream; the error that a chunk reports, after what else that chunk
    says; `TransportError` at the end of a stream of chunks of which none has said why the answer ended; also the
    exceptions of the source.
    """
    reader = _ItemReader(adapter)
    async with opened(source, alive) as items:
        async for item in items:
            delta = reader.read(item)
            if delta is None:
                alive()
                continue
            failure = reader.failure
            if failure is None or delta.text or delta.reasoning or delta.tool_calls:
                yield delta
            if failure is not None:
                raise failure
        for delta in reader.end():
            yield delta


class _ItemReader:
    """Makes deltas of the items of one source."""

    def __init__(self, adapter: Adapter | None) -> None:
        self._adapter = adapter
        self._facts = None if adapter is None else _ChunkFacts()
        # What is no UTF-8 becomes halves of characters, which `Halves` replaces and reports.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._halves, self._halves_of_reasoning = Halves(), Halves()
        self._chunks = ChunkReader()
        self._begins = 3
        """So many items may be the first data of an event stream: a comment and the type of the event come before."""

    @property
    def failure(self) -> Exception | None:
        """The error that the last item reports. What `read` returned for it comes before it."""
        return self._chunks.failure

    def read(self, item: Any) -> Delta | None:
        """What an item says; None if there is nothing to read in it."""
        chunk = item
        if isinstance(item, Plain):
            chunk = item.chunk
            if chunk is ENDED:
                self._chunks.unfinished = False
                return None
        elif self._adapter is not None and self._facts is not None:
            said = self._facts.read(item)
            chunk = self._adapter(item)
            if said is not None and chunk is not item:
                chunk = _completed(chunk, said)
            if chunk is None:
                return None
        if isinstance(chunk, bytes | bytearray | memoryview):
            chunk = self._decoder.decode(bytes(cast("bytes", chunk)))
        if self._begins:
            self._begins -= 1
            if isinstance(chunk, str):
                _refuse_lines(chunk)
        delta = self._chunks.read(chunk)
        text, reasoning = self._halves.joined(delta.text), self._halves_of_reasoning.joined(delta.reasoning)
        if text is not delta.text or reasoning is not delta.reasoning:
            raw = text if isinstance(delta.raw, str) else delta.raw
            delta = replace(delta, text=text, reasoning=reasoning, raw=raw, damaged=self._halves.lost)
        return delta

    def end(self) -> Iterator[Delta]:
        """Yield what is left at the end of the source. Raises `TransportError` if the answer has not ended."""
        rest = self._halves.joined(self._decoder.decode(b"", True)) or self._halves.rest()
        if rest:
            yield Delta(text=rest, raw=rest, damaged=self._halves.lost)
        if self._chunks.unfinished:
            hint = "; if your adapter reads the reason, return Delta(text, finish_reason=...)"
            raise TransportError(
                "the provider's stream ended without a finish reason: the connection was cut"
                + (hint if self._adapter is not None else "")
            )
        last = self._chunks.end()
        if last is not None:
            yield last


def _refuse_lines(text: str) -> None:
    """Raise `TypeError` for the first line of an event stream: the text of the answer is in the JSON in it."""
    line = _EVENT.match(text)
    try:
        chunk: Any = json.loads(line[1]) if line is not None else None
    except (ValueError, RecursionError):
        return
    if isinstance(chunk, dict) and ChunkReader().knows(chunk):
        raise TypeError(
            "the source gives the lines of an event stream (`data: {...}`) and not the text of the answer: give the"
            f" chunks in them, as in json.loads(line.removeprefix('data:')), not {text[:100]!r}"
        )


class _ChunkFacts:
    """What chunks say beside their content, which an adapter reads: if the shape is known, how the answer ended, which
    errors there were, and what was counted."""

    def __init__(self) -> None:
        self._reader = ChunkReader()

    def read(self, item: Any) -> Delta | None:
        """What an item says, or None if its shape is not known. Raises the error that it reports."""
        if isinstance(item, str | bytes | bytearray | memoryview | Delta):
            return None
        failure = failure_in(item)
        said = None
        if failure is None and self._reader.knows(item):
            # The adapter may be there because the content of these chunks cannot be read.
            with suppress(TypeError):
                said = self._reader.read(item)
            failure = self._reader.failure
        if failure is not None:
            raise failure
        return said


def _completed(adapted: Any, said: Delta) -> Any:
    """What an adapter has made of a chunk, with what the chunk itself says; None if there is nothing to read."""
    if adapted is None:
        if not (said.finish_reason or said.usage or said.refusal):
            return None
        adapted = Delta()
    elif isinstance(adapted, str):
        adapted = Delta(adapted)
    elif not isinstance(adapted, Delta):
        return adapted
    return replace(
        adapted,
        finish_reason=finish_reason(adapted.finish_reason) or said.finish_reason,
        usage=adapted.usage or said.usage,
        refusal=adapted.refusal or said.refusal,
        raw=said.raw if adapted.raw is None else adapted.raw,
    )
