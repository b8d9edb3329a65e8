"""How dates and times are recorded: as ISO text, or with zone and `fold` where that text would lose them."""

import datetime
import zoneinfo
from typing import Any

_PLAIN_ZONES = (type(None), datetime.timezone)


def write(value: Any) -> Any:
    """ISO text; or [ISO text without a zone, fold, zone] if the text would lose something.

    A zone is None, the key of a `ZoneInfo`, or [seconds east of UTC, name] of a fixed offset. Raises `ValueError` for
    any other zone.
    """
    zone = value.tzinfo
    if not value.fold and (zone is None or (type(zone) is datetime.timezone and _is_unnamed(zone))):
        return value.isoformat()
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _write_zone(zone)]


def read_datetime(data: Any) -> datetime.datetime:
    """The value that `write` has written. Raises `ValueError`, `TypeError` or `LookupError` for damaged data."""
    if isinstance(data, str):
        return datetime.datetime.fromisoformat(data)
    text, fold, zone = data
    return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


def read_time(data: Any) -> datetime.time:
    """Like `read_datetime`, for a time of day."""
    if isinstance(data, str):
        return datetime.time.fromisoformat(data)
    text, fold, zone = data
    return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=_read_zone(zone))


def _is_unnamed(zone: datetime.timezone) -> bool:
    """Whether a fixed offset has no name of its own: its text tells all of it."""
    return zone.tzname(None) == datetime.timezone(zone.utcoffset(None)).tzname(None)


def _write_zone(zone: Any) -> Any:
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        offset = zone.utcoffset(None)
        return [[offset.days, offset.seconds, offset.microseconds], zone.tzname(None)]
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return zone.key
    raise ValueError(f"its zone is a {type(zone).__module__}.{type(zone).__qualname__} without a name in records")


def _read_zone(data: Any) -> datetime.tzinfo | None:
    if data is None:
        return None
    if isinstance(data, str):
        return zoneinfo.ZoneInfo(data)
    (days, seconds, microseconds), name = data
    offset = datetime.timedelta(days, seconds, microseconds)
    plain = datetime.timezone(offset)
    return plain if plain.tzname(None) == name else datetime.timezone(offset, name)
