"""Diagrams: what is drawn is what the flow does, whatever its names are, and a run shows where each operator stands."""

import html
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak
from tests.core.flows import Program, programs
from triggerflow import Definition, Retry, TriggerFlow
from triggerflow._core import events
from triggerflow._core.definition import OperatorKind
from triggerflow._core.state import RunChunk
from triggerflow.diagram import OperatorView, RunView, run_view, to_dot, to_mermaid
from triggerflow.errors import DefinitionError, UsageError

ROOT = Path(__file__).resolve().parent.parent
RANDOM = settings(soak.examples(30), suppress_health_check=list(HealthCheck))

SHAPES = {
    ("(", ")"): "round", ("[", "]"): "box", ("[[", "]]"): "sub-flow", ("{{", "}}"): "hexagon", ("[/", "/]"): "case",
    (">", "]"): "flag", ("[(", ")]"): "cylinder", ("[\\", "/]"): "error", ("((", "))"): "circle",
    ("[/", "\\]"): "opener", ("{", "}"): "diamond",
}  # fmt: skip
BOX = re.compile(r'(?P<key>n\d+)(?P<left>[^"\w]+)"(?P<label>[^"]*)"(?P<right>[^"\w]+)')
LINE = re.compile(r'(?P<source>n\d+) (?P<arrow>-->|-\.->|-- "[^"]*" -->|-\. "[^"]*" \.->) (?P<target>n\d+)')


class Picture(NamedTuple):
    """A Mermaid text, read: shape and enclosing boxes' labels by label, and lines as (from, to, label, style)."""

    shapes: dict[str, str]
    inside: dict[str, tuple[str, ...]]
    lines: set[tuple[str, str, str, str]]
    classes: dict[str, str]


def plain(label: str) -> str:
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label.replace("<br>", "\n"))


def read(text: str) -> Picture:
    """Read a Mermaid flowchart, and fail on any line that is none. A frame goes by the label of its first box."""
    labels: dict[str, str] = {}
    picture = Picture({}, {}, set(), {})
    frames: list[list[str]] = []
    arrows: list[tuple[str, str, str, bool]] = []
    dashes: dict[int, str] = {}
    first, *rest = text.splitlines()
    assert first == "flowchart TD"
    for line in map(str.strip, rest):
        if box := BOX.fullmatch(line):
            label = plain(box["label"]).strip()
            label = label or f"end of {frames[-1][0]}"
            label = f"{label}~" if label in picture.shapes else label
            labels[box["key"]] = label
            picture.shapes[label] = SHAPES[box["left"], box["right"]]
            for frame in frames[-1:]:
                frame.append(label)
            picture.inside[label] = tuple(frame[0] for frame in frames)
        elif line.startswith("subgraph "):
            assert re.fullmatch(r'subgraph b\d+\[" "\]', line)
            frames.append([])
        elif line == "end":
            frames.pop()
        elif arrow := LINE.fullmatch(line):
            label = plain("".join(arrow["arrow"].split('"')[1:2]))
            arrows.append((arrow["source"], arrow["target"], label, "." in arrow["arrow"][:2]))
        elif line.startswith("linkStyle "):
            _, numbers, style = line.split(" ", 2)
            dashes.update((int(number), style) for number in numbers.split(","))
        elif line.startswith("class "):
            _, keys, name = line.split(" ")
            picture.classes.update((labels[key], name) for key in keys.split(",") if key in labels)
        else:
            assert re.fullmatch(r"classDef \w+ fill:#\w{6},stroke:#\w{6},color:#\w{6}", line), line
    assert not frames
    styles = {"": "solid", "stroke-dasharray:6 4": "emit", "stroke-dasharray:2 4": "side"}
    for number, (source, target, label, broken) in enumerate(arrows):
        style = styles[dashes.get(number, "")]
        assert broken is (style != "solid")
        picture.lines.add((labels[source], labels[target], label, style))
    return picture


def drawn(flow: TriggerFlow, **options: Any) -> Picture:
    return read(to_mermaid(flow.definition, **options))


async def plan(data: Any) -> Any:
    await data.async_emit("planned", 1)


