"""The screen on a terminal: a thin Textual program that paints what `screen` lays out, and turns keys into actions."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, TextIO

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Key
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from .._core.state import StatusName
from ..backend import Answer, AnyAction, Backend, Cancel, Frame, QuestionInfo
from ..run.environment import Environment
from . import answers, safe
from .colours import COLOURS
from .feed import Feed
from .model import Happened, Model
from .screen import Line, View, question_of, reach, rows, screen, value_lines

#: How many times a second the screen is painted at most; and at least, while the execution has not ended.
PAINTS, LEAST = 12, 2


def _coloured(word: str, *, bold: bool = False) -> Style:
    return Style(color=f"color({COLOURS[word] - 30})", bold=bold)


STYLES = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "title": Style(bold=True),
    "key": Style(reverse=True),
    "chosen": Style(reverse=True),
    "label": Style(color="cyan"),
    "queued": Style(dim=True),
    "running": _coloured("running", bold=True),
    "waiting": Style(color="blue"),
    "backoff": _coloured("retry"),
    "asking": _coloured("asked", bold=True),
    "done": _coloured("done"),
    "failed": _coloured("failed", bold=True),
    "cancelled": _coloured("cancelled"),
    "lost": _coloured("lost", bold=True),
}


async def watch_screen(
    backend: Backend, id: str, out: TextIO, environment: Environment, write: Callable[[TextIO, list[str]], None]
) -> StatusName:
    """Show an execution on the whole screen until the person leaves; then write one line with its status."""
    await backend.get(id)  # an error is raised before the screen hides it
    app = Watching(backend, id, environment)
    await app.run_async()
    if app.failure is not None:
        raise app.failure
    model = app.model
    took = safe.duration(model.elapsed(environment.now()))
    flow = f"{model.flow} " if model.flow else ""
    write(out, [f"{flow}{safe.line(id)}: {model.status} {'after' if model.ended else 'since'} {took}"])
    return model.moment.status


class Paper(Widget):
    """The whole screen. Only the lines that have changed are painted."""

    DEFAULT_CSS = "Paper { width: 100%; height: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        """Show these lines."""
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        changed = [number for number, line in enumerate(lines) if line != before[number]]
        if changed:
            self.refresh(*(Region(0, number, self.size.width, 1) for number in changed))

    def render_line(self, y: int) -> Strip:
        """One line."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width)
        parts = [Segment(text, STYLES.get(style)) for text, style in self._lines[y]]
        return Strip(parts).adjust_cell_length(self.size.width)


