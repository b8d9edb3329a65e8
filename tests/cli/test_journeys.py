"""What a person does with the command, on a store file, a database and a server alike."""

import json
import signal
from typing import Any

import pytest

from tests.command_line import Terminal, end_of

Place = tuple[str, Terminal]


def code_of(kind: str) -> list[str]:
    """Where nobody runs the flow, the command does."""
    return [] if kind == "url" else ["--target", "report.py:flow"]


def target_of(kind: str, flow: str, variable: str) -> str:
    return flow if kind == "url" else f"report.py:{variable}"


def shown(terminal: Terminal, id: str) -> Any:
    return json.loads(terminal("show", id, "--json").out)


def ended(terminal: Terminal, id: str) -> str:
    """The status of an execution when it has ended."""
    terminal("watch", id, code=terminal_code(terminal, id))
    return shown(terminal, id)["execution"]["status"]


def terminal_code(terminal: Terminal, id: str) -> int:
    for line in terminal("frames", id, "--follow", "--json").out.splitlines():
        status = json.loads(line)["status"]
    return 0 if status == "completed" else 1


@pytest.mark.timeout(240)
def test_from_a_start_to_a_published_report(place: Place) -> None:
    kind, terminal = place
    started = terminal(
        "run", target_of(kind, "report", "flow"), "sails", "--id", "report-1", "--label", "team=space", code=5
    )
    assert "drafting sails" in started.err
    assert "triggerflow answer report-1 approve VALUE" in started.err
    assert started.out == ""

    row = next(line for line in terminal("runs").out.splitlines() if line.startswith("report-1"))
    assert "waiting" in row
    assert "team=space" in row
    assert "1 question" in row
    asked = json.loads(terminal("questions", "--json").out)["questions"]
    assert [(it["execution"], it["id"], it["schema"]) for it in asked] == [("report-1", "approve", {"type": "boolean"})]
    assert "boolean" in terminal("questions", "rep").out

    answered = terminal("answer", "rep", "appr", "true", "--request", "form-1", *code_of(kind))
    assert "answered approve" in answered.out + answered.err
    assert ended(terminal, "report-1") == "completed"
    assert 'result        "sails: True"' in terminal("show", "report-1").out
    assert terminal("stream", "report-1").out.splitlines()[0] == "drafting sails"
    frames = [json.loads(line) for line in terminal("frames", "report-1", "--json", "--after", "2").out.splitlines()]
    assert [it["number"] for it in frames] == list(range(3, 3 + len(frames)))
    assert frames[-1]["result"] == "sails: True"
    assert json.loads(terminal("show", "report-1", "--at", "1", "--json").out)["state"]["status"] == "running"


@pytest.mark.timeout(240)
def test_a_fork_that_fails_and_is_run_again(place: Place) -> None:
    kind, terminal = place
    terminal("run", target_of(kind, "report", "flow"), "sails", "--id", "one", code=5)
    terminal("answer", "one", "approve", "true", *code_of(kind))
    asked = next(
        it["number"]
        for it in map(json.loads, terminal("frames", "one", "--follow", "--json").out.splitlines())
        if it["kind"] == "paused"
    )
    local = kind != "url"
    terminal("fork", "one", "--at", str(asked), "--id", "two", "--set", "topic=oars", *code_of(kind), code=5 * local)
    terminal("answer", "two", "approve", "false", *code_of(kind), code=1 * local)
    assert ended(terminal, "two") == "failed"
    assert "ValueError in chunk publish: refused" in terminal("show", "two").out
    difference = terminal("diff", "one", "two", code=1)
    assert "status" in difference.out
    assert '"oars"' in difference.out
    assert json.loads(terminal("diff", "one", "one", "--json").out)["same"] is True
    terminal("retry", "two", *code_of(kind), code=1 * local)
    assert ended(terminal, "two") == "failed"
    kinds = [json.loads(line)["kind"] for line in terminal("frames", "two", "--json").out.splitlines()]
    assert "retried" in kinds