async def draft(data: Any) -> Any: ...
async def check(data: Any) -> Any: ...
async def style(data: Any) -> Any: ...
async def log(data: Any) -> Any: ...
async def publish(data: Any) -> Any: ...
def is_long(data: Any) -> bool: ...


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_blocks_stand_in_each_other() -> None:
    flow = TriggerFlow(name="f")
    body = flow.to(plan).for_each(concurrency=4).to(draft).batch(check, style, concurrency=2)
    body.match(mode="hit_all").case(is_long).to(log).case("ok").end_match().end_for_each().to(publish).end()
    picture = drawn(flow)
    each, batch, fit = "for each item, 4 at once", "batch, 2 at once", "all that fit"
    assert picture.inside == {
        "start": (), "plan": (), "publish": (), "result": (),
        each: (each,), "draft": (each,), f"end of {each}": (each,),
        batch: (each, batch), "check": (each, batch), "style": (each, batch), f"end of {batch}": (each, batch),
        fit: (each, fit), "log": (each, fit), f"end of {fit}": (each, fit),
    }  # fmt: skip
    assert picture.lines == {
        ("start", "plan", "", "solid"),
        ("plan", each, "", "solid"),
        (each, "draft", "", "solid"),
        ("draft", batch, "", "solid"),
        (batch, "check", "", "solid"),
        (batch, "style", "", "solid"),
        ("check", f"end of {batch}", "", "solid"),
        ("style", f"end of {batch}", "", "solid"),
        (f"end of {batch}", "all that fit", "", "solid"),
        ("all that fit", "log", "is_long", "solid"),
        ("log", "end of all that fit", "", "solid"),
        ("all that fit", "end of all that fit", "'ok'", "solid"),
        ("all that fit", "end of all that fit", "none fits", "solid"),
        ("end of all that fit", f"end of {each}", "", "solid"),
        (f"end of {each}", "publish", "", "solid"),
        ("publish", "result", "", "solid"),
    }
    assert (picture.shapes["all that fit"], picture.shapes[each], picture.shapes["plan"]) == (
        "diamond",
        "opener",
        "box",
    )


def test_a_match_with_an_else_lets_nothing_past() -> None:
    flow = TriggerFlow(name="f")
    flow.match().case(1).to(draft).case_else().to(check).end_match().end()
    lines = drawn(flow).lines
    assert ("first that fits", "check", "else", "solid") in lines
    assert not [line for line in lines if line[2] == "none fits"]


def test_signals_side_branches_and_what_starts_a_chain() -> None:
    flow = TriggerFlow(name="f")
    flow.to(plan).side_branch(log).to(check)
    flow.when("planned").to(draft)
    flow.when(["planned", "approved"]).to(publish).end()
    flow.when({"runtime_data": "topic", "flow_data": "rate"}, mode="or").to(style)
    flow.when({"timer": 90}).to(("remind", log))
    flow.when({"error": plan}).to(("apologise", log))
    flow.when({"error": "*"}).to(("rescue", log))
    picture = drawn(flow)
    assert {label: picture.shapes[label] for label in picture.shapes if picture.shapes[label] != "box"} == {
        "start": "round", "result": "round", "and": "hexagon", "or": "hexagon", "approved": "flag",
        "state: topic": "cylinder", "flow data: rate": "cylinder", "after 90 s": "circle",
        "error: plan": "error", "error: any chunk": "error",
    }  # fmt: skip
    assert picture.lines == {
        ("start", "plan", "", "solid"),
        ("plan", "log", "", "side"),
        ("plan", "check", "", "solid"),
        ("plan", "draft", "planned", "emit"),
        ("plan", "and", "planned", "emit"),
        ("approved", "and", "", "solid"),
        ("and", "publish", "", "solid"),
        ("publish", "result", "", "solid"),
        ("state: topic", "or", "", "solid"),
        ("flow data: rate", "or", "", "solid"),
        ("or", "style", "", "solid"),
        ("after 90 s", "remind", "", "solid"),
        ("plan", "error: plan", "", "emit"),
        ("error: plan", "apologise", "", "solid"),
        ("error: any chunk", "rescue", "", "solid"),
    }
    assert picture.classes["approved"] == "signal"


def test_chains_meet_in_a_collection() -> None:
    flow = TriggerFlow(name="f")
    flow.to(draft).collect("parts", "text")
    flow.to(check).collect("parts").to(publish).end()
    assert drawn(flow).lines >= {
        ("draft", "collect parts", "text", "solid"),
        ("check", "collect parts", "", "solid"),
        ("collect parts", "publish", "", "solid"),
    }


