"""A research brief: the model plans the searches, and each one starts while the model is still writing the next.

    plan --> for_each finished query: search --> compile --> result

    python examples/research_brief/main.py                                     # a recorded answer, typed out
    python examples/research_brief/main.py --base-url http://127.0.0.1:8080/v1 "reading CSV files"

`make demo-model` starts a small local model and runs this example with it. Each run shows the answer twice, at the same
pace: the second time the searches wait until the answer is complete, to show the difference in time. In the end
the model calls a tool, whose arguments are fields like those of an answer, and is asked for a second idea: it is told
that its first answer cannot be used, and why.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import Annotated, Any

from corpus import Hit, open_corpus, search
from msgspec import Meta, Struct

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.models import Delta, InvalidResponseError, Provider, Request, Response, ToolCallDelta

SEARCH_SECONDS = 0.5
"""The time of a search service on a network, in seconds; the local corpus answers in a millisecond."""
TOKENS_A_SECOND = 50
"""The speed of the recorded answer, about that of a small model."""

Line = Annotated[str, Meta(max_length=60)]


class Plan(Struct):
    """The answer of the model. The bounds are for small models, which do not stop without them."""

    title: Annotated[Line, Meta(description="a title for the brief")]
    queries: Annotated[list[Line], Meta(min_length=3, max_length=4, description="search queries, two or three words")]
    outline: Annotated[list[Line], Meta(min_length=3, max_length=4, description="the headings of the brief")]
    summary: Annotated[str, Meta(max_length=300, description="two sentences about the topic")]


RECORDED = {
    "title": "Reading and writing CSV files",
    "queries": ["csv reader", "csv dialect sniffer", "open text newline", "DictWriter header"],
    "outline": ["Readers and writers", "Dialects and how to guess them", "Newlines and encodings"],
    "summary": "The csv module reads and writes rows as lists or dictionaries. Its dialects describe separators and "
    "quotes, and files have to be opened without newline translation.",
}

flow = TriggerFlow(name="research_brief")


@flow.chunk("plan")
async def plan(data: TriggerFlowRuntimeData[bool]) -> Any:
    """Ask the model. Each complete query starts its search at once, or, for comparison, after the whole answer."""
    response: Response = data.require_resource("response")
    return response.fields("queries[*]") if data.value else (await response.async_get_data_object()).queries


@flow.chunk("search")
async def search_docs(data: TriggerFlowRuntimeData[str]) -> tuple[str, list[Hit]]:
    """Search for one query."""
    await data.async_put_into_stream({"stage": "searching", "query": data.value})
    await asyncio.sleep(SEARCH_SECONDS)
    hits = await asyncio.to_thread(search, data.value)
    await data.async_put_into_stream({"stage": "found", "query": data.value, "hits": len(hits)})
    return data.value, hits


@flow.chunk("compile")
async def compile_brief(data: TriggerFlowRuntimeData[list[tuple[str, list[Hit]]]]) -> str:
    """Write the brief from the plan and the hits of its queries, which come in the order of the queries."""
    response: Response = data.require_resource("response")
    return render(await response.async_get_data_object(), data.value)


flow.to(plan).for_each().to(search_docs).end_for_each().to(compile_brief).end()


def render(answer: Plan, found: list[tuple[str, list[Hit]]]) -> str:
    lines = [f"# {answer.title}", "", answer.summary, ""]
    for query, hits in found:
        lines += [f"## {query}", *(f"- `{hit.name}`: {hit.line}" for hit in hits), ""]
    return "\n".join(lines)


async def replay(pieces: Iterable[tuple[float, str]]) -> AsyncIterator[str]:
    """An answer in pieces, each so many seconds after the request."""
    started = perf_counter()
    for seconds, text in pieces:
        await asyncio.sleep(started + seconds - perf_counter())
        yield text


def recorded() -> AsyncIterator[str]:
    """The recorded answer, at the speed of a model."""
    text = json.dumps(RECORDED)
    return replay((number / TOKENS_A_SECOND, text[number * 4 : number * 4 + 4]) for number in range(len(text) // 4 + 1))


class Run:
    """One run of the flow, with its result and times."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.pieces: list[tuple[float, str]] = []
        self.at_first_search = 0
        self.seconds = 0.0
        self.brief = ""

    @property
    def written(self) -> int:
        """The number of characters that the model has written so far."""
        return sum(len(text) for _, text in self.pieces)

    async def go(self, at_once: bool) -> None:
        started = perf_counter()
        watching = asyncio.create_task(self.watch(started))
        execution = flow.create_execution(runtime_resources={"response": self.response})
        async for item in execution.get_async_runtime_stream(at_once):
            if item["stage"] == "searching" and not self.at_first_search:
                self.at_first_search = self.written
            if at_once:
                print(f"{perf_counter() - started:6.2f} s  {item}")
        self.brief = await execution.async_get_result()
        self.seconds = perf_counter() - started
        await watching

    async def watch(self, started: float) -> None:
        async for text in self.response.get_async_generator():
            self.pieces.append((perf_counter() - started, text))


