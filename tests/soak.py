"""Which tests run when: `make test` tries every promise once, `make soak` all combinations and much random input.

A test, or one case of a parametrized test, that only `make soak` runs is marked `soak`. A test that takes a number
`seed` is marked `seeds(few, many)`: 0 to few - 1 in `make test`, many random ones in `make soak`. Hypothesis tests run
in both, with few examples that are always the same, or with many that follow from the seed.

`--soak-slice 10` runs a tenth of the soak, `--soak-minutes 5` starts no test later than that: the seed decides which
tests, and their order. What a seed has found, the same seed finds again; a failed run prints the command.
"""

import os
import random
import shlex
import sys
import time
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, is_hypothesis_test, settings

#: How many times the examples of `make test` hypothesis tries in `make soak`.
FACTOR = 20
#: Seconds that one test may take in `make soak`.
TIMEOUT = 1200
TIME_IS_UP = "the minutes of this soak are over"

#: How many examples hypothesis tries, whatever a test says; None: as many as the test says.
_examples = int(os.environ.get("TRIGGERFLOW_EXAMPLES") or 0) or None
_soak = False
_seed = 0


def is_soak() -> bool:
    """Whether this is `make soak`."""
    return _soak


def seed() -> int:
    """What random input follows from; 0 in `make test`."""
    return _seed


def examples(count: int) -> settings:
    """Settings for a hypothesis test: so many examples in `make test`, `FACTOR` times as many in `make soak`."""
    return settings(max_examples=_examples or (count * FACTOR if _soak else count))


def cases(values: Iterable[Any], *, some: Iterable[Any]) -> list[Any]:
    """Parameters (tuples, where there are several), of which `make test` runs `some`, and `make soak` the others."""
    several = [value if isinstance(value, tuple) else (value,) for value in values]
    kept = [value if isinstance(value, tuple) else (value,) for value in some]
    return [pytest.param(*value, marks=[] if value in kept else [pytest.mark.soak]) for value in several]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak")
    group.addoption("--soak", action="store_true", help="run what `make test` leaves out, and more random input")
    group.addoption("--soak-seed", type=int, metavar="N", help="the seed of random input; default: the time")
    group.addoption("--soak-slice", type=int, metavar="N", default=1, help="run one in so many of these tests")
    group.addoption("--soak-minutes", type=float, metavar="M", help="start no test after so many minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    global _soak, _seed
    config.addinivalue_line("markers", "soak: run only by `make soak`")
    config.addinivalue_line("markers", "seeds(few, many): `seed` from 0 in `make test`, at random in `make soak`")
    _soak = config.option.soak
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    common: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": slow}
    find = [Phase.explicit, Phase.generate]
    settings.register_profile("test", max_examples=_examples or 30, derandomize=True, phases=find, **common)
    settings.register_profile(
        "soak",
        max_examples=_examples or 30 * FACTOR,
        # Making a failing example smaller can take five minutes: nothing for a run that has its time limited.
        phases=[*find, Phase.target] if config.option.soak_minutes else [*find, Phase.target, Phase.shrink],
        print_blob=True,
        **common,
    )
    if _soak:
        if config.option.soak_seed is None:
            config.option.soak_seed = int(time.time())  # the processes of xdist get it with the other options
        _seed = config.option.soak_seed
        config.option.hypothesis_seed = str(_seed)
    settings.load_profile("soak" if _soak or _examples else "test")


def pytest_report_header(config: pytest.Config) -> str | None:
    if not _soak:
        return None
    part = f", one test in {config.option.soak_slice}" if config.option.soak_slice > 1 else ""
    end = f", {config.option.soak_minutes:g} minutes" if config.option.soak_minutes else ""
    return f"soak: seed {_seed}{part}{end}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is not None:
        few, many = marker.args
        drawn = random.Random(_seed)
        metafunc.parametrize("seed", [drawn.randrange(10**6) for _ in range(many)] if _soak else range(few))


def _place(item: pytest.Item) -> int:
    """Where a test comes in the order of this seed. Not `hash`, which differs between processes."""
    return zlib.crc32(f"{_seed}:{item.nodeid}".encode())


def _is_of_soak(item: pytest.Item) -> bool:
    marked = item.get_closest_marker("soak") or item.get_closest_marker("seeds")
    return marked is not None or is_hypothesis_test(getattr(item, "obj", None))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _soak:
        chosen = [it for it in items if _is_of_soak(it) and _place(it) % config.option.soak_slice == 0]
        chosen.sort(key=_place)
        for item in chosen:
            item.add_marker(pytest.mark.timeout(TIMEOUT), append=False)
    else:
        chosen = [it for it in items if it.get_closest_marker("soak") is None]
        for item in chosen:
            if _examples and is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.timeout(TIMEOUT), append=False)
    left_out = set(items) - set(chosen)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = chosen


_begun: float | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global _begun
    _begun = time.monotonic() if _begun is None else _begun
    minutes = item.config.option.soak_minutes
    if minutes and time.monotonic() - _begun > 60 * minutes:
        pytest.skip(TIME_IS_UP)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _soak:
        return
    late = sum(TIME_IS_UP in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    if late:
        terminalreporter.write_line(f"soak: {late} tests were left out, {TIME_IS_UP}")
    failed = [*terminalreporter.stats.get("failed", ()), *terminalreporter.stats.get("error", ())]
    for name in dict.fromkeys(report.nodeid for report in failed):
        python = os.path.relpath(sys.executable)
        command = [python, "-m", "pytest", "--soak", "--soak-seed", str(_seed), name]
        terminalreporter.write_line(f"to run it again: {shlex.join(command)}")
    terminalreporter.write_line(f"soak: seed {_seed}; `make soak SEED={_seed}` runs all of it with this seed")
