"""The rows of the table: what is run, how often, in which unit it is read, and what it may cost.

A row compares contestants: modules with one function a workload (`adapter` says which). A contestant that lacks the
function is left out; a row that ours lacks is not shown.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from . import adapter, floor, raw
from .measure import cpu_of_programs, has_resident_kb, in_fresh_process, interleaved, process_time, wall_time

#: "ours" first; "floor" is what ratios are taken to.
CONTESTANTS: Mapping[str, ModuleType] = {"ours": adapter, "floor": floor, "raw": raw}

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `take` gives figures in `unit` by contestant, none if ours cannot run it. With `rate` a higher figure is the better
    one. The budget is `ratio`: the highest cost as a multiple of the cost of the contestant named by `against`.
    """

    name: str
    title: str
    unit: str
    take: Callable[[], Figures]
    ratio: float
    against: str = "floor"
    rate: bool = False

    def cost_ratio(self, figures: Figures, other: str) -> float | None:
        """Our cost as a multiple of another contestant's; None if that one was not measured, or costs nothing."""
        if not figures.get(other):
            return None
        ratio = figures["ours"] / figures[other]
        return 1 / ratio if self.rate else ratio

    def budget(self) -> str:
        """The budget as text."""
        return f"<= {self.ratio:g} x {self.against}"


@dataclass(frozen=True)
class Taken:
    """What the runs of one row gave: medians, and how far the runs lie apart."""

    row: Row
    runs: list[Figures]

    def figures(self) -> Figures:
        """The median of each contestant."""
        return {name: median(run[name] for run in self.runs) for name in self.runs[0]}

    def ratios(self, other: str) -> list[float]:
        """Our cost as a multiple of another contestant's, in each run."""
        found = [self.row.cost_ratio(run, other) for run in self.runs]
        return [ratio for ratio in found if ratio is not None]

    def ratio(self, other: str) -> float | None:
        """The median of these multiples. Both sides of each are of one run, so that noise between runs cancels out."""
        ratios = self.ratios(other)
        return median(ratios) if ratios else None

    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest multiple of what the budget is taken against."""
        ratios = self.ratios(self.row.against)
        return (min(ratios), max(ratios)) if ratios else None

    def met(self) -> bool:
        """Whether the budget is kept."""
        ratio = self.ratio(self.row.against)
        return ratio is not None and ratio <= self.row.ratio


def _cpu(
    workload: str, sizes: tuple[int, ...], expected: Any, *, repetitions: int, times: int = 1, per_second: bool = False
) -> Callable[[], Figures]:
    """CPU microseconds per item (the first size), or items per CPU second."""

    def take() -> Figures:
        runs = {name: getattr(module, workload)(*sizes) for name, module in _having(workload).items()}
        seconds = interleaved(runs, expected, clock=process_time, repetitions=repetitions, times=times)
        return _read(seconds, sizes[0], per_second)

    return take


def _read(seconds: Figures, count: int, per_second: bool) -> Figures:
    return {name: count / value if per_second else value / count * 1e6 for name, value in seconds.items()}


def _having(workload: str) -> dict[str, ModuleType]:
    if not hasattr(adapter, workload):
        return {}
    return {name: module for name, module in CONTESTANTS.items() if hasattr(module, workload)}


def _at_once(one: Callable[[Any], Any], values: list[Any]) -> Callable[[], Any]:
    async def run() -> Any:
        return await asyncio.gather(*[one(value) for value in values])

    return run


def _executions() -> Figures:
    values, expected = list(range(1000)), list(range(5, 1005))
    runs = {name: _at_once(module.w4(), values) for name, module in _having("w4").items()}
    return _read(interleaved(runs, expected, clock=process_time, repetitions=7, times=1), 1000, True)


def _playbook() -> Figures:
    topics = [f"topic {index}" for index in range(1000)]
    expected = [{"topic": topic, "facts": f"facts({topic})", "risks": f"risks({topic})"} for topic in topics]
    runs = {name: _at_once(module.w9(), topics) for name, module in _having("w9").items()}
    return interleaved(runs, expected, clock=wall_time, repetitions=7, times=1)


def _durable() -> Figures:
    """Durable 5-step executions per second of wall time, 200 at once; every contestant in a directory of its own."""
    directory = tempfile.mkdtemp(prefix="bench-")
    try:
        return {name: 200 / seconds for name, seconds in asyncio.run(_durable_seconds(Path(directory))).items()}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _durable_seconds(directory: Path) -> Figures:
    async def settled(made: Any) -> Any:
        return await made if asyncio.iscoroutine(made) else made

    opened: dict[str, Any] = {}
    for name, module in _having("w10").items():
        (directory / name).mkdir()
        opened[name] = await settled(module.w10(str(directory / name)))
    taken: dict[str, list[float]] = {name: [] for name in opened}
    for repetition in range(8):
        for name, (one, _) in opened.items():
            begun = wall_time()
            assert await asyncio.gather(*[one(index) for index in range(200)]) == list(range(5, 205))
            if repetition:  # the first one warms up
                taken[name].append(wall_time() - begun)
    for _, close in opened.values():
        await settled(close())
    return {name: median(values) for name, values in taken.items()}


def _memory(task: str) -> Callable[[], Figures]:
    def take() -> Figures:
        if not has_resident_kb():
            return {}
        return {
            name: in_fresh_process(task, module.__name__.rpartition(".")[2]) for name, module in CONTESTANTS.items()
        }

    return take


def _programs(programs: Mapping[str, str]) -> Callable[[], Figures]:
    """CPU milliseconds of whole interpreters."""

    def take() -> Figures:
        return {name: seconds * 1000 for name, seconds in cpu_of_programs(programs, repetitions=15).items()}

    return take


IMPORTS = {"ours": "import triggerflow", "floor": "pass", "raw": "import asyncio"}

#: What a command-line tool does that runs one flow: all of the start-up that a user waits for.
FIRST_RUNS = {
    "ours": """