async def tool_call(request: Request, model: Provider) -> None:
    """Let the plan be the arguments of a tool call, and print when each query was complete."""

    def as_call(chunk: Any) -> Delta:
        """This small model calls no tools: its JSON is taken as the arguments of a call, as a larger model sends it."""
        if not chunk.choices:  # the last one, with the token counts
            return Delta()
        choice = chunk.choices[0]
        piece = ToolCallDelta(0, choice.delta.content or "", "call-1", "plan" if choice.delta.role else None)
        return Delta(tool_calls=(piece,), finish_reason=choice.finish_reason)

    started = perf_counter()
    response = Response(lambda: model.open(request), adapter=as_call, tools={"plan": Plan})
    async for place, query in response.fields("$tool_calls.plan.queries[*]", places=True):
        print(f"{perf_counter() - started:6.2f} s  {place.path}: {query!r}")
    async for call in response.fields("$tool_calls[*]"):
        seconds, size = perf_counter() - started, len(call.arguments)
        print(f"{seconds:6.2f} s  the call of {call.name!r} is complete, {size} characters")


async def second_idea(request: Request, model: Provider) -> None:
    """Ask for a plan whose title is not the first one that the model thinks of; print what the attempts have cost."""
    taken: list[str] = []

    class NewPlan(Plan):
        __doc__ = Plan.__doc__

        def __post_init__(self) -> None:
            if self.title in taken or not taken:
                taken.append(self.title)
                raise ValueError(f"the title {self.title!r} is taken: write another one")

    response = request.output(NewPlan).get_response(model, max_retries=5)
    try:
        plan = await response.async_get_data_object()
    except InvalidResponseError as error:
        print(f"No second idea: {error}; {error.usage.get('total_tokens')} tokens.")
        return
    print(f"A second idea, after {taken[0]!r}: {plan.title!r}")
    for number, attempt in enumerate((await response.async_get_meta())["attempts"], 1):
        usage, failure = attempt["usage"], attempt["failure"] or "fits"
        print(f"  attempt {number}: {usage['prompt_tokens']} + {usage['completion_tokens']} tokens, {failure}")


async def main(topic: str, base_url: str | None) -> None:
    open_corpus()
    model = other = None
    if base_url is not None:
        from triggerflow.models.openai import OpenAIProvider

        options: dict[str, Any] = {"structured": "full_json_schema", "max_tokens": 400}
        model = OpenAIProvider("local", base_url=base_url, api_key="none", temperature=0.8, seed=1, **options)
        # A small model likes to repeat itself, whatever it is told: a high temperature and no seed work against that.
        other = OpenAIProvider("local", base_url=base_url, api_key="none", temperature=1.5, **options)
    request = (
        Request().instruct("Plan a brief from the documentation of Python's standard library.").input(topic)
    ).output(Plan)

    run = Run(Response(recorded, output=Plan) if model is None else request.get_response(model))
    await run.go(at_once=True)
    print(f"\n{run.brief}")
    waiting = Run(Response(replay(run.pieces), output=Plan))
    await waiting.go(at_once=False)
    print(f"The first search began after {run.at_first_search / run.written:.0%} of the answer.")
    print(f"Time to brief {run.seconds:.2f} s, when every search waits {waiting.seconds:.2f} s, ", end="")
    print(f"ratio {run.seconds / waiting.seconds:.2f}.")
    if model is not None and other is not None:
        await tool_call(request, model)
        await second_idea(request, other)
        await model.aclose()
        await other.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("topic", nargs="*", default=["reading", "and", "writing", "CSV", "files"])
    parser.add_argument("--base-url", help="an OpenAI-compatible server; without it a recorded answer is used")
    given = parser.parse_args()
    asyncio.run(main(" ".join(given.topic), given.base_url))