@pytest.mark.timeout(240)
def test_a_signal_a_cancellation_a_file_and_a_graph(place: Place) -> None:
    kind, terminal = place
    code = [] if kind == "url" else ["--target", "report.py:typed"]
    waiting = terminal("run", target_of(kind, "typed", "typed"), "40", "--id", "sum", code=5)
    assert "triggerflow signal sum go VALUE" in waiting.err
    sent = terminal("signal", "sum", "go", "2", *code)
    assert "sent go" in sent.out + sent.err
    assert ended(terminal, "sum") == "completed"
    assert shown(terminal, "sum")["state"]["result"] == 42

    id = json.loads(terminal("run", target_of(kind, "typed", "typed"), "1", "--detach", "--json").out)["id"]
    cancelled = terminal("cancel", id, "--reason", "not needed", *code, code=0 if kind == "url" else 1)
    assert "cancelled" in cancelled.out + cancelled.err
    assert shown(terminal, id)["state"]["reason"] == "not needed"

    terminal("export", "sum", "-o", "sum.jsonl")
    assert terminal("load", "sum.jsonl", "report.py:typed", "--store", "other.db", "--id", "copy").out.startswith(
        "copy is"
    )
    opened = terminal("open", "other.db").out
    assert "1 execution of 1 flow" in opened
    assert terminal("graph", "typed").out == terminal("graph", "report.py:typed").out
    flows = json.loads(terminal("flows", "--json").out)
    assert [it["name"] for it in flows if it["counts"]] == ["typed"]


@pytest.mark.timeout(120)
def test_a_worker_does_what_another_terminal_asks_for(terminal: Terminal) -> None:
    terminal.more["TRIGGERFLOW_STORE"] = "runs.db"
    with terminal.running("worker", "report.py:flow", "--poll", "0.2", until="working on report") as worker:
        id = terminal("run", "report.py:flow", "sails", "--detach").out.strip()
        while not json.loads(terminal("questions", id, "--json").out)["questions"]:
            pass
        assert terminal("answer", id, "approve", "true").out.startswith("answered approve")
        assert ended(terminal, id) == "completed"
        stopped = end_of(worker, signal.SIGTERM)
        assert stopped.code == 0
        assert "stopped" in stopped.err


@pytest.mark.timeout(120)
def test_without_anybody_who_runs_it_an_answer_says_what_to_do(terminal: Terminal) -> None:
    terminal("run", "report.py:flow", "sails", "--id", "one", "--store", "runs.db", code=5)
    refused = terminal("answer", "one", "approve", "true", "--store", "runs.db", "--wait", "0.1", code=4)
    assert "this was not done" in refused.err
    assert "triggerflow worker TARGET --store runs.db" in refused.err
    assert len(json.loads(terminal("questions", "--store", "runs.db", "--json").out)["questions"]) == 1


@pytest.mark.timeout(120)
def test_what_was_interrupted_says_how_to_go_on_and_goes_on(terminal: Terminal) -> None:
    with terminal.running(
        "run", "report.py:slow", "--id", "night", "--store", "runs.db", until="waiting for the gate"
    ) as process:
        stopped = end_of(process, signal.SIGINT)
    assert stopped.code == 130
    continued = "triggerflow run report.py:slow --id night --store runs.db"
    assert f"it stays in runs.db; continue it with: {continued}" in stopped.err
    assert "Traceback" not in stopped.err
    assert "nobody runs it" in terminal("runs", "--store", "runs.db").out
    refused = terminal("run", "report.py:slow", "1", "--id", "night", "--store", "runs.db", code=4)
    assert "exists already" in refused.err
    (terminal.folder / "gate").touch()
    assert terminal("run", "report.py:slow", "--id", "night", "--store", "runs.db").out == "open\n"
    assert terminal("run", "report.py:slow", "--id", "night", "--store", "runs.db").out == "open\n"


