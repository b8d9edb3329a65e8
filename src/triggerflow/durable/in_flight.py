"""What a snapshot holds of work in flight, seen against a definition: does it fit, and how is it moved over.

Everything here works on the dict that `_core.snapshot.encode` writes; see there for its shape.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._core.definition import Definition, OperatorKind
from .._core.signals import Trigger
from .._core.state import Phase

Found = list[tuple[str, str]]


def opened(snapshot: Mapping[str, Any]) -> set[str]:
    """The operators that have opened a block which is not closed yet."""
    return {opening["operator"] for opening in snapshot["openings"] if not opening["closed"]}


# -- does it fit -------------------------------------------------------------------------------------------------------


def misfits(
    snapshot: Mapping[str, Any], definition: Definition, *, moved: Iterable[str], undecided: Iterable[str] = ()
) -> Found:
    """Where saved data contradicts the operators of a definition, as (operator, what is wrong).

    `moved` are operators that stand at another place than when the snapshot was made, `undecided` those for which a map
    has to say what takes their place.
    """
    first = _first(definition)
    return [
        *_branches(snapshot, definition, first),
        *_positions(snapshot, definition, first),
        *_scopes(snapshot, definition, set(moved), set(undecided)),
        *_joins(snapshot, definition),
    ]


def _first(definition: Definition) -> dict[str, list[str]]:
    """What listens to the opener of a block, in order: the branches of a batch, the cases of a match."""
    kinds = (OperatorKind.BATCH_FANOUT, OperatorKind.MATCH_ROUTE)
    found: dict[Trigger, list[str]] = {it.emits[0]: [] for it in definition.operators if it.kind in kinds}
    for operator in definition.operators:
        for trigger in operator.listens:
            if trigger in found:
                found[trigger].append(operator.id)
    return {it.id: found[it.emits[0]] for it in definition.operators if it.kind in kinds}


def _branches(
    snapshot: Mapping[str, Any], definition: Definition, first: Mapping[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """An open batch has as many slots as it has branches."""
    for opening in snapshot["openings"]:
        operator = definition.by_id.get(opening["operator"])
        if operator is not None and operator.kind is OperatorKind.BATCH_FANOUT and not opening["closed"]:
            now, then = len(first[operator.id]), len(opening["slots"])
            if now != then:
                yield operator.id, f"has {now} branches, and {then} were started"


def _positions(
    snapshot: Mapping[str, Any], definition: Definition, first: Mapping[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """A branch of a batch, and a case that is being asked, stand at the place where they stood."""
    openings = {opening["id"]: opening["operator"] for opening in snapshot["openings"]}
    for run in snapshot["runs"]:
        if run["scope"] is None:
            continue
        id, (opening, then) = run["operator"], run["scope"]
        places = first.get(openings[opening], [])
        if id in places and places.index(id) != then:
            now = places.index(id) + 1
            yield id, f"is number {now} in {openings[opening]!r}, and was number {then + 1} when it started"


def _scopes(
    snapshot: Mapping[str, Any], definition: Definition, moved: set[str], undecided: set[str]
) -> Iterator[tuple[str, str]]:
    """What was moved stands in the block in which it runs: else that block would wait for it for ever."""
    openings = {opening["id"]: opening["operator"] for opening in snapshot["openings"]}
    places = [(run["operator"], run["scope"]) for run in snapshot["runs"]]
    places += [(opening["operator"], opening["outer"]) for opening in snapshot["openings"]]
    for id, scope in places:
        operator = definition.by_id.get(id)
        block = openings[scope[0]] if scope else None
        if operator is not None and id in moved and operator.inside != block and block not in undecided:
            yield id, f"stands in {operator.inside or 'no block'!r}, and runs in {block or 'no block'!r}"


def _joins(snapshot: Mapping[str, Any], definition: Definition) -> Iterator[tuple[str, str]]:
    """What is held for a join is still waited for."""
    for join, *_, slots in snapshot["joins"]:
        gate = definition.by_id.get(join)
        if gate is not None and gate.kind is OperatorKind.GATE:
            wanted: set[Any] = (
                {(it.kind, it.name) for it in gate.listens} if gate.options.get("mode") == "and" else set()
            )
            foreign = [":".join(slot) for slot, _ in slots if tuple(slot) not in wanted]
        elif join.startswith("collect:"):
            collects = [it for it in definition.operators if it.kind is OperatorKind.COLLECT]
            wanted = {branch for it in collects if f"collect:{it.name}" == join for branch in it.options["branches"]}
            foreign = [slot for slot, _ in slots if slot not in wanted]
        else:
            continue
        if foreign:
            yield join, f"holds a value of {foreign[0]!r}, for which it does not wait any more"


# -- moving it over ----------------------------------------------------------------------------------------------------


def renamed(snapshot: Mapping[str, Any], definition: Definition, mapping: Mapping[str, str]) -> dict[str, Any]:
    """The snapshot with operators under their new ids, without answered interrupts of operators that are gone."""

    def moved(part: Mapping[str, Any]) -> dict[str, Any]:
        return {**part, "operator": mapping.get(part["operator"], part["operator"])}

    gates = {old: new for old, new in mapping.items() if definition.by_id[new].kind is OperatorKind.GATE}
    interrupts: list[dict[str, Any]] = []
    for interrupt in snapshot["interrupts"]:
        run = interrupt["run"]
        run = moved(run) if isinstance(run, Mapping) else run  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(run, int) or run["operator"] in definition.by_id:
            interrupts.append({**interrupt, "run": run})
    return {
        **snapshot,
        "runs": [moved(run) for run in snapshot["runs"]],
        "retracted": [moved(run) for run in snapshot["retracted"]],
        "openings": [moved(opening) for opening in snapshot["openings"]],
        "joins": [[gates.get(join, join), *rest] for join, *rest in snapshot["joins"]],
        "interrupts": interrupts,
    }


def with_limits_of(snapshot: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """The snapshot with the concurrency limits of a definition.

    Who has a place keeps it, also above a lower limit. Who queued queues for the first limiter that is full now, in the
    order in which the runs began; where none is, the run counts as begun, and the load issues it. (A waiting emitter is
    in no queue: the load makes it run again; what runs in a sub-flow asks anew.) The execution's own limit stays.
    """
    limits = _Limits(snapshot, definition)
    retracted = [limits.placed(run) for run in snapshot["retracted"]]
    placed = {
        run["id"]: limits.placed(run) for run in sorted(snapshot["runs"], key=lambda run: run["phase"] != Phase.RUNNING)
    }
    for interrupt in snapshot["interrupts"]:  # a run that has asked holds no permit, but is loaded with its limiters
        if isinstance(interrupt["run"], Mapping):
            list(limits.above(interrupt["run"]))
    return {
        **snapshot,
        "runs": [placed[run["id"]] for run in snapshot["runs"]],
        "retracted": retracted,
        "limiter": limits.whole,
        "guests": [],
        "chunk_limiters": limits.chunks,
        "openings": [{**it, "limiter": limits.blocks.get(it["id"])} for it in snapshot["openings"]],
    }


class _Limits:
    """All limiters, empty at first; runs are placed into them one after another, those that run first."""

    def __init__(self, snapshot: Mapping[str, Any], definition: Definition) -> None:
        self.definition = definition
        self.openings: dict[int, Mapping[str, Any]] = {it["id"]: it for it in snapshot["openings"]}
        self.whole = _limiter(snapshot["limiter"]["limit"]) if snapshot["limiter"] else None
        self.chunks: dict[str, dict[str, Any]] = {}
        self.blocks: dict[int, dict[str, Any]] = {}
        for id, opening in self.openings.items():
            limit = definition.by_id[opening["operator"]].options.get("concurrency")
            if limit is not None:
                self.blocks[id] = _limiter(limit)

    def placed(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The run with the phase that follows from the limits."""
        run = dict(run)
        limiters = list(self.above(run))
        if run["phase"] == Phase.READY:
            full = next((limiter for limiter in limiters if limiter["used"] >= limiter["limit"]), None)
            if full is not None:
                full["queue"].append(run["id"])
                return run
            # A load counts every run that it issues as one more attempt, and this one has made none yet.
            run["phase"], run["attempt"] = Phase.RUNNING.value, run["attempt"] - 1
        if run["phase"] == Phase.RUNNING:
            for limiter in limiters:
                limiter["used"] += 1
        return run

    def above(self, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The limiters that a run has to respect, from the inside out."""
        operator = self.definition.by_id[run["operator"]]
        if operator.kind is OperatorKind.SUB_FLOW:
            return
        limit = operator.options.get("concurrency")
        if limit is not None:
            yield self.chunks.setdefault(operator.emits[0].name, _limiter(limit))
        scope = run["scope"]
        while scope is not None:
            opening = self.openings[scope[0]]
            if opening["id"] in self.blocks:
                yield self.blocks[opening["id"]]
            scope = opening["outer"]
        if self.whole is not None:
            yield self.whole


def _limiter(limit: int) -> dict[str, Any]:
    return {"limit": limit, "used": 0, "queue": list[int]()}
