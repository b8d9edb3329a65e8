"""Metrics in the text format of Prometheus."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..backend import MAX_PAGE
from ..backend.shapes import StatusName
from ..run.environment import machine_time
from ..stores import Store
from .streams import Streams
from .view import View

#: The upper bounds of the buckets for the duration of calls, in seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OPEN: tuple[StatusName, ...] = ("created", "running")


class Counters:
    """Counts calls by route and status, and their durations."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, int], int] = {}
        self.buckets: dict[str, list[int]] = {}
        self.seconds: dict[str, float] = {}

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one call. `route`: the name of its route, "" if there is none; `status` 0: it had no answer."""
        self.calls[route, status] = self.calls.get((route, status), 0) + 1
        counts = self.buckets.setdefault(route, [0] * (len(BUCKETS) + 1))
        counts[next((at for at, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))] += 1
        self.seconds[route] = self.seconds.get(route, 0.0) + seconds


async def metrics(
    view: View, flows: frozenset[str] | None, streams: Streams, counters: Counters, store: Store | None
) -> str:
    """The metrics for a caller who may see `flows` (None: all)."""
    lines: list[str] = []

    def family(name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, Any], float]]) -> None:
        lines.append(f"# HELP triggerflow_{name} {about}\n# TYPE triggerflow_{name} {kind}")
        lines.extend(f"triggerflow_{name}{_labels(labels)} {value:g}" for labels, value in samples)

    counts = await view.counts()
    family(
        "executions", "gauge", "Executions in the store, without sub-flows.",
        [({"flow": flow, "status": status}, it) for flow, by in sorted(counts.items()) for status, it in by.items()],
    )  # fmt: skip
    now = machine_time()
    names = sorted(counts if flows is None else set(counts) & flows)
    asked = {flow: await view.questions(flow=flow, limit=MAX_PAGE) for flow in names}
    family(
        "questions", "gauge", f"Open questions; {MAX_PAGE} may be more.",
        [({"flow": flow}, len(page.questions)) for flow, page in asked.items()],
    )  # fmt: skip
    family(
        "questions_oldest_seconds", "gauge", "How long the oldest open question has waited.",
        [({"flow": flow}, max(0.0, now - page.questions[0].since)) for flow, page in asked.items() if page.questions],
    )  # fmt: skip
    running = await view.executions(status=_OPEN, limit=MAX_PAGE)
    owned = sum(it.owned for it in running.executions)
    family(
        "running", "gauge", f"Executions that run or are to run, of the newest {MAX_PAGE}: with an owner, or without.",
        [({"owned": "true"}, owned), ({"owned": "false"}, len(running.executions) - owned)],
    )  # fmt: skip
    if store is not None:
        due = {flow: await store.next_due([flow]) for flow in names}
        family(
            "due_late_seconds", "gauge", "How late the timer is that is most overdue and that nobody has taken.",
            [({"flow": flow}, 0.0 if at is None else max(0.0, now - at)) for flow, at in due.items()],
        )  # fmt: skip
    family("streams", "gauge", "Open streams of this server.", [({}, len(streams.open))])
    lag = max((it.lag for it in streams.open), default=0)
    family("streams_lag", "gauge", "How many events the slowest of them is behind.", [({}, lag)])
    family(
        "http_requests_total", "counter", "Answered calls by route and status.",
        [({"route": route, "status": status}, it) for (route, status), it in sorted(counters.calls.items())],
    )  # fmt: skip
    lines.append("# HELP triggerflow_http_seconds Seconds per call.\n# TYPE triggerflow_http_seconds histogram")
    for route, buckets in sorted(counters.buckets.items()):
        total = 0
        for most, count in zip((*BUCKETS, "+Inf"), buckets, strict=True):
            total += count
            lines.append(f"triggerflow_http_seconds_bucket{_labels({'route': route, 'le': most})} {total}")
        lines.append(f"triggerflow_http_seconds_sum{_labels({'route': route})} {counters.seconds[route]:.6f}")
        lines.append(f"triggerflow_http_seconds_count{_labels({'route': route})} {total}")
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, Any]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
