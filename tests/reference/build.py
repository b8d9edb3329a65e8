"""A flow of the engine from a `program.Flow`, and what can be seen of its executions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from tests.durable.every_flow import KIND
from tests.reference.program import (
    SECOND,
    TICK,
    Act,
    Back,
    Batch,
    Chain,
    Chunk,
    Each,
    End,
    Flow,
    Fork,
    Loose,
    Match,
    Outcome,
    Steps,
    Sub,
    Test,
    To,
    again,
    duration,
)  # fmt: skip
from triggerflow import Failure, Retry, TriggerFlow
from triggerflow.errors import ExecutionCancelled


class Broken(Exception):
    """What chunks and conditions raise."""


class BrokenToo(Exception):
    """What fallbacks raise."""


def plain(value: Any) -> Any:
    """A value in the words of `program`: a `Failure` as a tuple, and a for_each that has failed without its number."""
    if isinstance(value, str) and value.startswith("for_each<-"):
        return "for_each"
    if isinstance(value, Failure):
        return ("Failure", plain(value.chunk), value.type, value.message, plain(value.value))
    if type(value) is dict:
        return {name: plain(it) for name, it in cast("dict[str, Any]", value).items()}
    if type(value) is list:
        return [plain(it) for it in cast("list[Any]", value)]
    if type(value) is tuple:
        return tuple(plain(it) for it in cast("tuple[Any, ...]", value))
    return value


class Watch:
    """What the chunks of one execution tell, those of its sub-flows included."""

    def __init__(self) -> None:
        self.begun = asyncio.get_running_loop().time()
        self.runs: list[tuple[int, str, Any]] = []
        self.failures: dict[str, int] = {}

    def now(self) -> int:
        """The time since the start. Threads take some of the real time, hence the rounding."""
        return TICK // 2 * round((asyncio.get_running_loop().time() - self.begun) * SECOND / (TICK // 2))


class Author:
    """Writes a flow. All that its chunks tell goes to `watch`, which is another one for each process."""

    def __init__(self, flow: Flow, outer: "Author | None" = None) -> None:
        self.flow = TriggerFlow(flow.name, skip_exceptions=flow.skips)
        self.top = outer.top if outer else self
        self.watch: Watch | None = None
        self.chunks: dict[str, Any] = {}
        self.lazy = self.flow.source(_items, name="items")
        for chain in flow.chains:
            self.steps(self.chain(chain), chain.steps)

    def chain(self, chain: Chain) -> Any:
        """Where a chain begins."""
        if not chain.triggers:
            return self.flow
        kinds: dict[str, list[Any]] = {}
        for kind, name in chain.triggers:
            kinds.setdefault(kind, []).append(name / SECOND if kind == "timer" else name)
        return self.flow.when(kinds, mode=cast("Any", chain.mode))

    def chunk(self, chunk: Chunk) -> Any:
        """A chunk of the flow; another place of it where it is there already."""
        if chunk.name not in self.chunks:
            options: dict[str, Any] = {}
            if chunk.attempts > 1:
                options["retry"] = Retry(
                    chunk.attempts, initial_interval=TICK / SECOND, backoff_coefficient=1, jitter=0
                )
            if chunk.fallback == "value":
                options["fallback"] = f"{chunk.name} fell back"
            elif chunk.fallback != "no":
                options["fallback"] = _fallback(chunk)
            emits = tuple({it.name for it in chunk.acts if it.kind not in ("put", "set")})
            self.chunks[chunk.name] = self.flow.chunk(chunk.name, emits=emits, **options)(self.handler(chunk))
        return self.chunks[chunk.name]

    def handler(self, chunk: Chunk) -> Callable[[Any], Any]:
        """What a chunk does."""

        async def call(data: Any) -> Any:
            watch, value = self.top.watch, plain(data.value)
            assert watch is not None
            watch.runs.append((watch.now(), chunk.name, value))
            await asyncio.sleep(duration(chunk.name, value) / SECOND)
            for act in chunk.acts:
                await self.act(chunk, act, data, value)
            run = f"{data.execution_id} {data.run_id}"
            if chunk.raises(value, watch.failures.get(run, 0)):
                watch.failures[run] = watch.failures.get(run, 0) + 1
                raise Broken(chunk.message(value))
            if chunk.gives.startswith("lazy"):
                return self.lazy(chunk.name, chunk.items(value), chunk.broken)
            return data.value if chunk.gives == "same" else chunk.result(value)

        call.__name__ = chunk.name
        return call

    async def act(self, chunk: Chunk, act: Act, data: Any, value: Any) -> None:
        """Do one act of a chunk."""
        told = chunk.told(act, value)
        match act.kind:
            case "emit":
                await data.async_emit(act.name, told)
            case "again":
                if again(value):
                    await data.async_emit(act.name, told)
            case "settle":
                await data.async_emit(act.name, told, settle=True)
            case "delay":
                await data.async_emit(act.name, told, delay=duration(f"delay {chunk.name}", value) / SECOND)
            case "set":
                data.state.set(act.name, told)
            case _:
                await data.async_put_into_stream(told)

    def test(self, test: Test) -> Any:
        """The condition of a case."""
        if not test.says:
            return test.literal

        async def call(data: Any) -> Any:
            watch, value = self.top.watch, plain(data.value)
            assert watch is not None
            watch.runs.append((watch.now(), test.name, value))
            await asyncio.sleep(duration(test.name, value) / SECOND)
            if test.raises(value):
                raise Broken(test.message(value))
            return test.holds(value)

        call.__name__ = test.name
        return call

    def steps(self, at: Any, steps: Steps) -> Any:
        """Write steps, and give the chain behind them."""
        for step in steps:
            match step:
                case To(chunk, side):
                    at = at.side_branch(self.chunk(chunk)) if side else at.to(self.chunk(chunk))
                case Batch(chunks, on_error, side):
                    at = at.batch(*map(self.chunk, chunks), on_error=on_error, side_branch=side)
                case Each(inner, on_error):
                    at = self.steps(at.for_each(on_error=on_error), inner).end_for_each()
                case Match():
                    at = self.match(at, step)
                case Fork(name, branches, mode):
                    ends = [
                        self.steps(at, branch).collect(name, f"b{number}", mode=mode)
                        for number, branch in enumerate(branches)
                    ]
                    at = ends[-1]
                case Loose(inner):
                    self.steps(at, inner)
                case Sub(flow, fallback, side):
                    options: dict[str, Any] = {}
                    if fallback == "value":
                        options["fallback"] = f"{flow.name} fell back"
                    elif fallback == "call":
                        options["fallback"] = _sub_fallback(flow.name)
                    at = at.to_sub_flow(Author(flow, self).flow, side_branch=side, **options)
                case Back(chunk):
                    at = at.back_to(self.chunk(chunk))
                case End():
                    at = at.end()
        return at

    def match(self, at: Any, step: Match) -> Any:
        """A match, or an if."""
        if step.is_if:
            (first, inner), *others = step.cases
            at = self.steps(at.if_condition(self.test(first), on_error=step.on_error), inner)
            for test, inner in others:
                at = self.steps(at.elif_condition(self.test(test)), inner)
            if step.otherwise is not None:
                at = self.steps(at.else_condition(), step.otherwise)
            return at.end_condition()
        at = at.match(mode=step.mode, on_error=step.on_error)
        for test, inner in step.cases:
            at = self.steps(at.case(self.test(test)), inner)
        if step.otherwise is not None:
            at = self.steps(at.case_else(), step.otherwise)
        return at.end_match()


def _fallback(chunk: Chunk) -> Callable[[Any], Any]:
    async def fallback(data: Any) -> Any:
        if chunk.fallback == "raise":
            raise BrokenToo(data.failure.message)
        return chunk.instead(plain(data.value), plain(data.failure))

    return fallback


def _sub_fallback(name: str) -> Callable[[Any], Any]:
    async def fallback(data: Any) -> Any:
        return [name, plain(data.failure)]

    return fallback


async def _items(name: str, items: list[Any], broken: bool) -> AsyncIterator[Any]:
    for item in items:
        yield item
    if broken:
        await asyncio.sleep(TICK / SECOND)
        raise Broken(f"{name} source")


async def observe(flow: Flow, value: Any, restart: int | None = None, store: Any = None) -> tuple[Outcome, int]:
    """Run a flow. With `restart`, end its execution at this time, and go on with what was saved, or is in the store."""
    author = Author(flow)
    author.top.watch = watch = Watch()
    execution: Any = author.flow.create_execution(store=store)
    items: list[Any] = []
    execution.begin(value)
    if restart is not None:
        ended = asyncio.ensure_future(execution.async_get_result())
        await asyncio.wait([ended], timeout=restart / SECOND)
        if ended.done():
            ended.exception()
        else:
            ended.cancel()
            before = list(watch.runs)
            if store is None and not KIND:
                saved = execution.save()
                await execution.async_cancel()
                items = await _read(execution, 0)  # a snapshot does not have them
                execution = author.flow.load_execution(saved)
            else:
                await execution.async_suspend()
                execution = await author.flow.async_resume(execution.id, store=store)
            watch.runs[:] = [*before, *watch.runs[len(before) :]]
    try:
        end: tuple[Any, ...] = ("completed", plain(await execution.async_get_result()))
    except (Broken, BrokenToo) as error:
        end = ("failed", type(error).__name__, str(error))
    ended_at = watch.now()
    items += await _read(execution, len(items))
    return Outcome(end, watch.runs, items), ended_at


async def _read(execution: Any, after: int) -> list[Any]:
    """The items of the stream of an execution that has ended."""
    items: list[Any] = []
    try:
        async for item in execution.get_async_runtime_stream(after=after):
            items.append(item)  # noqa: PERF401 - what came before the exception has to stay
    except (Broken, BrokenToo, ExecutionCancelled):
        pass
    return items
