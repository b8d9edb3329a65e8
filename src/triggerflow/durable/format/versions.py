"""Migration of snapshots: whether an execution that was saved under one definition can continue under another.

Only operators to which the saved state refers matter: those *in use*. The steps:

1. `inspect` (or `compare`, by ids and fingerprints only) returns a verdict: compatible, needs a map, or refused.
2. For "needs a map", a developer who knows both versions fills the form: which operator replaces which.
3. `apply_map` rewrites the snapshot for the new definition. A compatible snapshot is rewritten without a map.

Decision 0007 gives the reasons for these rules. A snapshot is what `_core.snapshot.encode` writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from ..._core.definition import Definition, Operator, OperatorKind, completed_by
from ..._core.errors import SnapshotError, without_values
from ..._core.signals import Trigger
from ..._core.state import Phase
from ...build.arguments import closest

Change = Literal["gone", "kind", "wiring", "details", "state"]
Found = list[tuple[str, str]]


class Reason(msgspec.Struct, frozen=True):
    """One reason of a verdict: the operator, what has changed, a text, and a hint what to do.

    `change`: "gone"; "kind"; "wiring" is the position in the graph and the signals of a join; "details" is everything
    else (handler, policies, predecessors); "state" means that saved data does not fit the operator of today.
    """

    operator: str
    change: Change
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.operator!r} {self.text}" + (f"; {self.hint}" if self.hint else "")


class Verdict(msgspec.Struct, frozen=True):
    """Whether saved state fits a definition. For "needs_map", `map_form` is the form to fill in.

    The form has the id of every operator in use that is gone or has other wiring, with the id of a proposed
    replacement, or None without a proposal. It also has each trigger that an open interrupt, a delayed signal or a
    `when({"timer": ...})` will fire and that no operator listens to any more, such as `"event:approved"`, with the
    trigger to fire instead. Filled in, the form is the `operator_map`.
    """

    kind: Literal["compatible", "needs_map", "refused"]
    reasons: tuple[Reason, ...] = ()
    map_form: Mapping[str, str | None] = {}


# -- the verdict -------------------------------------------------------------------------------------------------------


def in_use(snapshot: Mapping[str, Any]) -> frozenset[str]:
    """The operators to which the saved state refers: in runs, block instances, half-filled joins, open interrupts."""
    saved: Mapping[str, str] = snapshot["operators"]
    asked = [it["run"] for it in snapshot["interrupts"] if it["status"] == "waiting"]
    active = [*snapshot["runs"], *snapshot["retracted"], *snapshot["openings"]]
    active += [run for run in asked if not isinstance(run, int)]
    joins = [join for join, *_ in snapshot["joins"] if saved.get(join, "").startswith(OperatorKind.GATE.value)]
    return frozenset([*(part["operator"] for part in active), *joins])


def compare(saved_operators: Mapping[str, str], definition: Definition, in_use: Iterable[str]) -> Verdict:
    """The verdict by ids and fingerprints. Operators that are not in use may be added, removed and changed freely.

    Raises `SnapshotError` if an operator in use is not among the saved ones, or a fingerprint cannot be read.
    """
    reasons: list[Reason] = []
    form: dict[str, str | None] = {}
    refused = False
    for id in sorted(in_use):
        if id not in saved_operators:
            raise SnapshotError(f"the snapshot uses operator {id!r} and does not list it among its operators")
        saved = _parts(saved_operators[id])
        operator = definition.by_id.get(id)
        if operator is None:
            candidates = [it for it in definition.operators if it.kind.value == saved[0]]
            refused = refused or not candidates
            if candidates:
                form[id] = _proposal(id, saved, [it for it in candidates if it.id not in saved_operators])
            reasons.append(_gone(id, saved[0], bool(candidates), form.get(id)))
            continue
        kind, wiring, details = _parts(operator.fingerprint)
        if kind != saved[0]:
            refused = True
            text = f"was a {saved[0]} and is now a {kind}"
            reasons.append(Reason(id, "kind", text, "give the new operator another name, and keep or map the old one"))
        elif wiring != saved[1]:
            form[id] = id
            hint = "if its saved runs can continue at the new position, confirm that in the map"
            reasons.append(Reason(id, "wiring", "has another position in the graph, or joins other signals", hint))
        elif details != saved[2]:
            reasons.append(Reason(id, "details", "has another handler, option or predecessor"))
    return Verdict("refused" if refused else "needs_map" if form else "compatible", tuple(reasons), form)


def inspect(snapshot: Mapping[str, Any], definition: Definition) -> Verdict:
    """The verdict on a snapshot: `compare` for the operators in use, and whether the saved data fits the definition."""
    try:
        used = in_use(snapshot)
        saved: Mapping[str, str] = snapshot["operators"]
        ends = {it.id for it in definition.operators if it.group in _opened(snapshot) and it.id in saved}
        verdict = _with_unheard(compare(saved, definition, used | ends), snapshot, definition)
        found = _misfits(snapshot, definition, moved=verdict.map_form, undecided=verdict.map_form)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, SnapshotError):
            raise
        raise SnapshotError(f"the snapshot is damaged: {without_values(error)}") from None
    if not found:
        return verdict
    hint = "finish this execution under the version that it was saved by, or cancel it"
    more = tuple(Reason(operator, "state", text, hint) for operator, text in found)
    return Verdict("refused", (*verdict.reasons, *more))


def _listened(definition: Definition) -> set[str]:
    """The keys of all triggers to which an operator listens."""
    return {trigger.key for operator in definition.operators for trigger in operator.listens}


def _with_unheard(verdict: Verdict, snapshot: Mapping[str, Any], definition: Definition) -> Verdict:
    """Add to a verdict what the saved state will fire, and no operator listens to any more."""
    listened = _listened(definition)
    unheard = [key for key in snapshot.get("heard", ()) if key not in listened]
    if not unheard:
        return verdict
    form, reasons, refused = dict(verdict.map_form), list(verdict.reasons), verdict.kind == "refused"
    for key in unheard:
        kind = key.partition(":")[0]
        others = sorted(it for it in listened if it.startswith(f"{kind}:"))
        near = closest(key, others, 1)
        text = "will be fired by an open interrupt or a timer, and no operator listens to it any more"
        if others:
            form[key] = near[0] if near else others[0] if len(others) == 1 else None
            hint = f"likely {form[key]!r} replaces it" if form[key] else "name the trigger that replaces it in the map"
        else:
            refused, hint = True, f"keep a when() for this {kind} until these executions have ended"
        reasons.append(Reason(key, "gone", text, hint))
    return Verdict("refused" if refused else "needs_map", tuple(reasons), form)


def _parts(text: str) -> tuple[str, str, str]:
    kind, _, rest = text.partition(".")
    wiring, _, details = rest.partition(".")
    if not details:
        raise SnapshotError(f"{text!r} is no fingerprint of an operator; it looks like kind.wiring.details")
    return kind, wiring, details


def _gone(id: str, kind: str, has_candidates: bool, proposal: str | None) -> Reason:
    if not has_candidates:
        return Reason(id, "gone", f"is gone, and there is no {kind} that could replace it",
                      "finish this execution under the version that it was saved by, or cancel it")  # fmt: skip
    hint = f"likely {proposal!r} replaces it" if proposal else f"name the {kind} that replaces it in the map"
    return Reason(id, "gone", "is gone, and the saved state uses it", hint)


def _proposal(id: str, saved: tuple[str, str, str], candidates: list[Operator]) -> str | None:
    """A replacement of that kind: the one with the same details, else the only one, else one with a similar name."""
    alike = [it.id for it in candidates if saved[2] == _parts(it.fingerprint)[2]]
    for only in (alike, [it.id for it in candidates]):
        if len(only) == 1:
            return only[0]
    near = closest(id, [it.id for it in candidates], 1)
    return near[0] if near else None


# -- the map -----------------------------------------------------------------------------------------------------------


def apply_map(
    snapshot: Mapping[str, Any], definition: Definition, mapping: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """Rewrite a snapshot for a definition. The argument does not change.

    `mapping` is the filled form: old id to new id. The new snapshot has the concurrency limits of the definition, and
    lacks answered interrupts of operators that are gone. Raises `SnapshotError` if the verdict is "refused", if
    the map does not fill the form, or if the saved data does not fit the operators that it names.
    """
    verdict = inspect(snapshot, definition)
    if verdict.kind == "refused":
        raise SnapshotError("this execution cannot continue under this definition: " + _listed(verdict))
    chosen = {old: new for old, new in (mapping or {}).items() if new is not None}
    _check_form(chosen, verdict)
    triggers = {old: chosen.pop(old) for old in snapshot.get("heard", ()) if old in chosen}
    _check_triggers(triggers, definition)
    _check_map(snapshot, definition, chosen)
    moved = _fired(_renamed(snapshot, definition, chosen), triggers)
    found = _misfits(moved, definition, moved=chosen.values())
    if found:
        texts = "; ".join(f"{operator!r} {text}" for operator, text in found)
        raise SnapshotError(f"operator_map does not fit the saved state: {texts}")
    return {
        **_with_limits_of(moved, definition),
        "definition": definition.fingerprint,
        "operators": dict(definition.fingerprints),
    }


def _check_form(chosen: Mapping[str, str], verdict: Verdict) -> None:
    empty = [old for old in verdict.map_form if old not in chosen]
    if empty:
        raise SnapshotError(
            f"operator_map lacks {empty}: {_listed(verdict)}; fill in this form: {dict(verdict.map_form)}"
        )
    foreign = [old for old in chosen if old not in verdict.map_form]
    if foreign:
        raise SnapshotError(f"operator_map names {foreign}, which need no map; the form is {dict(verdict.map_form)}")


def _check_triggers(chosen: Mapping[str, str], definition: Definition) -> None:
    listened = _listened(definition)
    for old, new in chosen.items():
        kind = old.partition(":")[0]
        others = [it for it in listened if it.startswith(f"{kind}:")]
        if new not in others:
            near = closest(new, others)
            raise SnapshotError(f"operator_map replaces {old!r} by {new!r}, to which no operator listens; near: {near}")


def _check_map(snapshot: Mapping[str, Any], definition: Definition, chosen: Mapping[str, str]) -> None:
    kinds = {old: _parts(snapshot["operators"][old])[0] for old in chosen}
    for old, new in chosen.items():
        target = definition.by_id.get(new)
        if target is None or target.kind.value != kinds[old]:
            what = "which this definition does not have" if target is None else f"which is a {target.kind.value}"
            near = closest(new, [it.id for it in definition.operators if it.kind.value == kinds[old]])
            raise SnapshotError(f"operator_map replaces {old!r}, a {kinds[old]}, by {new!r}, {what}; near: {near}")
    taken = [*chosen.values(), *(id for id in in_use(snapshot) if id not in chosen)]
    twice = sorted({new for new in taken if taken.count(new) > 1})
    if twice:
        raise SnapshotError(
            f"under operator_map, two operators would become {twice[0]!r}; map each to a different operator"
        )


def _listed(verdict: Verdict) -> str:
    return ". ".join(str(reason) for reason in verdict.reasons if reason.change != "details")


# -- does the saved data fit -------------------------------------------------------------------------------------------


def _misfits(
    snapshot: Mapping[str, Any], definition: Definition, *, moved: Iterable[str], undecided: Iterable[str] = ()
) -> Found:
    """Where saved data contradicts the operators of a definition, as (operator, text).

    `moved` are operators with another position than when the snapshot was made; `undecided` are those for which a map
    has to name the replacement.
    """
    first = _first_operators(definition)
    return [
        *_branches(snapshot, definition, first),
        *_positions(snapshot, definition, first),
        *_scopes(snapshot, definition, set(moved), set(undecided)),
        *_joins(snapshot, definition),
    ]


def _first_operators(definition: Definition) -> dict[str, list[str]]:
    """The first operators inside each batch and match, in order: of its branches or cases."""
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
    """Check that an open batch has as many branches now as were started."""
    for instance in snapshot["openings"]:
        operator = definition.by_id.get(instance["operator"])
        if operator is not None and operator.kind is OperatorKind.BATCH_FANOUT and not instance["closed"]:
            now, then = len(first[operator.id]), len(instance["slots"])
            if now != then:
                yield operator.id, f"has {now} branches now, but {then} were started"


def _positions(
    snapshot: Mapping[str, Any], definition: Definition, first: Mapping[str, list[str]]
) -> Iterator[tuple[str, str]]:
    """Check that a running branch of a batch, or case of a match, has the same index as when it started."""
    blocks = {instance["id"]: instance["operator"] for instance in snapshot["openings"]}
    for run in snapshot["runs"]:
        if run["scope"] is None:
            continue
        id, (instance, then) = run["operator"], run["scope"]
        places = first.get(blocks[instance], [])
        if id in places and places.index(id) != then:
            now = places.index(id) + 1
            yield id, f"is number {now} in {blocks[instance]!r} now, but was number {then + 1} when it started"


def _scopes(
    snapshot: Mapping[str, Any], definition: Definition, moved: set[str], undecided: set[str]
) -> Iterator[tuple[str, str]]:
    """Check that a moved operator is inside the block in which it runs: else that block would never end."""
    blocks = {instance["id"]: instance["operator"] for instance in snapshot["openings"]}
    places = [(run["operator"], run["scope"]) for run in snapshot["runs"]]
    places += [(instance["operator"], instance["outer"]) for instance in snapshot["openings"]]
    for id, scope in places:
        operator = definition.by_id.get(id)
        block = blocks[scope[0]] if scope else None
        if operator is not None and id in moved and operator.inside != block and block not in undecided:
            yield id, f"is inside {operator.inside or 'no block'!r}, but runs in {block or 'no block'!r}"


def _joins(snapshot: Mapping[str, Any], definition: Definition) -> Iterator[tuple[str, str]]:
    """Check that the definition has an input, in the same join, for every value that has already come to a join."""
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
            yield join, f"holds a value of {foreign[0]!r}, but does not wait for it under this definition"


def _opened(snapshot: Mapping[str, Any]) -> set[str]:
    """The operators that have an open block instance."""
    return {instance["operator"] for instance in snapshot["openings"] if not instance["closed"]}


# -- rewriting the snapshot --------------------------------------------------------------------------------------------


def _renamed(snapshot: Mapping[str, Any], definition: Definition, mapping: Mapping[str, str]) -> dict[str, Any]:
    """The snapshot with operators under their new ids. Answered interrupts of operators that are gone are dropped."""

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
        "openings": [moved(instance) for instance in snapshot["openings"]],
        "joins": [[gates.get(join, join), *rest] for join, *rest in snapshot["joins"]],
        "interrupts": interrupts,
    }


def _fired(snapshot: Mapping[str, Any], triggers: Mapping[str, str]) -> Mapping[str, Any]:
    """The snapshot in which interrupts and timers fire other triggers, given by their keys."""
    if not triggers:
        return snapshot
    names = {old: new.partition(":")[2] for old, new in triggers.items()}

    def fires(timer: Mapping[str, Any]) -> str:
        kind = "timer" if timer["what"] == "deadline" else "event" if timer["what"] == "signal" else ""
        return str(names.get(f"{kind}:{timer['name']}", timer["name"]))

    return {
        **snapshot,
        "interrupts": [
            {**it, "resume_event": names.get(f"event:{it['resume_event']}", it["resume_event"])}
            if it["status"] == "waiting"
            else it
            for it in snapshot["interrupts"]
        ],
        "timers": [{**it, "name": fires(it)} for it in snapshot["timers"]],
        "heard": sorted({triggers.get(key, key) for key in snapshot["heard"]}),
    }


def _with_limits_of(snapshot: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """The snapshot with the concurrency limits of a definition.

    A run that has a permit keeps it, even above a lower limit. A run that waits for a permit is queued at the first
    limiter that is full now, in the order in which the runs began; if none is full, it is marked as running, and starts
    when the snapshot is loaded. (An emitter that waits is in no queue: it runs again when the snapshot is loaded. Runs
    in a sub-flow request their permits again.)
    The limit of the execution itself does not change.
    """
    limits = _Limits(snapshot, definition)
    retracted = [limits.admitted(run) for run in snapshot["retracted"]]
    admitted = {
        run["id"]: limits.admitted(run)
        for run in sorted(snapshot["runs"], key=lambda run: run["phase"] != Phase.RUNNING)
    }
    for interrupt in snapshot["interrupts"]:  # a run with an interrupt has no permit, but needs its limiters
        if isinstance(interrupt["run"], Mapping):
            list(limits.limiters_of(interrupt["run"]))
    return {
        **snapshot,
        "runs": [admitted[run["id"]] for run in snapshot["runs"]],
        "retracted": retracted,
        "limiter": limits.whole,
        "guests": [],
        "chunk_limiters": limits.chunks,
        "openings": [{**it, "limiter": limits.blocks.get(it["id"])} for it in snapshot["openings"]],
    }


class _Limits:
    """All limiters of the new definition. They are empty at first; then the runs are admitted one by one."""

    def __init__(self, snapshot: Mapping[str, Any], definition: Definition) -> None:
        self.definition = definition
        self.openings: dict[int, Mapping[str, Any]] = {it["id"]: it for it in snapshot["openings"]}
        self.whole = _limiter(snapshot["limiter"]["limit"]) if snapshot["limiter"] else None
        self.chunks: dict[str, dict[str, Any]] = {}
        self.blocks: dict[int, dict[str, Any]] = {}
        for id, instance in self.openings.items():
            limit = definition.by_id[instance["operator"]].options.get("concurrency")
            if limit is not None:
                self.blocks[id] = _limiter(limit)

    def admitted(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Give the run a permit of each of its limiters, or queue it at the first full one; return it with its new
        phase."""
        run = dict(run)
        limiters = list(self.limiters_of(run))
        if run["phase"] == Phase.READY:
            full = next((limiter for limiter in limiters if limiter["used"] >= limiter["limit"]), None)
            if full is not None:
                full["queue"].append(run["id"])
                return run
            # Loading adds an attempt to every run that it starts. This run has made none yet, so subtract one.
            count, losses, lost_alone, *_ = run.get("interruptions", (0, 0, 0))
            run["phase"], run["attempt"] = Phase.RUNNING.value, run["attempt"] - 1
            run["interruptions"] = [count - 1, losses, lost_alone, True, False]
        if run["phase"] == Phase.RUNNING:
            for limiter in limiters:
                limiter["used"] += 1
        return run

    def limiters_of(self, run: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The limiters from which a run needs a permit, from the inside out."""
        operator = self.definition.by_id[run["operator"]]
        if operator.kind is OperatorKind.SUB_FLOW:
            return
        limit = operator.options.get("concurrency")
        if limit is not None:
            yield self.chunks.setdefault(completed_by(operator).name, _limiter(limit))
        scope = run["scope"]
        while scope is not None:
            instance = self.openings[scope[0]]
            if instance["id"] in self.blocks:
                yield self.blocks[instance["id"]]
            scope = instance["outer"]
        if self.whole is not None:
            yield self.whole


def _limiter(limit: int) -> dict[str, Any]:
    return {"limit": limit, "used": 0, "queue": list[int]()}
