"""The fluent interface of a flow: each call adds operators to the blueprint and returns the chain behind them.

A `Chain` never changes, so that several chains can continue from the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Never, Unpack

import msgspec

from .._core.definition import OperatorKind
from .._core.errors import DefinitionError, NotAChunkError, OptionError
from .._core.signals import PUBLIC_KIND, START, Trigger
from .arguments import check_names, failures, flag, positive, text
from .blueprint import Blueprint, describe, literal
from .chunk import OPTIONS, UNSET, Chunk
from .former_names import CHAIN, refuse
from .subflow import SubFlow, SubFlowOptions, is_flow

WhenMode = Literal["and", "or", "simple_or"]
MatchMode = Literal["hit_first", "hit_all"]
CollectMode = Literal["filled_and_update", "filled_then_empty"]
OnError = Literal["raise", "collect"]


class Block(msgspec.Struct, frozen=True):
    """A block that a chain has opened and not closed: a for_each or a match.

    For a match, `ends` are the triggers at the ends of its finished cases, `in_case` says whether the chain is inside a
    case, and `otherwise` whether that is `case_else`.
    """

    opener: str
    kind: OperatorKind
    ends: tuple[Trigger, ...] = ()
    in_case: bool = False
    otherwise: bool = False


#: The place of a chain that has gone back. Nothing fires it.
GONE = Trigger("operator", "")


class Chain:
    """A place in a flow where steps can be added. `flow.to(...)`, `flow.when(...)` and every step return one.

    The next step runs when the trigger `at` fires. `blocks` are the open blocks around it, outermost first.
    """

    __slots__ = ("at", "blocks", "blueprint")

    def __init__(self, blueprint: Blueprint, at: Trigger, blocks: tuple[Block, ...] = ()) -> None:
        self.blueprint = blueprint
        self.at = at
        self.blocks = blocks

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            refuse(self, name, CHAIN)

    def _then(self, at: Trigger, blocks: tuple[Block, ...] | None = None) -> Chain:
        return type(self)(self.blueprint, at, self.blocks if blocks is None else blocks)

    def _add(self, kind: OperatorKind, label: str, listens: Iterable[Trigger] | None = None, **details: Any) -> Trigger:
        inside = self.blocks[-1].opener if self.blocks else None
        heard = (self.at,) if listens is None else listens
        details.setdefault("inside", inside)
        return self.blueprint.add(kind, label, heard, **details)

    def _where(self, call: str) -> str:
        return f"flow {self.blueprint.name!r}: {call}"

    def to(self, chunk: Any, side_branch: bool = False, name: str | None = None, **unknown: Never) -> Chain:
        """Run a chunk with the value of the chain; continue with what the chunk returns.

        `chunk` is the result of `@flow.chunk`, a function, the name of a chunk, `(name, function)`, or a flow, which is
        run as by `to_sub_flow`. With `side_branch` the chain continues with its own value, without waiting.
        Raises `UnknownChunkError`, `NotAChunkError` or `DefinitionError`.
        """
        self._check_open("to()")
        check_names(unknown, ("side_branch", "name"), self._where("to()"), OPTIONS)
        flag(side_branch, self._where("to()"), "side_branch")
        if is_flow(chunk):
            return self.to_sub_flow(chunk, side_branch=side_branch, name=name)
        reference = (text(name), chunk) if name is not None else chunk
        inside = self.blocks[-1].opener if self.blocks else None
        done = self.blueprint.attach(reference, self.at, side_branch=side_branch, inside=inside)
        return self if side_branch else self._then(done)

    def back_to(self, chunk: Any) -> Chain:
        """Go back: run a chunk of another place in the flow again, with the value of the chain.

        What follows the chunk there follows again; nothing can follow here. Use it at the end of a chain
        (`flow.when("again").back_to(count)`) or of a case, which leaves the match without a value. `chunk` is the
        chunk, its function or its name; it may be wired later. A chain that begins with `when` and ends
        with `to(chunk)`, outside of blocks, goes back too, if the chunk has steps behind it in one other chain.
        Raises `DefinitionError`, when an execution is created, if the chunk is wired nowhere or in several places, if
        it is inside a block that does not contain this step, or if the loop could never end.
        """
        self._check_open("back_to()")
        blueprint = self.blueprint
        name = blueprint.name_of(chunk)
        self._add(OperatorKind.GO_BACK, f"back_to:{name}<-{describe((self.at,))}", options={"to": name})
        return self._then(GONE)

    def side_branch(self, chunk: Any, *, name: str | None = None, **unknown: Never) -> Chain:
        """Run a chunk with the value of the chain, and continue at once with that same value."""
        check_names(unknown, ("name",), self._where("side_branch()"), OPTIONS)
        return self.to(chunk, side_branch=True, name=name)

    def when(self, trigger_or_triggers: Any, *, mode: WhenMode = "and", **unknown: Never) -> Chain:
        """Begin a new chain at one or several signals. The new chain is outside all blocks.

        `trigger_or_triggers` is the name of an event, a chunk, a list of these, or a dict from a kind to one or
        several names. The kinds are `event`, `chunk`, `runtime_data`, `flow_data`, `collect`, `error` (names of chunks,
        or "*") and `timer` (seconds after the start). A single trigger gives the chain its value. With several, `mode`
        decides: "and" waits for one signal of each and gives `{kind: {name: value}}`, chunks under the kind "event";
        "or" gives `(kind, name, value)` for every signal, and "simple_or" only the value. "and" combines signals of
        for_each items per item.
        Raises `UnknownChunkError`, `NotAChunkError` or `DefinitionError`.
        """
        blueprint = self.blueprint
        check_names(unknown, ("mode",), self._where("when()"))
        if mode not in ("and", "or", "simple_or"):
            raise DefinitionError(
                f"flow {blueprint.name!r}: when() has the modes 'and', 'or', 'simple_or', not {mode!r}"
            )
        triggers = blueprint.triggers(trigger_or_triggers)
        if mode == "and":
            self._check_keys(triggers)
        joiner = "&" if mode == "and" else "|"
        label = f"when:{describe(triggers).replace('&', joiner)}"
        options = {"mode": mode if len(triggers) > 1 else "simple_or"}
        return self._then(blueprint.add(OperatorKind.GATE, label, triggers, options=options), ())

    def batch(
        self,
        *chunks: Any,
        side_branch: bool = False,
        concurrency: int | None = None,
        on_error: OnError = "raise",
        **unknown: Never,
    ) -> Chain:
        """Run several chunks with the same value; continue with `{chunk name: result}`, in the order of the arguments.

        The chain continues when all chunks have completed. `concurrency` limits how many of them run at once for one
        value (default: no limit). With `side_branch` the chain continues at once with its own value. If a chunk fails
        and an error route or `skip_exceptions` takes the failure, the chain does not continue. With
        `on_error="collect"` it continues with a `Failure` in the place of the result. Raises `DefinitionError` without
        chunks, or if two chunks have the same name.
        """
        blueprint = self.blueprint
        where = f"flow {blueprint.name!r}: batch()"
        check_names(unknown, ("side_branch", "concurrency", "on_error"), where)
        flag(side_branch, where, "side_branch")
        if not chunks:
            raise DefinitionError(f"{where} has no chunk, so that it could never complete; give it at least one")
        self._check_open("batch()")
        positive(concurrency, where)
        branches = [blueprint.resolve(chunk) for chunk in chunks]
        names = [branch.name for branch in branches]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DefinitionError(
                f"{where} has two branches named {twice[0]!r}, and its result is keyed by name; name one of them "
                f"otherwise: ({twice[0] + '_2'!r}, function)"
            )
        label = f"batch<-{describe((self.at,))}"
        options = {"concurrency": concurrency, "on_error": failures(on_error, where)}
        start = self._add(OperatorKind.BATCH_FANOUT, label, options=options)
        ends = [blueprint.place(branch, start, inside=start.name) for branch in branches]
        done = self._add(
            OperatorKind.BATCH_COLLECT,
            f"{start.name}/end",
            ends,
            options={"slots": names},
            group=start.name,
        )
        return self if side_branch else self._then(done)

    def to_sub_flow(self, trigger_flow: Any, **options: Unpack[SubFlowOptions]) -> Chain:
        """Run another flow with the value of the chain; continue with its result. For the options see `SubFlowOptions`.

        Raises `NotAChunkError` if it is not a flow, and `DefinitionError` for an option that is not valid.
        """
        self._check_open("to_sub_flow()")
        blueprint, where = self.blueprint, self._where("to_sub_flow()")
        if not is_flow(trigger_flow):
            raise NotAChunkError(f"{where} takes a flow, got {trigger_flow!r}; for a chunk or function use to()")
        check_names(options, SubFlowOptions.__annotations__, where)
        positive(options.get("concurrency"), where)
        flag(options.get("side_branch", False), where, "side_branch")
        name: Any = text(options.get("name")) or trigger_flow.name
        if not isinstance(name, str):
            raise OptionError(f"{where}: name must be a string, got {name!r}")
        handler = SubFlow(trigger_flow, options, where)
        side = bool(options.get("side_branch"))
        kept = {key: options.get(key) for key in ("capture", "write_back")}
        done = self._add(
            OperatorKind.SUB_FLOW,
            f"{name}<-{describe((self.at,))}",
            name=name,
            handler=blueprint.handler_key(handler, name),
            options={
                "flow": trigger_flow.name,
                "child_concurrency": handler.concurrency,
                "side_branch": side or None,
                "fallback": True if handler.fallback is not UNSET else None,
                **kept,
            },
        )
        chunk = blueprint.nodes[done.name] = Chunk(name, handler, trigger=done)
        blueprint.chunks.setdefault(name, chunk)
        return self if side else self._then(done)

    def end(self) -> Chain:
        """Make the value of the chain the result of the execution. Only the first value that arrives counts."""
        self._check_open("end()")
        return self._then(self._add(OperatorKind.RESULT, f"end<-{describe((self.at,))}"))

    # -- blocks ------------------------------------------------------------------------------------------------------

    def for_each(self, *, concurrency: int | None = None, on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Run the steps up to `end_for_each` once per item of the chain's value.

        The value can be any iterable or async iterable. Lists, tuples and ranges are read in place. The engine takes
        the items of other iterables a few at a time, as chunks need them: it reads a sync iterable in a thread of its
        own and an async iterable in a task of its own, and closes both before the execution ends. A string, a mapping
        and a value that cannot be iterated are one item. `concurrency` limits how many chunks of one for_each run at
        once, and how many of its items are open at once (default: the `max_pending` of `create_execution`).

        An item is left out of the list of results if a chunk fails in it and an error route or `skip_exceptions` takes
        the failure. With `on_error="collect"` a `Failure` stands in its place.
        """
        self._check_open("for_each()")
        check_names(unknown, ("concurrency", "on_error"), self._where("for_each()"))
        positive(concurrency, self._where("for_each()"))
        label = f"for_each<-{describe((self.at,))}"
        options = {"concurrency": concurrency, "on_error": failures(on_error, self._where("for_each()"))}
        start = self._add(OperatorKind.FOR_EACH_SPLIT, label, options=options)
        return self._then(start, (*self.blocks, Block(start.name, OperatorKind.FOR_EACH_SPLIT)))

    def end_for_each(self) -> Chain:
        """End the block of `for_each`; continue with the list of results, in the order of the items."""
        block = self._block("end_for_each()", OperatorKind.FOR_EACH_SPLIT, "for_each()")
        if self.at == GONE:
            self._check_open("end_for_each()")
        return self._leave(block, OperatorKind.FOR_EACH_COLLECT, (self.at,))

    def match(self, *, mode: MatchMode = "hit_first", on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Choose among the `case`s up to `end_match` by the value of the chain.

        With "hit_first" the first case that fits runs, and the chain continues with its value; with "hit_all" all cases
        that fit run, and the chain continues with the list of their values. If no case fits, `case_else` runs, or
        without one the chain continues with the value that was matched. If a case or a condition fails and an error
        route or `skip_exceptions` takes the failure, the chain does not continue. With `on_error="collect"` a `Failure`
        takes the place of the value.
        """
        self._check_open("match()")
        check_names(unknown, ("mode", "on_error"), self._where("match()"))
        if mode not in ("hit_first", "hit_all"):
            raise DefinitionError(f"{self._where('match()')} has the modes 'hit_first' and 'hit_all', not {mode!r}")
        route = self._add(OperatorKind.MATCH_ROUTE, f"match<-{describe((self.at,))}",
                          options={"mode": mode, "on_error": failures(on_error, self._where("match()"))})  # fmt: skip
        return self._then(route, (*self.blocks, Block(route.name, OperatorKind.MATCH_ROUTE)))

    def case(self, condition: Any) -> Chain:
        """Begin a case: the steps that follow run if the condition fits.

        A condition is a value, which is compared with `==`, or a function, sync or async, of the runtime data, whose
        result counts as true or false. Raises `DefinitionError` outside of a match and after `case_else`.
        """
        block = self._next_case("case()")
        if isinstance(condition, Chunk):
            if lost := condition.policies().keys() - {"inline", "emits"}:
                raise DefinitionError(
                    f"{self._where('case()')}: a condition cannot have {sorted(lost)[0]}, and {condition!r} has it; "
                    "pass the function, or run the chunk before match() and compare its result"
                )
            condition = condition.handler
        if callable(condition):
            handler = self.blueprint.condition(condition, self._where("case()"))
            return self._case(block, handler, handler, {})
        return self._case(block, literal(condition), None, {"equals": condition})

    def case_else(self) -> Chain:
        """Begin the last case: the steps that follow run if no other case fits."""
        block = self._next_case("case_else()")
        if not block.ends:
            raise DefinitionError(
                f"{self._where('case_else()')} comes before any case() and would always be chosen; put a case() first"
            )
        return self._case(msgspec.structs.replace(block, otherwise=True), "else", None, {"otherwise": True})

    def end_match(self) -> Chain:
        """End the block of `match`; continue with the value of the case that ran. See `match`."""
        block = self._end_case("end_match()")
        if not block.ends:
            raise DefinitionError(f"{self._where('end_match()')}: this match() has no case; put a case() before it")
        return self._leave(block, OperatorKind.MATCH_COLLECT, [it for it in block.ends if it != GONE])

    def if_condition(self, condition: Any, *, on_error: OnError = "raise", **unknown: Never) -> Chain:
        """Begin a match and its first case. The same as `match(on_error=on_error).case(condition)`."""
        check_names(unknown, ("on_error",), self._where("if_condition()"))
        return self.match(on_error=on_error).case(condition)

    def elif_condition(self, condition: Any) -> Chain:
        """Begin the next case after `if_condition`. The same as `case(condition)`."""
        return self.case(condition)

    def else_condition(self) -> Chain:
        """Begin the last case after `if_condition`. The same as `case_else()`."""
        return self.case_else()

    def end_condition(self) -> Chain:
        """End the block that `if_condition` began. The same as `end_match()`."""
        return self.end_match()

    def collect(
        self,
        collection_name: str,
        branch_id: str | None = None,
        *,
        mode: CollectMode = "filled_and_update",
        **unknown: Never,
    ) -> Chain:
        """Join chains: continue with `{branch_id: value}` when every branch of this collection has a value.

        The branches are all `collect` calls of the flow with the same `collection_name`. `branch_id` is the key of this
        branch (default: the name of the step before). With "filled_and_update" each later value continues the chains
        again with the updated dict; with "filled_then_empty" all branches must arrive again first.
        """
        self._check_open("collect()")
        check_names(unknown, ("branch_id", "mode"), self._where("collect()"))
        if mode not in ("filled_and_update", "filled_then_empty"):
            raise DefinitionError(
                f"{self._where('collect()')} has the modes 'filled_and_update' and 'filled_then_empty', not {mode!r}"
            )
        for name, given in (("collection_name", collection_name), ("branch_id", branch_id)):
            if not isinstance(text(given), str) and (name == "collection_name" or given is not None):
                raise OptionError(f"{self._where('collect()')}: {name} must be a string, got {given!r}")
        collection_name, branch_id = text(collection_name), text(branch_id)
        before = self.blueprint.nodes.get(self.at.name)
        branch = branch_id or (describe((self.at,)) if before is None else before.name)
        joined = self._add(
            OperatorKind.COLLECT,
            f"collect:{collection_name}/{branch}",
            name=collection_name,
            emits=(Trigger("collect", collection_name),),
            options={"branch": branch, "mode": mode},
        )
        if not branch_id:
            self.blueprint.branch_is_default()
        return self._then(joined)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _check_keys(self, triggers: Iterable[Trigger]) -> None:
        """Raise `DefinitionError` if two signals of an and-join would have the same key in its value."""
        seen: dict[tuple[str, str], Trigger] = {}
        for it in triggers:
            other = seen.setdefault((PUBLIC_KIND[it.kind], it.name), it)
            if other is not it:
                raise DefinitionError(
                    f"{self._where('when()')} joins the {other.kind} {it.name!r} and the {it.kind} {it.name!r}, whose "
                    "values would have the same key; give one of them another name, or join them with collect()"
                )

    def _check_open(self, call: str) -> None:
        """Raise `DefinitionError` between `match()` and its first case, where only a case can follow."""
        if self.at == GONE:
            raise DefinitionError(
                f"{self._where(call)} follows back_to(), and a chain that goes back ends there; what follows the chunk "
                "that runs again follows at its place"
            )
        block = self.blocks[-1] if self.blocks else None
        if block is not None and block.kind is OperatorKind.MATCH_ROUTE and not block.in_case:
            raise DefinitionError(f"{self._where(call)} follows match() directly; begin a case with case() first")

    def _block(self, call: str, kind: OperatorKind, opened_by: str) -> Block:
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.kind is not kind:
            inside = (
                f"the innermost open block is {block.opener!r}; close that one first" if block else "no block is open"
            )
            raise DefinitionError(f"{self._where(call)} closes a {opened_by}, but {inside}")
        return block

    def _leave(self, block: Block, kind: OperatorKind, ends: Iterable[Trigger]) -> Chain:
        outer = self.blocks[:-1]
        inside = outer[-1].opener if outer else None
        return self._then(self._add(kind, f"{block.opener}/end", ends, group=block.opener, inside=inside), outer)

    def _next_case(self, call: str) -> Block:
        block = self._end_case(call)
        if block.otherwise:
            raise DefinitionError(
                f"{self._where(call)} comes after case_else() and could never be chosen; put it before case_else()"
            )
        return block

    def _end_case(self, call: str) -> Block:
        block = self._block(call, OperatorKind.MATCH_ROUTE, "match()")
        return msgspec.structs.replace(block, ends=(*block.ends, self.at), in_case=False) if block.in_case else block

    def _case(self, block: Block, name: str, handler: str | None, options: Mapping[str, Any]) -> Chain:
        route = Trigger("operator", block.opener)
        label = f"{block.opener}/{len(block.ends) + 1}"
        case = self._add(OperatorKind.MATCH_CASE, label, (route,), name=name, handler=handler, options=options,
                         inside=block.opener)  # fmt: skip
        return self._then(case, (*self.blocks[:-1], msgspec.structs.replace(block, in_case=True)))


def root(blueprint: Blueprint) -> Chain:
    """A chain whose first step runs when an execution starts."""
    return Chain(blueprint, START)