def test_a_chunk_that_is_wired_twice_is_one_box() -> None:
    flow = TriggerFlow(name="f")
    again = flow.chunk("again", emits=("more",))(draft)
    flow.to(again).to(check)
    flow.when("more").to(again)
    lines = drawn(flow).lines
    assert ("again", "again", "more", "emit") in lines
    assert ("again", "check", "", "solid") in lines
    assert len([label for label in drawn(flow).shapes if label.startswith("again")]) == 1


def test_a_chunk_in_two_blocks_is_drawn_in_both() -> None:
    flow = TriggerFlow(name="f")
    step = flow.chunk("step")(draft)
    flow.batch(step, check).to(publish)
    flow.when("x").batch(step, style).to(log)
    lines = {line[:2] for line in drawn(flow).lines}
    assert {("step", "end of batch"), ("step~", "end of batch~")} <= lines
    assert not {("step", "end of batch~"), ("step~", "end of batch")} & lines


def test_a_sub_flow_is_a_box_or_if_it_is_known_a_frame() -> None:
    child = TriggerFlow(name="research")
    child.to(draft).to_sub_flow(child, name="deeper").end()
    flow = TriggerFlow(name="f")
    flow.to(plan).to_sub_flow(child, capture={"input": "value.topic"}).to(publish).end()
    assert drawn(flow).shapes["research"] == "sub-flow"
    picture = drawn(flow, sub_flows={"research": child.definition})
    frame = "sub-flow research"
    assert {label for label in picture.inside if picture.inside[label]} == {
        frame, "draft", "deeper", f"end of {frame}",
    }  # fmt: skip
    assert picture.lines >= {
        ("plan", frame, "", "solid"),
        (frame, "draft", "", "solid"),
        ("deeper", f"end of {frame}", "", "solid"),
        (f"end of {frame}", "publish", "", "solid"),
    }
    view = RunView("running", {it.id: OperatorView("running", 2, 30.0) for it in flow.definition.operators})
    coloured = drawn(flow, sub_flows={"research": child.definition}, run=view).classes
    assert (coloured[f"{frame}\n2 runs, 30 ms"], coloured["draft"]) == ("running", "chunk")
    detailed = to_mermaid(flow.definition, mode="detailed")
    assert "input = value.topic" in plain(detailed)


def test_detailed_shows_every_operator() -> None:
    flow = TriggerFlow(name="f")
    flow.chunk("ask", concurrency=3, retry=Retry(attempts=4), timeout=2.5, inline=True)(is_long)
    flow.to("ask").for_each(concurrency=7).match().case(is_long).end_match().end_for_each().end()
    flow.when("x").collect("parts", "p", mode="filled_then_empty")
    text = plain(to_mermaid(flow.definition, mode="detailed"))
    points = {OperatorKind.FOR_EACH_COLLECT, OperatorKind.MATCH_COLLECT, OperatorKind.RESULT, OperatorKind.MATCH_CASE}
    shown = [it for it in flow.definition.operators if it.kind not in points]
    assert [it.id for it in shown if it.id not in text] == []
    for part in ("3 at once", "4 attempts", "timeout 2.5 s", "inline", "7 at once", "filled then empty", "simple_or"):
        assert part in text
    assert [it for it in ("3 at once", "simple_or", "<-") if it in plain(to_mermaid(flow.definition))] == []


def test_another_mode_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'simplified' and 'detailed', not 'simple'"):
        to_mermaid(TriggerFlow().definition, mode="simple")  # type: ignore[arg-type]


# -- any name ----------------------------------------------------------------------------------------------------------

NASTY = (
    'say "hi"', "<b>&amp;</b>", "a\nb", "`code`", "#quot;", "]) --> x", "%%{init: {}}%%", "$$x$$", "漢字 é ☃", "\\n",
    "end", "1. one", "- two", "**bold**", "a|b", "click me", "subgraph", "\u202e\x07x", "x" * 500,
)  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("mode", ["simplified", "detailed"])
def test_any_name_is_a_label_and_nothing_else(name: str, mode: Any) -> None:
    flow = TriggerFlow(name=name)
    flow.to((name, draft)).match().case(name).to((f"{name}!", check)).end_match().collect(name, name).end()
    flow.when([name + "?", f"{name}."]).to(publish)
    source = to_mermaid(flow.definition, mode=mode)
    picture = read(source)
    wanted = " ".join("".join(it if it.isprintable() else " " for it in name).split())
    wanted = wanted if len(wanted) <= 48 else wanted[:47] + "…"
    assert wanted in [label.partition("\n")[0] for label in picture.shapes]
    assert not re.search(r"%%|\$\$|`", source)
    assert [tag for tag in re.findall(r"<[^>]*>", source) if tag != "<br>"] == []
    assert html.unescape(source) == source
    check_dot(to_dot(flow.definition))


