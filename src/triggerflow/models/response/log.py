"""A recorded log: one producer appends, any number of consumers read all of it, each at its own pace.

Each consumer has a position of its own: late consumers read from the beginning, and slow ones do not delay others. The
log lives as long as its response and holds its output, so that the output bounds its memory.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_PAGE = 256
"""The number of items in a full page. Full pages are tuples: the garbage collector, which stops the event loop while it
walks, walks a list every time, but skips a tuple whose items cannot be part of a cycle. After each full page, a
consumer lets other tasks run."""


class EventLog(Generic[T]):
    """All items so far; consumers can wait for further ones. For use within one event loop."""

    __slots__ = ("_closed", "_error", "_page", "_pages", "_waiting")

    def __init__(self) -> None:
        self._pages: list[tuple[T, ...]] = []
        self._page: list[T] = []
        """The last page, which is being filled."""
        self._closed = False
        self._error: BaseException | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._pages) * _PAGE + len(self._page)

    @property
    def closed(self) -> bool:
        """Whether the producer has closed the log."""
        return self._closed

    @property
    def error(self) -> BaseException | None:
        """The error with which the producer has closed the log."""
        return self._error

    def recorded(self) -> Iterator[T]:
        """The items so far."""
        for page in (*self._pages, self._page):
            yield from page

    def append(self, item: T) -> None:
        """Record one item. Raises `RuntimeError` if the log is closed."""
        self.extend((item,))

    def extend(self, items: Iterable[T]) -> None:
        """Record items in order and wake waiting consumers. Raises `RuntimeError` if the log is closed."""
        if self._closed:
            raise RuntimeError("the event log is closed: its producer must not append after close()")
        page = self._page
        page.extend(items)
        while len(page) >= _PAGE:
            self._pages.append(tuple(page[:_PAGE]))
            del page[:_PAGE]
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Close the log: consumers end, or raise `error`, after the last item. Only the first call counts."""
        if not self._closed:
            self._closed = True
            self._error = error
            self._wake()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self.follow()

    async def follow(self, after: int = 0) -> AsyncGenerator[T, None]:
        """Yield the items from position `after` on, recorded ones first, then each as it comes, until closed."""
        position = after
        while True:
            while position < len(self):
                number, place = divmod(position, _PAGE)
                page = self._pages[number] if number < len(self._pages) else self._page
                position += 1
                yield page[place]
                if place == _PAGE - 1:
                    await asyncio.sleep(0)
            if self._closed:
                if self._error is not None:
                    raise self._error
                return
            news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(news)
            await news

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for news in waiting:
            if not news.done():
                news.set_result(None)