class Watching(App[None]):
    """Watches one execution."""

    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    ModalScreen { align: center middle; background: transparent; }
    #dialog { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round ansi_bright_yellow; padding: 0 1;
              background: ansi_default; }
    #payload { height: auto; max-height: 12; margin: 1 0; }
    #problem { color: ansi_red; }
    #keys { color: ansi_default; text-style: dim; }
    OptionList { height: auto; max-height: 10; border: none; background: ansi_default; }
    Input { border: round ansi_bright_black; background: ansi_default; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", show=False),
        Binding("ctrl+c", "leave", show=False, priority=True),
        Binding("a", "answer", show=False),
        Binding("n", "next", show=False),
        Binding("c", "cancel", show=False),
        Binding("tab", "panel", show=False, priority=True),
        Binding("shift+tab", "panel", show=False, priority=True),
        Binding("escape", "newest", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home", "move(-100000)", show=False),
        Binding("end", "move(100000)", show=False),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, backend: Backend, id: str, environment: Environment) -> None:
        super().__init__(ansi_color=True)
        self.backend, self.environment = backend, environment
        self.model = Model(id)
        self.view = View()
        self.failure: BaseException | None = None
        self._feed = Feed(backend, self.model, show=self._show, notice=self._notice, sub_flows=True)
        self._following: asyncio.Task[None] | None = None
        self._dirty = True
        self._painted = 0.0
        self.paper = Paper()

    def compose(self) -> ComposeResult:
        """The paper."""
        yield self.paper

    def on_mount(self) -> None:
        """Start the feed and the painting."""
        self._following = asyncio.ensure_future(self._follow())
        self.set_interval(1 / PAINTS, self._tick)

    async def on_unmount(self) -> None:
        """Stop the feed."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        try:
            await self._feed.run()
        except Exception as error:
            self.failure = error
            self.exit()
        self._dirty = True

    def _show(self, happened: list[Happened], frame: Frame) -> None:
        self._dirty = True
        self.view.notice = ""

    def _notice(self, text: str) -> None:
        self.view.notice = text
        self._dirty = True

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._dirty or (not self.model.ended and now - self._painted >= 1 / LEAST):
            self._dirty, self._painted = False, now
            self.paint()

    def on_resize(self) -> None:
        """Paint in the new size."""
        self._dirty = True

    def paint(self) -> None:
        """Paint the screen as it is now."""
        size = self.size
        self.paper.show(screen(self.model, self.view, size.width, size.height, self.environment.now()))

    # -- keys ----------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the paper do nothing while a dialog is open."""
        return action == "leave" or len(self.screen_stack) == 1

    def action_leave(self) -> None:
        """Leave; the execution continues."""
        self.exit()

    def action_panel(self) -> None:
        """Go to the other panel."""
        self.view.panel = "stream" if self.view.panel == "steps" else "steps"
        self._dirty = True

    def action_newest(self) -> None:
        """Show the newest again."""
        self.view.chosen, self.view.back, self.view.top = None, 0, 0
        self._dirty = True

    def action_move(self, by: int) -> None:
        """Choose another step, or move through the stream."""
        view = self.view
        if view.panel == "stream":
            view.back = max(min(view.back - by, self.model.stream.height(self.size.width)), 0)
        else:
            count = len(rows(self.model))
            if count:
                view.chosen = max(min((-1 if view.chosen is None else view.chosen) + by, count - 1), 0)
            view.top = reach(view, count, self.size.width, self.size.height)
        self._dirty = True

    def action_answer(self) -> None:
        """Answer the open question that is shown."""
        if self.model.questions and not self.model.ended:
            self.push_screen(Asking(self, question_of(self.model.questions, self.view.question)[1]))

    def action_next(self) -> None:
        """Show the next open question."""
        self.view.question += 1
        self.view.chosen = None
        self._dirty = True

    def action_cancel(self) -> None:
        """Cancel the execution, after a confirmation."""
        if not self.model.ended:
            self.push_screen(Cancelling(self))

    async def act(self, id: str, action: AnyAction, request: str) -> str:
        """Perform an action on an execution. Returns the text of the error, "" without one."""
        try:
            await self.backend.act(id, action, request=request)
        except Exception as error:
            return safe.line(str(error) or type(error).__name__)
        self._dirty = True
        return ""


class Dialog(ModalScreen[None]):
    """A question to the person. Repeated sending has the same request id, so that the action is performed once."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", show=False)]

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self.watching = watching
        self._sending = False
        self._request = watching.environment.new_id()

    def action_close(self) -> None:
        """Go back without an answer."""
        self.dismiss()

    def problem(self, text: str) -> None:
        """Say what is wrong."""
        self.query_one("#problem", Static).update(Text(text))

    def send(self, id: str, action: AnyAction) -> None:
        """Send an action, and close the dialog when it is done."""
        if not self._sending:
            self._sending = True
            self.problem("")
            self.run_worker(self._send(id, action))

    async def _send(self, id: str, action: AnyAction) -> None:
        wrong = await self.watching.act(id, action, self._request)
        self._sending = False
        if wrong:
            self._request = self.watching.environment.new_id()
            self.problem(wrong)
        elif self.is_current:
            self.dismiss()


class Asking(Dialog):
    """An open question: its schema decides how it is answered."""

    def __init__(self, watching: Watching, question: QuestionInfo) -> None:
        super().__init__(watching)
        self._question = question
        self._form = answers.form(question.schema)

    def compose(self) -> ComposeResult:
        """What is asked, and the form."""
        it = self._question
        with Vertical(id="dialog"):
            yield Static(Text(f"{safe.value(it.own_id, 200)}  asked by {safe.value(it.chunk, 100)}", style="bold"))
            with VerticalScroll(id="payload", can_focus=False):
                payload = "the payload is too large to be shown" if it.cut else it.payload
                yield Static(Text("\n".join(value_lines(payload, 90)) if payload is not None else ""))
            yield Static(Text(answers.wanted(it.schema)))
            if self._form.choices:
                named = {"True": "yes", "False": "no"} if self._form.kind == "yes or no" else {}
                names = [named.get(str(choice), safe.value(choice, 80)) for choice in self._form.choices]
                yield OptionList(*(Option(Text(f"{at + 1}  {name}")) for at, name in enumerate(names)))
            else:
                yield Input(value=answers.template(it.schema), select_on_focus=False)
            yield Static(Text(""), id="problem")
            keys = "y yes   n no   " if self._form.kind == "yes or no" else ""
            yield Static(Text(f"{keys}enter send   esc back"), id="keys")

    def on_mount(self) -> None:
        """Begin in the form."""
        self.query_one(OptionList if self._form.choices else Input).focus()

    def on_key(self, event: Key) -> None:
        """Keys for yes, no, and the numbers of choices."""
        choices = self._form.choices
        if self._form.kind == "yes or no" and event.key in ("y", "n"):
            self._answer(event.key == "y")
        elif choices and event.key.isdecimal() and 0 < int(event.key) <= len(choices):
            self._answer(choices[int(event.key) - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A choice was made."""
        self._answer(self._form.choices[event.option_index])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """An answer was typed."""
        try:
            value = answers.read(self._question.schema, event.value)
        except answers.NoAnswer as error:
            self.problem(str(error))
        else:
            self._answer(value)

    def _answer(self, value: Any) -> None:
        self.send(self._question.execution, Answer(question=self._question.id, value=value))


class Cancelling(Dialog):
    """Asks whether to cancel."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "cancel", show=False),
        Binding("n", "close", show=False),
    ]

    def compose(self) -> ComposeResult:
        """The question."""
        with Vertical(id="dialog"):
            yield Static(Text(f"Cancel {safe.cut(safe.line(self.watching.model.id), 70)}?", style="bold"))
            yield Static(Text("What is running is stopped; nothing starts it again by itself."))
            yield Static(Text(""), id="problem")
            yield Static(Text("y cancel it   n go on"), id="keys")

    def action_cancel(self) -> None:
        """Cancel it."""
        self.send(self.watching.model.id, Cancel(reason="cancelled by the person who watched it"))