def check_dot(text: str) -> None:
    """Every line of a DOT text is a statement, with its strings closed."""
    string = r'"(?:[^"\\]|\\.)*"'
    value = rf"(?:[\w.#]+|{string})"
    options = rf" \[\w+={value}(?:, \w+={value})*\]"
    frames, nodes = rf"digraph {string} \{{|subgraph cluster_b\d+ \{{|\}}", rf"(?:graph|node|edge|n\d+){options}"
    statement = rf"{frames}|{nodes}|n\d+ -> n\d+(?:{options})?"
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if not re.fullmatch(statement, line)] == []
    assert sum(line.endswith("{") for line in lines) == lines.count("}")


def test_the_same_flow_gives_the_same_text() -> None:
    code = (
        "import runpy; from triggerflow.diagram import *\n"
        "d = runpy.run_path('examples/loop_and_join.py')['flow'].definition\n"
        "print(to_mermaid(d), to_mermaid(d, mode='detailed'), to_dot(d))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


@RANDOM
@given(programs())
def test_random_flows_can_be_drawn(program: Program) -> None:
    definition = program.flow.definition
    names = {it.name for it in definition.operators if it.kind is OperatorKind.CHUNK}
    for mode in ("simplified", "detailed"):
        picture = read(to_mermaid(definition, mode=mode))  # type: ignore[arg-type]
        labels = {label.partition("\n")[0].rstrip("~") for label in picture.shapes}
        assert names <= labels
        touched = {label for line in picture.lines for label in line[:2]}
        assert touched == set(picture.shapes)
    check_dot(to_dot(definition))


# -- a run -------------------------------------------------------------------------------------------------------------


def info(text: str) -> events.ErrorInfo:
    return events.ErrorInfo("ValueError", text)


def test_a_run_shows_where_each_operator_stands() -> None:
    flow = TriggerFlow(name="f")
    flow.chunk("busy", concurrency=1)(draft)
    flow.for_each().to("busy").end_for_each().to(publish)
    flow.to(check)
    flow.to(style)
    flow.to(log).end()
    flow.when(["a", "b"]).to(plan)
    flow.when(["a", "c"], mode="or").to(("heard", plan))
    records: list[events.Event] = [
        events.Started(100.0, [1, 2, 3], skip_exceptions=True),  # runs 2 to 4 are busy (1 is the opening), then 5, 6, 7
        events.Completed(100.25, 2, "one"),
        events.Failed(100.3, 5, info("again"), retry_in=10.0),
        events.Failed(100.4, 6, info("no")),
        events.Completed(100.5, 7, None),
        events.Emitted(101.0, None, "a", 1),
    ]
    view = run_view(flow.definition, records)
    assert view.status == "running"
    assert {id: (it.status, it.count, it.milliseconds) for id, it in view.operators.items() if it.count} == {
        "for_each<-start": ("running", 1, 0.0),
        "busy": ("running", 2, 1000.0),
        "check": ("waiting", 1, 300.0),
        "style": ("failed", 1, 400.0),
        "log": ("done", 1, 500.0),
        "end<-log": ("done", 1, 0.0),
        "when:a|c": ("done", 1, 0.0),
        "heard": ("running", 1, 0.0),
    }
    assert view.operators["when:a&b"] == OperatorView("waiting")
    assert view.operators["for_each<-start/end"] == OperatorView("waiting")
    assert view.operators["publish"] == OperatorView("idle")
    picture = drawn(flow, run=view)
    assert picture.classes["busy\n2 runs, 1,000 ms"] == "running"
    assert picture.classes["check\n1 run, 300 ms"] == "waiting"
    assert picture.classes["style\n1 run, 400 ms"] == "failed"
    assert picture.classes["log\n1 run, 500 ms"] == "done"
    assert picture.classes["publish"] == "idle"
    assert (picture.classes["and"], picture.classes["or\nonce"]) == ("waiting", "done")
    assert picture.classes["for each item\nonce"] == "running"
    assert '"busy\\n2 runs, 1,000 ms"' in to_dot(flow.definition, run=view)


def test_a_chunk_that_asks_waits_until_it_is_answered() -> None:
    flow = TriggerFlow(name="f")
    flow.to(draft).to(publish).end()
    records: list[events.Event] = [events.Started(0.0, 1), events.Paused(2.0, 1, "approve")]
    assert run_view(flow.definition, records).operators["draft"] == OperatorView("waiting", 1, 2000.0)
    records += [events.Resumed(9.0, "approve", True), events.Completed(9.5, 2, "x")]
    view = run_view(flow.definition, records)
    assert view.status == "completed"
    assert view.operators["draft"] == OperatorView("done", 1, 2000.0)
    assert view.operators["publish"] == OperatorView("done", 1, 500.0)


def test_cases_count_their_hits() -> None:
    flow = TriggerFlow(name="f")
    flow.for_each().match().case(1).to(draft).case(2).case_else().end_match().end_for_each().end()
    records: list[events.Event] = [events.Started(0.0, [1, 2, 2, 3])]
    view = run_view(flow.definition, records)
    counts = {it.id: view.operators[it.id].count for it in flow.definition.operators}
    prefix = "match<-for_each<-start"
    assert [counts[f"{prefix}/{number}"] for number in (1, 2, 3)] == [1, 2, 1]
    assert (counts[prefix], counts[f"{prefix}/end"], counts["for_each<-start/end"]) == (4, 3, 0)
    classes = drawn(flow, run=view, mode="detailed").classes
    assert [label for label in classes if label.startswith(("1\n", "2\n", "else\n"))] == [
        "1\nonce",
        "2\n2 times",
        "else\nonce",
    ]


def test_operators_that_share_a_box_are_added_up() -> None:
    flow = TriggerFlow(name="f")
    again = flow.chunk("again")(draft)
    flow.to(again).end()
    flow.when("more").to(again)
    view = RunView(
        "running", {"again": OperatorView("done", 2, 20.0), "again<-when:more": OperatorView("failed", 1, 0.01)}
    )
    assert drawn(flow, run=view).classes["again\n3 runs, 20 ms"] == "failed"


def test_a_journal_without_its_beginning_is_refused() -> None:
    flow = TriggerFlow(name="f")
    flow.to(draft).end()
    with pytest.raises(UsageError, match=r"record 1 .* journal_limit"):
        run_view(flow.definition, [events.Completed(1.0, 1, None)])


@RANDOM
@given(programs(), st.integers(0, 1000))
def test_the_view_of_a_random_run_counts_what_was_issued(program: Program, seed: int) -> None:
    simulation = program.simulate(lambda count: seed % count)
    view = run_view(program.flow.definition, simulation.records)
    assert view.status == simulation.machine.state.status
    for operator in program.flow.definition.operators:
        if operator.kind is OperatorKind.CHUNK:
            issued = {run.id for run in simulation.issued if isinstance(run, RunChunk) and run.node.id == operator.id}
            assert view.operators[operator.id].count == len(issued)
            assert issued or view.operators[operator.id].status in ("idle", "waiting")
    for cut in range(0, len(simulation.records), 7):
        partial = run_view(program.flow.definition, simulation.records[:cut])
        read(to_mermaid(program.flow.definition, run=partial))
        check_dot(to_dot(program.flow.definition, run=partial))


# -- the documents -----------------------------------------------------------------------------------------------------


def example(name: str) -> Definition:
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["flow"].definition


def stored(name: str) -> str:
    return (ROOT / "docs" / "diagrams" / name).read_text("utf-8")


def test_the_stored_sources_are_what_is_written_today(run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    assert to_mermaid(example("playbook")) == stored("playbook.mmd")
    flow = runpy.run_path(str(ROOT / "examples" / "loop_and_join.py"))["flow"]

    async def brochure() -> str:
        execution = flow.create_execution()
        await execution.async_start()
        return to_mermaid(flow.definition, run=run_view(flow.definition, execution.records))

    without_times = [re.sub(r"runs?, [^\"]*", "", text) for text in (run(brochure()), stored("brochure-run.mmd"))]
    assert without_times[0] == without_times[1]
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "diagrams.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {}
    exec(block[1], namespace)  # noqa: S102 - our own document
    assert to_dot(namespace["flow"].definition) == stored("review.dot")
    for name in ("playbook", "brochure-run", "review"):
        assert stored(f"{name}.svg").count("<text") > 5
