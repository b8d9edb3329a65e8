"""Records and values as lines of text."""

from typing import Any

from ..._core import events

#: Fields that `describe` does not list by name.
_HIDDEN = frozenset(("at", "run", "value", "item", "payload", "items", "error"))


def one_line(value: Any) -> str:
    """A value in one line."""
    return " ".join(repr(value).split())


def short(value: Any, width: int = 60) -> str:
    """A value in one line of at most `width` characters."""
    return _cut(one_line(value), 0, width)


def difference_lines(before: str, now: str, width: int = 100) -> list[str]:
    """Two different texts as lines of at most `width` characters, cut shortly before their first difference."""
    pairs = enumerate(zip(before, now, strict=False))
    common = next((index for index, (one, other) in pairs if one != other), min(len(before), len(now)))
    start = common - width // 4 if common > width // 2 else 0
    return [f"{sign} {_cut(text, start, width)}" for sign, text in (("-", before), ("+", now))]


def _cut(text: str, start: int, width: int) -> str:
    text = f"… {text[start:]}" if start else text
    return text if len(text) <= width else f"{text[: width - 2]} …"


def name_of(record: events.Event) -> str:
    """The kind of a record, as it is stored."""
    return str(type(record).__struct_config__.tag)


def describe(record: events.Record, width: int = 60) -> str:
    """The content of a record, without its time, chunk and run."""
    match record:
        case events.Started(value=value) | events.Completed(value=value) | events.ResultSet(value=value):
            return short(value, width)
        case events.Emitted(name=name, value=value):
            return f"{name} {short(value, width)}" + (f", in {record.delay:g} s" if record.delay is not None else "")
        case events.StateChanged(op="delete", key=key):
            return f"{key} deleted"
        case events.StateChanged(op=op, key=key, value=value):
            return f"{key} {'=' if op == 'set' else '+='} {short(value, width)}"
        case events.FlowDataChanged(op="delete", key=key):
            return f"{key} deleted"
        case events.FlowDataChanged(op=op, key=key, value=value):
            return f"{key} {'=' if op == 'set' else '+='} {short(value, width)}"
        case events.StreamPut(item=item, path=path):
            return short(item, width) + (f" from {path}" if path else "")
        case events.Paused(interrupt=interrupt, payload=payload):
            return f"{interrupt} asks {short(payload, width)}"
        case events.Resumed(interrupt=interrupt, value=value):
            return f"{interrupt} is answered {short(value, width)}"
        case events.Failed(error=error) | events.SourceFailed(error=error):
            again = getattr(record, "retry_in", None)
            return f"{error.type}: {error.message}" + (f", again in {again:g} s" if again is not None else "")
        case events.SourceItems(items=items) | events.ItemsGiven(items=items):
            return short(items, width)
        case events.Recovered(lost=lost):
            return "goes on; what was not finished begins again" if lost else "goes on"
        case events.Suspended():
            return "stopped here, and given back to the store"
        case _:
            fields = [(name, getattr(record, name)) for name in record.__struct_fields__ if name not in _HIDDEN]
            return ", ".join(f"{name} {value}" for name, value in fields if value is not None)


def line(number: int, record: events.Record, chunk: str, since: float) -> str:
    """A record in one line: its number, seconds since the first one, the chunk and its run, kind and content."""
    run = getattr(record, "run", None)
    origin = f"{chunk or 'run'}.{run}" if run is not None else ""
    return f"{number:>6}  {record.at - since:>+9.3f}  {origin:<14}  {name_of(record):<10}  {describe(record)}".rstrip()
