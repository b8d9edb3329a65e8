"""Keeps a model up to date: reads the frames of an execution and of its sub-flows, drawings and open questions."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..backend import Backend, Frame, UnknownFlow, error_info
from ..errors import TriggerFlowError
from .model import Happened, Model, Step

#: For how many seconds frames are taken before other tasks of the event loop get a turn.
_TURN = 0.02
#: The pauses before further tries to reach the backend, in seconds.
_AGAIN = (0.5, 1.0, 2.0, 5.0)
#: How often the row of the execution is read (its owner, its next timer), in seconds.
_LOOK = 3.0
#: How many sub-flows are watched at once, and to which depth.
_CHILDREN, _DEPTH = 6, 3


class Feed:
    """Follows one execution. Calls `show` after each frame, with what has happened, and `notice` with a text about a
    problem of the feed itself."""

    def __init__(
        self,
        backend: Backend,
        model: Model,
        *,
        show: Callable[[list[Happened], Frame], None] | None = None,
        notice: Callable[[str], None] | None = None,
        sub_flows: bool = False,
        depth: int = 0,
    ) -> None:
        self._backend, self.model = backend, model
        self._show, self._notice, self._sub_flows, self._depth = show, notice, sub_flows, depth
        self._children: dict[str, asyncio.Task[None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Follow the execution until it has ended. Errors of the backend that may pass are retried, others raised."""
        tries = 0
        self.model.info = await self._backend.get(self.model.id)
        self.model.flow = self.model.flow or self.model.info.flow
        if self._sub_flows and not self._depth:
            self._looking = asyncio.ensure_future(self._look_again())
        try:
            while True:
                number = self.model.moment.number
                try:
                    await self._follow()
                    break
                except (TriggerFlowError, OSError, TimeoutError) as error:
                    if not (error_info(error).again or isinstance(error, OSError)):
                        raise
                    if self._notice is not None:
                        self._notice(f"trying again: {error}")
                    tries = 0 if self.model.moment.number > number else tries
                    await asyncio.sleep(_AGAIN[min(tries, len(_AGAIN) - 1)])
                    tries += 1
            with suppress(TriggerFlowError):
                self.model.info = await self._backend.get(self.model.id)
            await self.read_questions()
        finally:
            await self.stop()

    async def _look_again(self) -> None:
        """Read the row of the execution from time to time: its owner and its next timer are in no frame."""
        while True:
            await asyncio.sleep(_LOOK)
            with suppress(TriggerFlowError, OSError, TimeoutError):
                self.model.info = await self._backend.get(self.model.id)

    async def _follow(self) -> None:
        model = self.model
        clock = asyncio.get_running_loop().time
        turn = clock()
        async for frame in self._backend.frames(model.id, after=model.moment.number, follow=True):
            if frame.definition:
                await self._draw(frame.definition)
            happened = model.take(frame)
            if self._show is not None:
                self._show(happened, frame)
            if frame.questions:
                self._ask_soon()
            if self._sub_flows:
                for change in frame.runs:
                    if change.sub_flow:
                        self._watch(change.sub_flow, change.operator)
            if clock() - turn > _TURN:
                await asyncio.sleep(0)
                turn = clock()

    async def _draw(self, definition: str) -> None:
        try:
            self.model.draw(await self._backend.drawing(self.model.flow, definition=definition))
        except UnknownFlow:  # without a graph, steps are shown once they run
            if self._notice is not None:
                self._notice("the graph is not in the store")

    def _ask_soon(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self.read_questions())

    async def read_questions(self) -> None:
        """Read the open questions of the execution and its sub-flows."""
        model = self.model
        while True:
            number = model.moment.number
            if self._depth or model.ended:
                model.questions = []
                return
            with suppress(TriggerFlowError):
                model.questions = (await self._backend.questions(execution=model.id)).questions
            if number == model.moment.number or not model.asked:
                return

    # -- sub-flows -----------------------------------------------------------------------------------------------------

    def _watch(self, id: str, operator: str) -> None:
        step = self.model.step_of(operator)
        if step is None or step.each is not None or self._depth >= _DEPTH:
            return
        self._drop_ended()
        known = self._children.get(id)
        if known is not None and not known.done():
            return
        if sum(not it.done() for it in self._children.values()) < _CHILDREN:
            self._children[id] = asyncio.ensure_future(self._follow_child(id, step))

    def _drop_ended(self) -> None:
        """Drop ended sub-flows that no step shows: a loop can run a sub-flow any number of times."""
        shown = {it.sub_flow for it in self.model.steps.values()}
        for id in [id for id, task in self._children.items() if task.done() and id not in shown]:
            del self._children[id]
            self.model.children.pop(id, None)

    async def _follow_child(self, id: str, step: Step) -> None:
        child = Model(id)
        for pause in (0.0, 0.1, 0.5, 2.0):  # its execution is created a little after its step begins
            await asyncio.sleep(pause)
            with suppress(TriggerFlowError):
                feed = Feed(self._backend, child, notice=self._notice, sub_flows=True, depth=self._depth + 1)
                self.model.children[id] = child
                await feed.run()
                return

    async def stop(self) -> None:
        """Cancel the tasks of the feed."""
        tasks = [*self._children.values(), *filter(None, (self._asking, self._looking))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
