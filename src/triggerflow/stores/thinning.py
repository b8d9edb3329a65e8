"""Which snapshots of an execution a store keeps."""

from collections.abc import Sequence


def superseded(snapshots: Sequence[tuple[int, str]]) -> list[int]:
    """Which snapshots a store drops, by number of records. `snapshots` are (records, definition), the oldest first.

    A snapshot holds the whole state, so keeping all of them would take space that grows with the square of the records.
    Kept are the two newest, older ones at distances that about double, and all that cannot be replaced: the oldest,
    before which records may have been trimmed, and the first under each definition, since records are replayed under
    their own definition only.
    """
    newest = snapshots[-1][0]
    dropped: list[int] = []
    distance = 0  # of the oldest snapshot that is kept so far, in records before the newest
    for position in range(len(snapshots) - 2, 0, -1):
        records, definition = snapshots[position]
        older, former = snapshots[position - 1]
        if definition == former and newest - older <= 2 * distance:
            dropped.append(records)
        else:
            distance = newest - records
    return dropped
