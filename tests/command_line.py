"""The command `triggerflow` as a person uses it: real processes in a folder of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = (sys.executable, "-W", "error", "-m", "triggerflow.cli")

#: A flow that asks a person, and one that fails until a file is there.
REPORT = """
import asyncio
from pathlib import Path

from triggerflow import TriggerFlow

flow = TriggerFlow("report")


@flow.chunk("draft")
async def draft(data):
    await data.async_put_into_stream(f"drafting {data.value}")
    data.state.set("topic", data.value)
    data.pause_for(type="approval", payload=data.value, schema=bool, interrupt_id="approve")


@flow.chunk("publish")
async def publish(data):
    if not data.value:
        raise ValueError("refused")
    return f"{data.state.get('topic')}: {data.value}"


flow.to(draft).to(publish).end()

slow = TriggerFlow("slow")


@slow.chunk("wait")
async def wait(data):
    await data.async_put_into_stream("waiting for the gate")
    while not Path("gate").exists():
        await asyncio.sleep(0.01)
    return "open"


slow.to(wait).end()

typed = TriggerFlow("typed")
typed.set_contract(initial_input=int, result=int)
go = typed.signal("go", int, external=True)


async def begin(data):
    data.state.set("start", data.value)


async def add(data):
    return data.state.get("start") + data.value


typed.to(begin)
typed.when(go).to(add).end()
"""


class Said(NamedTuple):
    """What a command has printed, and its exit code."""

    out: str
    err: str
    code: int


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: without what the person who tests has set for it."""
    kept = {name: it for name, it in os.environ.items() if not name.startswith(("TRIGGERFLOW_", "COLUMNS"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


class Terminal:
    """Runs commands in one folder."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.more = more
        (folder / "report.py").write_text(REPORT)

    def __call__(self, *arguments: str, code: int = 0, **more: str) -> Said:
        """Run a command to its end, which has this exit code."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.more, **more),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        said = Said(done.stdout, done.stderr, done.returncode)
        assert said.code == code, said
        assert "Traceback" not in said.err, said
        return said

    @contextmanager
    def running(self, *arguments: str, until: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that goes on, from when it has printed a text on standard error."""
        process: Any = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=environment(**self.more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            process.begin = ""
            while until not in process.begin:
                line = process.stderr.readline()
                assert line, process.begin
                process.begin += line
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


def end_of(process: "subprocess.Popen[str]", number: int) -> Said:
    """Send a signal to a command that goes on, and wait for its end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return Said(out, err, process.returncode)
