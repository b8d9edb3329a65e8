"""Metrics: counters and histograms out of frames, and gauges that are read from the backend from time to time."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Observation

from ..backend import MAX_PAGE, Backend
from ..drivers.asyncio import REAL
from ..errors import TriggerFlowError
from . import names
from .projection import Attributes
from .projection import Observation as Counted

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

#: How many open executions are read at most to find overdue timers.
MOST = 20 * MAX_PAGE
#: The bucket bounds of the histograms, in seconds. Calls of models take seconds to minutes, waits take longer.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

Gauges = dict[str, list[tuple[float, Attributes]]]


class Metrics:
    """The instruments of one meter, and the values of the gauges when they were last read."""

    def __init__(self, provider: "MeterProvider") -> None:
        meter = provider.get_meter("triggerflow", "1")
        self._counters = {
            names.STARTED: meter.create_counter(names.STARTED, "{execution}", "Executions that have started"),
            names.ENDED: meter.create_counter(names.ENDED, "{execution}", "Executions that have ended, by status"),
        }
        self._histograms = {
            name: meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=SECONDS)
            for name, text in (
                (names.CHUNK_SECONDS, "How long attempts of chunks took, by outcome"),
                (names.QUEUE_SECONDS, "How long runs have waited for a permit or a process"),
                (names.LATENESS, "How late delayed signals and retries were"),
            )
        }
        self._gauges: Gauges = {}
        for name, unit, text in (
            (names.EXECUTIONS, "{execution}", "Executions in the store, by flow and status"),
            (names.QUESTIONS, "{question}", "Open questions, by flow"),
            (names.OLDEST_QUESTION, "s", "Age of the oldest open question, by flow"),
            (names.OVERDUE, "s", "For how long the oldest due timer that has not fired is due; 0 if none is"),
        ):
            meter.create_observable_gauge(name, [self._observer(name)], unit, text)

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, attributes) for value, attributes in self._gauges.get(name, ())]

        return observe

    def count(self, counted: Sequence[Counted]) -> None:
        """Add these observations to the counters and histograms."""
        for it in counted:
            if it.metric in self._counters:
                self._counters[it.metric].add(int(it.value), it.attributes)
            else:
                self._histograms[it.metric].record(it.value, it.attributes)

    async def look(self, backend: Backend) -> None:
        """Read the gauges. If the backend cannot be read they keep their values."""
        with suppress(TriggerFlowError):
            self._gauges |= await open_now(backend, REAL.now())


async def open_now(backend: Backend, now: float) -> Gauges:
    """The values of the gauges at this time. Raises `StoreError`."""
    executions = [
        (float(count), _of(flow, status=status))
        for flow, counts in (await backend.counts()).items()
        for status, count in counts.items()
    ]
    oldest: dict[str, float] = {}
    number: dict[str, int] = {}
    after: str | None = None
    while True:
        page = await backend.questions(after=after, limit=MAX_PAGE)
        for asked in page.questions:
            number[asked.flow] = number.get(asked.flow, 0) + 1
            oldest[asked.flow] = max(oldest.get(asked.flow, 0.0), now - asked.since)
        after = page.next
        if after is None:
            break
    return {
        names.EXECUTIONS: executions,
        names.QUESTIONS: [(float(it), _of(flow)) for flow, it in number.items()],
        names.OLDEST_QUESTION: [(age, _of(flow)) for flow, age in oldest.items()],
        names.OVERDUE: [(it, _of(flow)) for flow, it in (await _overdue(backend, now)).items()],
    }


async def _overdue(backend: Backend, now: float) -> dict[str, float]:
    late: dict[str, float] = {}
    after, seen = None, 0
    while seen < MOST:
        page = await backend.executions(status=("running", "waiting"), after=after, limit=MAX_PAGE)
        seen += len(page.executions)
        for info in page.executions:
            since = 0.0 if info.due is None else max(0.0, now - info.due)
            late[info.flow] = max(late.get(info.flow, 0.0), since)
        after = page.next
        if after is None:
            break
    return late


def _of(flow: str, **attributes: str) -> Attributes:
    return {names.WORKFLOW_NAME: flow, **{f"triggerflow.{key}": text for key, text in attributes.items()}}
