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
from collections.abc import AsyncGenerator, Callable
from typing import Any

from bench.instant import answer, deltas_of
from triggerflow.models import Response

PAUSE = 0.02
"""Seconds between two deltas of one source: 200 responses then bring 10,000 deltas a second."""


async def source(deltas: list[str], pause: float) -> AsyncGenerator[str, None]:
    for delta in deltas:
        await asyncio.sleep(pause)
        yield delta


async def chunks(deltas: list[str]) -> AsyncGenerator[dict[str, Any], None]:
    """The same as a provider's SDK sends it: each delta inside of several objects."""
    for number, delta in enumerate(deltas, 1):
        await asyncio.sleep(0)
        finish = "stop" if number == len(deltas) else None
        yield {"id": "1", "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": finish}]}


class Steps:
    """Times every callback that the loop runs, that is every step of every task: what blocks it, and how long.

    `longest` is wall time, in which other processes may have had the processor; `longest_cpu` is not. A pass of the
    garbage collector is part of the step in which it happens; `longest_pass` is its CPU time.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.longest_cpu = 0.0
        self.over = 0
        self.longest_pass = 0.0
        self._pass_began = 0.0
        self._run = asyncio.Handle._run  # noqa: SLF001 - the loop offers no public hook that is cheap enough

    def __enter__(self) -> "Steps":
        def timed(handle: asyncio.Handle) -> None:
            started, cpu = time.perf_counter(), time.thread_time()
            self._run(handle)
            took, cpu = time.perf_counter() - started, time.thread_time() - cpu
            self.longest = max(self.longest, took)
            self.longest_cpu = max(self.longest_cpu, cpu)
            self.over += cpu > 0.02

        asyncio.Handle._run = timed  # noqa: SLF001
        gc.callbacks.append(self._collecting)
        return self

    def __exit__(self, *error: object) -> None:
        gc.callbacks.remove(self._collecting)
        asyncio.Handle._run = self._run  # noqa: SLF001

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._pass_began = time.thread_time()
        else:
            self.longest_pass = max(self.longest_pass, time.thread_time() - self._pass_began)


async def read(response: Response) -> int:
    events = 0
    async for _ in response.get_async_generator("instant"):
        events += 1
    return events


async def stream(
    count: int,
    total: int,
    open_source: Callable[[], Any],
    remark: str,
    *,
    collector: bool = True,
    originals: bool = True,
) -> None:
    """Print the figures for so many responses at once, of so many deltas in all."""
    gc.collect()
    if not collector:
        gc.disable()
    responses = [Response(open_source, originals=originals) for _ in range(count)]
    started, cpu = time.perf_counter(), time.process_time()
    with Steps() as steps:
        events = sum(await asyncio.gather(*map(read, responses)))
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    gc.enable()
    print(
        f"{count:>7} {total:>10,} {events:>10,} {wall:>8.2f} {cpu / total * 1e6:>9.1f}"
        f" {steps.longest * 1000:>9.2f} {steps.longest_cpu * 1000:>9.2f} {steps.longest_pass * 1000:>12.2f}"
        f" {steps.over:>10}  {remark}"
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
    print(f"\nOne delta of {len(text):,} characters: longest step {steps.longest_cpu * 1000:.2f} ms CPU")


async def main(count: int, length: int) -> None:
    deltas = deltas_of(answer(length), 4)
    print(f"Answers of {length:,} characters in deltas of 4, and the longest step of the event loop\n")
    print(
        f"{'at once':>7} {'deltas':>10} {'events':>10} {'wall s':>8} {'us/delta':>9}"
        f" {'step ms':>9} {'CPU ms':>9} {'collector ms':>12} {'over 20 ms':>10}"
    )
    gc.collect()
    gc.freeze()
    total = count * len(deltas)
    await stream(1, len(deltas), lambda: source(deltas, 0), "text, without pause")
    await stream(count, total, lambda: source(deltas, PAUSE), f"text, {PAUSE * 1000:.0f} ms between two deltas")
    await stream(count, total, lambda: source(deltas, PAUSE), "the same, garbage collector off", collector=False)
    await stream(count, total, lambda: source(deltas, 0), "text, without pause")
    await stream(count, total, lambda: chunks(deltas), "an SDK's chunks, without pause")
    await stream(count, total, lambda: chunks(deltas), "the same, originals=False", originals=False)
    await one_piece(answer(2_000_000))
    print(f"\nMemory of a finished response\n{'characters':>10} {'deltas':>8} {'MB':>8} {'bytes/char':>12}")
    for size in (2_000, 20_000, 200_000):
        await memory(answer(size))


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(given + [200, 5_000][len(given) :])))
