"""A run of AG-UI as a stream: reads the frames of its execution, and sends what the projection makes of them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec

from ...backend import ExecutionInfo, Frame, QuestionInfo, StateInfo
from ...errors import TriggerFlowError
from ...wire import Busy, EventDecoder, encode_comment
from ...wire.agui import AgentInput
from ...wire.events import FRAME
from ..following import Following
from ..problems import problem_and_headers, redacted
from ..streams import LAST_PROBLEMS, RETRY, Stream
from .projection import Projection
from .request import open_questions, waits

logger = logging.getLogger("triggerflow.server")

#: In how many seconds to look again whether an execution that has asked waits, if no frame can tell.
LOOK_AGAIN = 0.5
#: How many frames are read between two turns of other tasks.
AT_ONCE = 250


class AgentRun:
    """One run, for one reader."""

    def __init__(
        self, following: Following, flow: str, given: AgentInput, info: ExecutionInfo, at: StateInfo | None
    ) -> None:
        self._following = following
        self._id = info.id
        #: how many frames there are at least: before it has seen these, a reader knows of no end
        self._least = info.frames
        self._projection = Projection(info.id, flow, given, at)

    def last(self, why: str) -> bytes:
        """The last events of a stream that the server ends."""
        self._projection.fail(LAST_PROBLEMS[why])
        return encode_comment(retry=RETRY) + self._projection.flush()

    async def pieces(self, stream: Stream) -> AsyncIterator[bytes]:
        """The events of the run, until it ends or asks.

        The projection knows what was sent: nothing is awaited from a look at `stream.why` over a change of it to the
        next `yield`.
        """
        projection, decoder, decode = self._projection, EventDecoder(), msgspec.json.Decoder(Frame).decode
        if stream.why:
            return
        projection.begin()
        yield projection.flush()
        number = projection.number
        feed = self._following.feed("frames", self._id)
        feed.join(stream, number)
        try:
            while not stream.why:
                if number < feed.floor:
                    earlier = await feed.earlier(number)
                    to, data = earlier.to, earlier.data
                else:
                    to, data = feed.after(number)
                if stream.why:
                    break
                stream.lag = feed.newest - to
                if to > number:
                    number = to
                    events = decoder.feed(data)
                    for begin in range(0, len(events), AT_ONCE):
                        if stream.why:
                            break
                        for event in events[begin : begin + AT_ONCE]:
                            if event.event == FRAME:
                                projection.take(decode(event.data))
                        yield projection.flush()
                elif feed.error is not None:
                    raise feed.error.with_traceback(None)
                elif number >= self._least and projection.has_ended:
                    projection.finish()
                    break
                elif feed.over:
                    raise Busy("the frames of the execution have ended before it has; ask again")
                else:
                    asked = await self._asked() if number >= self._least and projection.questions else []
                    if stream.why or feed.newest > number:
                        continue
                    if asked:
                        projection.interrupt(asked)
                        break
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_AGAIN if projection.is_asking else None):
                            await stream.wait()
                    yield stream.beat()
        except Exception as error:
            found, _ = problem_and_headers(redacted(error) if isinstance(error, TriggerFlowError) else error)
            if found.code == "internal":
                logger.error("a run of AG-UI cannot be told", exc_info=error)
            projection.fail(found)
        finally:
            self._following.leave(feed, stream)
        if not stream.why:
            yield projection.flush()

    async def _asked(self) -> list[QuestionInfo]:
        """The open questions, if nothing goes on until one of them is answered."""
        projection, backend = self._projection, self._following.backend
        if not projection.is_asking or not (projection.status == "waiting" or await waits(backend, self._id)):
            return []
        return [it for it in await open_questions(backend, self._id) if it.id in projection.questions]
