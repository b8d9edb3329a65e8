"""How figures are taken: contestants in turn within a repetition, medians over repetitions, garbage collected before.

Whatever else the machine does, it does to all contestants alike, so that ratios hold where absolute times do not.
"""

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

Run = Callable[[], Awaitable[Any]]
Clock = Callable[[], float]

ROOT = Path(__file__).resolve().parent.parent


def interleaved(
    runs: Mapping[str, Run], expected: Any, *, clock: Clock, repetitions: int, times: int
) -> dict[str, float]:
    """Median seconds of one run, per contestant. A repetition is `times` runs of each; a first run warms up.

    Raises `AssertionError` if a contestant computes something else than `expected`.
    """
    return asyncio.run(_interleaved(runs, expected, clock, repetitions, times)) if runs else {}


async def _interleaved(
    runs: Mapping[str, Run], expected: Any, clock: Clock, repetitions: int, times: int
) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for name in names:
        result = await runs[name]()
        if result != expected:
            raise AssertionError(f"{name} computed {result!r:.200}, expected {expected!r:.200}")
    for repetition in range(repetitions):
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            run = runs[name]
            gc.collect()
            begun = clock()
            for _ in range(times):
                await run()
            taken[name].append((clock() - begun) / times)
    return {name: median(values) for name, values in taken.items()}


def in_fresh_process(task: str, contestant: str) -> float:
    """The figure that `bench.child` prints for this task."""
    command = [sys.executable, "-m", "bench.child", task, contestant]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60)
    return float(json.loads(done.stdout))


def cpu_of_programs(programs: Mapping[str, str], *, repetitions: int) -> dict[str, float]:
    """Median CPU seconds of whole interpreters, per one-line program.

    Compiled modules are kept between the runs, as they are after an installation, also where this shell says
    PYTHONDONTWRITEBYTECODE: compiling all sources anew would be most of the time.
    """
    taken: dict[str, list[float]] = {name: [] for name in programs}
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
        for repetition in range(repetitions + 1):
            for name, program in programs.items():
                begun = _cpu_of_children()
                subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=environment)
                if repetition:  # the first one compiles
                    taken[name].append(_cpu_of_children() - begun)
    return {name: median(values) for name, values in taken.items()}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_kb(field: str) -> int:
    """A memory figure of this process in KB: `VmRSS` now, `VmHWM` at its highest. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(field)


def has_resident_kb() -> bool:
    """Whether this system tells how much memory a process holds."""
    return Path("/proc/self/status").exists()


process_time: Clock = time.process_time
wall_time: Clock = time.perf_counter
