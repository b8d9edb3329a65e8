"""Many responses at once in one process: how long does the event loop stand still, and what does one cost?

    python -m bench.responses            # 200 responses of 5,000 characters, about 75 s
    python -m bench.responses 1000 2000  # so many responses, of so many characters

Every response is read by an instant consumer from a source that delivers 4 characters at a time. Every
step of every task is timed, because a step is what the event loop cannot interrupt.
"""

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator

from bench.instant import answer, deltas_of
from triggerflow.models import Response

PAUSE = 0.02
"""Seconds between two deltas of one source: 200 responses then bring 10,000 deltas a second."""


async def source(deltas: list[str], pause: float) -> AsyncGenerator[str, None]:
    for delta in deltas:
        await asyncio.sleep(pause)
        yield delta


class Steps:
    """Times every callback that the loop runs, that is every step of every task: what blocks it, and how long."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.over = 0
        self._run = asyncio.Handle._run  # noqa: SLF001 - the loop offers no public hook that is cheap enough

    def __enter__(self) -> "Steps":
        def timed(handle: asyncio.Handle) -> None:
            started = time.perf_counter()
            self._run(handle)
            took = time.perf_counter() - started
            self.longest = max(self.longest, took)
            self.over += took > 0.02

        asyncio.Handle._run = timed  # noqa: SLF001
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.Handle._run = self._run  # noqa: SLF001


async def read(response: Response) -> int:
    events = 0
    async for _ in response.get_async_generator("instant"):
        events += 1
    return events


async def stream(count: int, deltas: list[str], pause: float, collector: bool = True) -> None:
    """Print the figures for so many responses at once."""
    if not collector:
        gc.disable()
    responses = [Response(lambda: source(deltas, pause)) for _ in range(count)]
    started, cpu = time.perf_counter(), time.process_time()
    with Steps() as steps:
        events = sum(await asyncio.gather(*map(read, responses)))
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    total = count * len(deltas)
    gc.enable()
    print(
        f"{count:>7} {pause * 1000:>9.0f} {total:>10,} {events:>10,} {wall:>8.2f} {cpu / total * 1e6:>9.1f}"
        f" {steps.longest * 1000:>13.2f} {steps.over:>12}  {'' if collector else 'garbage collector off'}"
    )


async def memory(text: str) -> None:
    """Print what one finished response holds, per character of its answer."""
    deltas = deltas_of(text, 4)
    gc.collect()
    tracemalloc.start()
    response = Response(lambda: source(deltas, 0))
    await read(response)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{len(text):>10,} {len(deltas):>8,} {held / 1e6:>8.2f} {held / len(text):>12.0f}")


async def one_piece(text: str) -> None:
    """Print how long the loop stands still when an answer arrives whole."""
    with Steps() as steps:
        await read(Response([text]))
    print(f"\nOne delta of {len(text):,} characters: longest step {steps.longest * 1000:.2f} ms")


async def main(count: int, length: int) -> None:
    deltas = deltas_of(answer(length), 4)
    print(f"Answers of {length:,} characters in deltas of 4\n")
    print(
        f"{'at once':>7} {'pause ms':>9} {'deltas':>10} {'events':>10} {'wall s':>8} {'us/delta':>9}"
        f" {'longest ms':>13} {'over 20 ms':>12}"
    )
    gc.collect()
    gc.freeze()
    await stream(1, deltas, 0)
    await stream(count, deltas, PAUSE)
    await stream(count, deltas, PAUSE, collector=False)
    await stream(count, deltas, 0)
    await one_piece(answer(2_000_000))
    print(f"\nMemory of a finished response\n{'characters':>10} {'deltas':>8} {'MB':>8} {'bytes/char':>12}")
    for size in (2_000, 20_000, 200_000):
        await memory(answer(size))


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(given + [200, 5_000][len(given) :])))
