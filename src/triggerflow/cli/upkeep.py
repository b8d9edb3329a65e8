"""The verbs that maintain a store: prune, compact, load. A server does not offer them."""

from . import finding
from .places import Place
from .printing import as_json, say
from .troubles import DONE, NOT_FOUND, NOT_NOW, USAGE, Trouble
from .values import near_file, seconds_of


async def prune(place: Place, flow: str, *, older_than: str | None, keep: int | None, shrink: bool, json: bool) -> int:
    """Delete executions of a flow that have ended."""
    from ..backend.programs import Programs
    from ..durable.history.retention import prune as prune_store

    store = place.own_store("prune")
    if older_than is None and keep is None:
        raise Trouble(USAGE, "say what may go: --older-than 30d, --keep 100, or both")
    await finding.flow(place.backend, flow)
    age = None if older_than is None else seconds_of(older_than, "--older-than")
    pruned = await prune_store(Programs(store, {}).reader(flow), age, keep, shrink)
    say(as_json(pruned) if json else f"{pruned.deleted} deleted, {pruned.kept} of the ended ones kept")
    return DONE


async def compact(place: Place, id: str, json: bool) -> int:
    """Replace the records of an execution by its state."""
    from ..backend.programs import Programs
    from ..durable.history.retention import compact as compact_store

    store = place.own_store("compact")
    info = await finding.execution(place.backend, id)
    row = await store.find(info.id)
    assert row is not None  # it was found a moment ago
    done = await compact_store(Programs(store, {}).reader(info.flow), row)
    say(as_json(done) if json else f"{info.id}: {done.records} records deleted")
    return DONE


async def load(place: Place, file: str, *, id: str | None, json: bool) -> int:
    """Load an execution from a file that `export` has written."""
    from ..errors import SnapshotError, StoreConflict

    store, (flow,) = place.own_store("load"), place.flows
    try:
        row = await flow.history(store).load(file, id=id)
    except FileNotFoundError:
        raise Trouble(NOT_FOUND, f"there is no file {file!r}{near_file(file)}") from None
    except SnapshotError as error:
        raise Trouble(NOT_NOW, f"{file} cannot be loaded as an execution of flow {flow.name!r}: {error}") from None
    except StoreConflict as error:
        raise Trouble(NOT_NOW, f"{str(error).partition(';')[0]}; load it under another one with --id") from None
    info = await place.backend.get(row.id)
    say(as_json(info) if json else f"{info.id} is {info.status}: {info.frames} frames")
    return DONE
