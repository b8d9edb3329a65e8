"""The verbs of the command, with their arguments and options. The other modules implement them."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter, UnknownCommandError, UnusedCliTokensError, validators

from .troubles import BUG, INTERRUPTED, USAGE, Trouble, explained, meant

Status = Literal["created", "running", "waiting", "completed", "failed", "cancelled"]

RUN, LOOK, ACT, KEEP = (
    Group(name, sort_key=number)
    for number, name in enumerate(("Run", "Look", "Act", "Keep in order"), 1)
)  # fmt: skip

app = App(
    name="triggerflow",
    help="Run flows, and look at and act on their executions, in a store file, a database or a server.",
    help_epilogue=(
        "TARGET is module:flow or path.py:flow, or path.py if it has one flow. A VALUE is JSON; a bare word is a text. "
        "The beginning of an ID is enough. Exit codes: 0 done, 1 the execution failed, 2 wrong usage, 3 not found, "
        "4 not possible now, 5 waits for an answer or a signal, 6 the store cannot be reached. With --debug an error "
        "shows its traceback."
    ),
    help_format="plaintext",
    version=lambda: _version(),
    result_action="return_value",
)

# -- options that several verbs have -----------------------------------------------------------------------------------

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON: one document, or one a line.")]
Labels = Annotated[
    tuple[str, ...], Parameter(name=["--label", "-l"], negative="", help="A label as name=value; may be repeated.")
]
Targets = Annotated[
    tuple[str, ...],
    Parameter(
        name=["--target", "-t"],
        negative="",
        help="The code of the flow: the execution runs in this process. Repeatable.",
    ),
]
Wait = Annotated[float, Parameter(help="How many seconds to wait for the process that runs the execution.")]
Request = Annotated[
    str | None, Parameter(help="An id of this request: a second call with it does nothing, and prints the same.")
]
After = Annotated[int, Parameter(help="Leave out those up to this number.", validator=validators.Number(gte=0))]
Limit = Annotated[
    int, Parameter(name=["--limit", "-n"], help="How many at most.", validator=validators.Number(gte=1, lte=1000))
]
Plain = Annotated[bool, Parameter(name="--plain", negative="", help="One line for each thing that happens.")]
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Also print new ones, until the end.")]
Flag = Parameter(negative="")


@Parameter(name="*")
@dataclass
class Where:
    """Where the executions are."""

    store: Annotated[
        str | None,
        Parameter(
            name=["--store", "-s"],
            env_var="TRIGGERFLOW_STORE",
            help="An SQLite file, postgresql://user@host/database (#schema), or http(s)://... of a server.",
        ),
    ] = None
    token_file: Annotated[
        str | None,
        Parameter(help="A file with the token for a server; or set TRIGGERFLOW_TOKEN."),
    ] = None


# -- running -----------------------------------------------------------------------------------------------------------


@app.command(group=RUN)
def run(
    target: str,
    value: str | None = None,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="", help="Show it while it runs.")] = False,
    detach: Annotated[bool, Parameter(negative="", help="Only start it: a worker runs it.")] = False,
    id: Annotated[str | None, Parameter(help="The id of the execution; one that exists continues.")] = None,
    label: Labels = (),
    input: Annotated[
        str | None, Parameter(name=["--input", "-i"], help="Read VALUE from this file; - is standard input.")
    ] = None,
    json: Json = False,
) -> int:
    """Run a flow to its end, and print its result.

    Items of its stream go to standard error. With a store it is durable: after Ctrl-C the same command with --id
    continues it. With the address of a server, TARGET is the name of a flow there.
    """
    from . import running, targets
    from .places import kind_of
    from .values import read_file

    if input is not None:
        if value is not None:
            raise Trouble(USAGE, "VALUE is given twice: as an argument, and with --input")
        value = read_file(input)
    options: dict[str, Any] = {"id": id, "labels": label, "watch": watch, "detach": detach, "json": json}
    if at.store and kind_of(at.store) == "server":
        return _run(running.run_there(target, value, where=at.store, token_file=at.token_file, **options))
    return _run(running.run(targets.flow_of(target), target, value, where=at.store, **options))


@app.command(group=RUN)
def worker(
    target: str,
    /,
    *others: str,
    at: Where = Where(),  # noqa: B008
    at_once: Annotated[int, Parameter(help="How many executions at the same time.")] = 1000,
    poll: Annotated[float, Parameter(help="Look for work at least every so many seconds.")] = 1.0,
    grace: Annotated[float, Parameter(help="On SIGTERM, wait so many seconds for chunks that run.")] = 10.0,
) -> int:
    """Run the durable executions of flows, until Ctrl-C or SIGTERM. TARGETs name the code of the flows."""
    from . import running, targets

    flows = targets.flows_of((target, *others))
    return _run(running.worker(flows, at.store, at_once=at_once, poll=poll, grace=grace))


@app.command(group=RUN)
def serve(
    *targets: str,
    at: Where = Where(),  # noqa: B008
    host: Annotated[
        str, Parameter(help="The address to listen on. One that other machines can reach needs --tokens.")
    ] = "127.0.0.1",
    port: Annotated[int, Parameter(help="The port; 0 takes a free one.")] = 8099,
    tokens: Annotated[
        str | None, Parameter(help="A file with the tokens that the server accepts; see `triggerflow token`.")
    ] = None,
    name: Annotated[
        tuple[str, ...], Parameter(negative="", help="A name by which others call this machine. Repeatable.")
    ] = (),
    worker: Annotated[bool, Parameter(help="Also run the executions here, instead of leaving them to workers.")] = True,
) -> int:
    """Serve the executions of a store over HTTP, until Ctrl-C or SIGTERM. TARGETs name the code of the flows."""
    from . import serving
    from .targets import flows_of

    return _run(
        serving.serve(
            flows_of(targets), at.store, host=host, port=port, tokens=tokens, names=name, works=worker and bool(targets)
        )
    )


@app.command(group=RUN)
def token(
    name: str,
    /,
    *,
    tokens: Annotated[str, Parameter(help="The file; it is made if it does not exist.")],
    act: Annotated[bool, Parameter(negative="", help="It may also start and change executions.")] = False,
    flow: Annotated[tuple[str, ...], Parameter(negative="", help="Only for this flow. Repeatable.")] = (),
) -> int:
    """Make a token for a server, print it once, and add its hash to a file for `serve --tokens`."""
    from . import serving

    return serving.make_token(name, tokens, act=act, flows=flow)


# -- looking -----------------------------------------------------------------------------------------------------------


@app.command(group=LOOK)
def open(
    file: str,
    /,
    *,
    page: Annotated[
        bool | None,
        Parameter(help="Serve a page for your browser, until Ctrl-C, or print. The default is the page on a terminal."),
    ] = None,
    port: Annotated[int, Parameter(help="The port of the page; 0 takes a free one.")] = 0,
    json: Json = False,
) -> int:
    """Show what is in a store, without changing it and without its code. FILE may be an address, too."""
    from . import looking, serving

    if page and json:
        raise Trouble(USAGE, "--page is for a browser and --json for a program: take one of the two")
    if page or (page is None and not json and sys.stdout.isatty() and serving.can_serve()):
        return _run(serving.show_page(file, port))
    return _run(looking.overview(file, json))


@app.command(group=LOOK)
def flows(*, at: Where = Where(), json: Json = False) -> int:  # noqa: B008
    """List the flows, with how many executions they have."""
    from . import looking

    return _look(at, lambda place: looking.flows(place, json))


@app.command(group=LOOK)
def runs(
    *,
    at: Where = Where(),  # noqa: B008
    flow: Annotated[str | None, Parameter(help="Only of this flow.")] = None,
    status: Annotated[tuple[Status, ...], Parameter(negative="", help="Only with this status. Repeatable.")] = (),
    since: Annotated[str | None, Parameter(help="Created since: an age (30min, 2h, 7d) or a time.")] = None,
    until: Annotated[str | None, Parameter(help="Created before: an age or a time.")] = None,
    label: Labels = (),
    text: Annotated[str | None, Parameter(help="Id or label begins with it, or a word of the error.")] = None,
    parent: Annotated[str | None, Parameter(help="The sub-flows of this execution.")] = None,
    after: Annotated[str | None, Parameter(help="The page after this id.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> int:
    """List executions, the newest first."""
    from . import looking

    return _look(
        at,
        lambda place: looking.runs(
            place,
            flow=flow,
            status=status,
            since=since,
            until=until,
            labels=label,
            text=text,
            parent=parent,
            after=after,
            limit=limit,
            json=json,
        ),
    )


@app.command(group=LOOK)
def show(
    id: str,
    /,
    *,
    at: Annotated[int | None, Parameter(help="As it was after this frame.", validator=validators.Number(gte=0))] = None,
    where: Where = Where(),  # noqa: B008
    json: Json = False,
) -> int:
    """Show one execution: status, state, questions, what runs."""
    from . import looking

    return _look(where, lambda place: looking.show(place, id, at=at, json=json))


@app.command(group=LOOK)
def watch(id: str, /, *, at: Where = Where(), plain: Plain = False) -> int:  # noqa: B008
    """Show an execution while it runs. The exit code is that of its end."""
    from . import running

    # On a terminal, questions are answered there.
    use = "write" if sys.stdout.isatty() and not plain else "read"
    return _look(at, lambda place: running.watch(place, id, plain=plain), use=use, follows=True)


@app.command(group=LOOK)
def frames(id: str, /, *, at: Where = Where(), after: After = 0, follow: Follow = False, json: Json = False) -> int:  # noqa: B008
    """List what happened in an execution, record by record."""
    from . import looking

    return _look(at, lambda place: looking.frames(place, id, after=after, follow=follow, json=json), follows=follow)


@app.command(group=LOOK)
def stream(
    id: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    after: After = 0,
    follow: Follow = False,
    compact: Annotated[bool, Parameter(negative="", help="Join items that differ only in a text.")] = False,
    json: Json = False,
) -> int:
    """Print the items of the runtime stream of an execution."""
    from . import looking

    return _look(
        at,
        lambda place: looking.stream(place, id, after=after, follow=follow, compact=compact, json=json),
        follows=follow,
    )


@app.command(group=LOOK)
def questions(
    id: str | None = None,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    flow: Annotated[str | None, Parameter(help="Only of this flow.")] = None,
    after: Annotated[str | None, Parameter(help="The page after this cursor.")] = None,
    limit: Limit = 50,
    json: Json = False,
) -> int:
    """List the open questions, the oldest first: of all executions, or of one."""
    from . import looking

    return _look(
        at, lambda place: looking.questions(place, flow=flow, execution=id, after=after, limit=limit, json=json)
    )


@app.command(group=LOOK)
def diff(one: str, other: str, /, *, at: Where = Where(), json: Json = False) -> int:  # noqa: B008
    """Compare two executions of a flow. The exit code is 1 if they differ."""
    from . import looking

    return _look(at, lambda place: looking.diff(place, one, other, json))


@app.command(group=LOOK)
def graph(
    target: Annotated[str, Parameter(help="A TARGET, or the name of a flow in the store.")],
    /,
    *,
    at: Where = Where(),  # noqa: B008
    definition: Annotated[str | None, Parameter(help="Of this definition of the flow, by its fingerprint.")] = None,
    detailed: Annotated[bool, Parameter(negative="", help="Every operator, with its options.")] = False,
    json: Json = False,
) -> int:
    """Draw the graph of a flow, as Mermaid."""
    from . import looking, targets

    if targets.is_target(target):
        flow = targets.flow_of(target)
        return _run(looking.graph_of_code(flow, definition=definition, detailed=detailed, json=json))
    return _look(
        at, lambda place: looking.graph(place.backend, target, definition=definition, detailed=detailed, json=json)
    )


@app.command(group=LOOK)
def schedules(
    *,
    at: Where = Where(),  # noqa: B008
    flow: Annotated[str | None, Parameter(help="Only of this flow.")] = None,
    json: Json = False,
) -> int:
    """List the schedules in the store."""
    from . import looking

    return _look(at, lambda place: looking.schedules(place, flow=flow, json=json))


# -- acting ------------------------------------------------------------------------------------------------------------


@app.command(group=ACT)
def answer(
    id: str,
    question: str,
    value: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    target: Targets = (),
    wait: Wait = 30.0,
    request: Request = None,
    json: Json = False,
) -> int:
    """Answer an open question."""
    from . import acting

    return _act(
        at, target, lambda place: acting.answer(place, id, question, value, wait=wait, request=request, json=json)
    )


@app.command(group=ACT)
def signal(
    id: str,
    name: str,
    value: str | None = None,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    delay: Annotated[float | None, Parameter(help="Send it after so many seconds.")] = None,
    target: Targets = (),
    wait: Wait = 30.0,
    request: Request = None,
    json: Json = False,
) -> int:
    """Send a signal from outside to an execution."""
    from . import acting

    return _act(
        at,
        target,
        lambda place: acting.signal(place, id, name, value, delay=delay, wait=wait, request=request, json=json),
    )


@app.command(group=ACT)
def cancel(
    id: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    reason: Annotated[str, Parameter(help="Why, for those who read it later.")] = "cancelled at the command line",
    target: Targets = (),
    wait: Wait = 30.0,
    request: Request = None,
    json: Json = False,
) -> int:
    """Cancel an execution."""
    from . import acting

    return _act(
        at, target, lambda place: acting.cancel(place, id, reason=reason, wait=wait, request=request, json=json)
    )


@app.command(group=ACT)
def retry(
    id: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    force: Annotated[bool, Parameter(negative="", help="Also if an error route has done work already.")] = False,
    target: Targets = (),
    request: Request = None,
    json: Json = False,
) -> int:
    """Run a failed execution again from where it failed."""
    from . import acting

    return _act(at, target, lambda place: acting.retry(place, id, force=force, request=request, json=json))


@app.command(group=ACT)
def fork(
    id: str,
    /,
    *,
    at: Annotated[int, Parameter(help="After which frame the fork begins.")],
    where: Where = Where(),  # noqa: B008
    new_id: Annotated[str | None, Parameter(name="--id", help="The id of the fork.")] = None,
    set: Annotated[tuple[str, ...], Parameter(negative="", help="A key of the state, as key=VALUE. Repeatable.")] = (),
    value: Annotated[str | None, Parameter(help="Another value in the last frame: a start, result or answer.")] = None,
    target: Targets = (),
    json: Json = False,
) -> int:
    """Make a new execution out of the first frames of another one."""
    from . import acting

    return _act(
        where,
        target,
        lambda place: acting.fork(place, id, at=at, new_id=new_id, state=set, value=value, json=json),
    )


# -- keeping in order --------------------------------------------------------------------------------------------------


@app.command(group=KEEP)
def export(
    id: str,
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"], help="The file; - is standard output.")] = None,
    at: Where = Where(),  # noqa: B008
) -> int:
    """Write an execution with its sub-flows to a file (.jsonl)."""
    from . import looking

    return _look(at, lambda place: looking.export(place, id, output))


@app.command(group=KEEP)
def load(
    file: str,
    target: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    id: Annotated[str | None, Parameter(help="Load it under another id.")] = None,
    json: Json = False,
) -> int:
    """Load a file that `export` has written. It is checked first, for which TARGET names the code of its flow."""
    from . import targets, upkeep

    found = targets.flows_of((target,))
    return _run(_opened(at, "create", lambda place: upkeep.load(place, file, id=id, json=json), found))


@app.command(group=KEEP)
def prune(
    flow: str,
    /,
    *,
    at: Where = Where(),  # noqa: B008
    older_than: Annotated[str | None, Parameter(help="Those that ended so long ago: 12h, 30d.")] = None,
    keep: Annotated[int | None, Parameter(help="All but so many.", validator=validators.Number(gte=0))] = None,
    shrink: Annotated[bool, Parameter(negative="", help="Give the space back to the system.")] = False,
    json: Json = False,
) -> int:
    """Delete executions of a flow that have ended."""
    from . import upkeep

    return _look(
        at,
        lambda place: upkeep.prune(place, flow, older_than=older_than, keep=keep, shrink=shrink, json=json),
        use="write",
    )


@app.command(group=KEEP)
def compact(id: str, /, *, at: Where = Where(), json: Json = False) -> int:  # noqa: B008
    """Replace the records of an execution by its newest state. Its past cannot be shown any more."""
    from . import upkeep

    return _look(at, lambda place: upkeep.compact(place, id, json), use="write")


@app.command(group=KEEP, name="completion")
def completion(shell: Literal["bash", "zsh", "fish"], /) -> int:
    """Print the completion of this command for a shell: `source <(triggerflow completion bash)`."""
    from .printing import say

    say(app.generate_completion(shell=shell))
    return 0


# -- how they run ------------------------------------------------------------------------------------------------------

Verb = Callable[[Any], Coroutine[Any, Any, int]]


def _run(work: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(work)


async def _opened(
    at: Where, use: Literal["read", "write", "create"], verb: Verb, flows: Any = (), *, follows: bool = False
) -> int:
    from .places import opened

    async with opened(at.store, use, flows=flows, token_file=at.token_file, follows=follows) as place:
        return await verb(place)


def _look(at: Where, verb: Verb, use: Literal["read", "write"] = "read", *, follows: bool = False) -> int:
    return _run(_opened(at, use, verb, follows=follows))


def _act(at: Where, target: tuple[str, ...], verb: Verb) -> int:
    from .places import kind_of
    from .targets import flows_of

    if target and at.store and kind_of(at.store) == "server":
        raise Trouble(USAGE, "--target is for a store: a server has its own code")
    return _run(_opened(at, "write", verb, flows_of(target)))


def _version() -> str:
    from .. import __version__

    return __version__


def command(arguments: list[str]) -> int:
    """Run the command. Returns its exit code. With --debug, errors are raised; without it, printed."""
    arguments, debug = _without_debug(arguments)
    if debug:
        os.environ["TRIGGERFLOW_DEBUG"] = "1"
    elif "worker" not in arguments[:1] and "serve" not in arguments[:1]:
        _quiet()
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _print_error(USAGE, _usage(error, arguments))
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed it, for example `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        return _print_error(*explained(error))
    return result if isinstance(result, int) else 0


def _print_error(code: int, line: str) -> int:
    from .printing import coloured, note

    sys.stdout.flush()
    print(coloured("error:", 31, sys.stderr), end=" ", file=sys.stderr)
    note(line)
    return code if code else BUG


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, which may stand anywhere before "--"; and whether to show tracebacks."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = "--debug" in arguments[:end]
    kept = [it for at, it in enumerate(arguments) if at >= end or it != "--debug"]
    return kept, found or bool(os.environ.get("TRIGGERFLOW_DEBUG"))


def _usage(error: CycloptsError, arguments: list[str]) -> str:
    """What is wrong with the arguments, in one line, and which --help to read."""
    first = arguments[0] if arguments else ""
    if isinstance(error, UnknownCommandError):
        if first.startswith("-"):
            return f"options come after the verb: triggerflow VERB {first} ...; see triggerflow --help"
        return f"there is no verb {first!r}{meant(first, _verbs())}; see triggerflow --help"
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, UnusedCliTokensError):
        text += ": a value with spaces is written in quotes"
    return f"{text}; see triggerflow {f'{first} ' if first in _verbs() else ''}--help"


def _verbs() -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _quiet() -> None:
    """Silence the log of the engine: a person gets the error of one line instead."""
    logger = logging.getLogger("triggerflow")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