@pytest.mark.timeout(120)
def test_without_a_store_a_run_is_over_when_it_is_interrupted(terminal: Terminal) -> None:
    with terminal.running("run", "report.py:slow", until="waiting for the gate") as process:
        stopped = end_of(process, signal.SIGINT)
    assert stopped.code == 130
    assert "--store" in stopped.err
    asked = terminal("run", "report.py:flow", "sails", code=5)
    assert "add --store FILE" in asked.err


KEPT = """
from dataclasses import dataclass

from triggerflow import TriggerFlow


@dataclass
class Plan:
    steps: list[str]


inner = TriggerFlow("inner")
flow = TriggerFlow("outer")
for it in (inner, flow):
    it.register_type(Plan)


async def plan(data):
    return Plan([data.value, "end"])


async def ask(data):
    data.state.set("plan", data.value)
    data.pause_for(type="approval", payload=data.value, interrupt_id="go")


async def tell(data):
    return [type(data.state.get("plan")).__name__, data.state.get("plan").steps]


inner.to(ask).to(tell).end()
flow.to(plan).to_sub_flow(inner).end()
"""


@pytest.mark.timeout(120)
def test_what_is_kept_in_order_without_code_goes_on_with_it(terminal: Terminal) -> None:
    """Values of classes of the flow stay what they are, in sub-flows too."""
    (terminal.folder / "kept.py").write_text(KEPT)
    terminal.more["TRIGGERFLOW_STORE"] = "runs.db"
    for id in ("one", "two"):
        terminal("run", "kept.py:flow", "begin", "--id", id, code=5)
    assert '"$type": "Plan"' in json.dumps(shown(terminal, "one")["questions"][0]["payload"])
    assert "records deleted" in terminal("compact", "one").out
    question = shown(terminal, "one")["questions"][0]["id"]
    assert terminal("answer", "one", question, "yes", "--target", "kept.py:flow").out == '["Plan",["begin","end"]]\n'
    terminal("export", "two", "-o", "two.jsonl")
    terminal("cancel", "two", "--target", "kept.py:flow", code=1)
    assert terminal("prune", "outer", "--keep", "0").out.startswith("4 deleted")
    terminal("load", "two.jsonl", "kept.py:flow")
    assert terminal("answer", "two", question, "yes", "--target", "kept.py:flow").out == '["Plan",["begin","end"]]\n'


@pytest.mark.timeout(120)
def test_a_token_opens_what_it_grants(terminal: Terminal) -> None:
    reading = terminal("token", "reader", "--tokens", "tokens.json").out.strip()
    acting = terminal("token", "ann", "--tokens", "tokens.json", "--act", "--flow", "typed").out.strip()
    assert reading not in (terminal.folder / "tokens.json").read_text()
    command = ("serve", "report.py:flow", "report.py:typed", "--store", "runs.db", "--port", "0")
    with terminal.running(*command, "--tokens", "tokens.json", until="serving") as process:
        place = ("--store", process.begin.split(" at ")[1].split(",")[0])  # type: ignore[attr-defined]
        for secret in ("", "wrong"):
            refused = terminal("runs", *place, TRIGGERFLOW_TOKEN=secret, code=6)
            assert "TRIGGERFLOW_TOKEN, or --token-file FILE" in refused.err
        assert "typed" in terminal("flows", *place, TRIGGERFLOW_TOKEN=reading).out
        terminal("run", "typed", "1", "--detach", *place, TRIGGERFLOW_TOKEN=reading, code=6)
        (terminal.folder / "secret").write_text(f"{acting}\n")
        place = (*place, "--token-file", "secret")
        id = terminal("run", "typed", "1", "--detach", *place).out.strip()
        assert terminal("signal", id, "go", "2", *place).out.startswith("sent go")
        terminal("run", "report", "sails", *place, code=3)
        stopped = end_of(process, signal.SIGTERM)
        assert (stopped.code, "stopped" in stopped.err) == (0, True)
        assert acting not in stopped.err