import asyncio
from triggerflow import TriggerFlow

async def step(data):
    return data.value + 1

flow = TriggerFlow()
flow.to(step).end()
assert asyncio.run(flow.async_start(1)) == 2
""",
    "floor": "pass",
    "raw": """
import asyncio

async def step(value):
    return value + 1

assert asyncio.run(step(1)) == 2
""",
}


def _for_each(count: int, repetitions: int) -> Callable[[], Figures]:
    return _cpu("w3", (count, 50), [(index + 1) * 2 for index in range(count)], repetitions=repetitions)


ROWS: tuple[Row, ...] = (
    Row("chain", "chain of 100, per step", "us", _cpu("w1", (100,), 100, repetitions=15, times=20), ratio=0.5),
    Row("batch", "batch of 100, per branch", "us", _cpu("w2", (100,), 200, repetitions=15, times=20), ratio=1),
    Row("for_each", "for_each of 1,000, 50 at once, per item", "us", _for_each(1_000, 9), ratio=1),
    Row("for_each_long", "for_each of 100,000, 50 at once, per item", "us", _for_each(100_000, 1), ratio=1),
    Row("loop", "loop of 10,000, per turn", "us", _cpu("w8", (10_000,), 10_000, repetitions=9), ratio=1),
    Row("loop_memory", "loop, peak of memory at 100,000 turns : at 10,000", "x", _memory("loop"), ratio=1.02),
    Row("emits", "emitted events, 10,000", "/s", _cpu("w5", (10_000,), 10_000, repetitions=9, per_second=True),
        ratio=1, rate=True),
    Row("stream", "stream items, 100,000", "/s", _cpu("w6", (100_000,), 100_000, repetitions=5, per_second=True),
        ratio=1.8, rate=True),
    Row("executions", "5-step executions, 1,000 at once", "/s", _executions, ratio=1, rate=True),
    Row("memory", "memory per execution held waiting, 5,000 held", "KB", _memory("held"), ratio=1.25),
    Row("playbook", "playbook, 1,000 at once, wall", "s", _playbook, ratio=1.25),
    Row("durable", "durable 5-step executions, 200 at once, wall", "/s", _durable, ratio=1.7, rate=True),
    Row("import", "import, CPU with interpreter", "ms", _programs(IMPORTS), ratio=1.35, against="raw"),
    Row("first_run", "import, build and run one chunk, CPU", "ms", _programs(FIRST_RUNS), ratio=1.35, against="raw"),
)  # fmt: skip
