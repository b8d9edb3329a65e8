"""What the attempts of a run have done: a digest for each effect with a value (decision 0022).

The driver computes digests and compares them. The core only keeps them with the run until it has ended, so that they
are in snapshots, and a replay finds them in the records.
"""

from array import array

from .state import RunChunk, RunState

#: Digests are smaller, so that every reader of JSON keeps them exactly.
LIMIT = 1 << 53

#: The digest of an effect that equals no other one: a signal that was retracted, or a value that cannot be recorded.
UNLIKE = 1


def note_digest(run: RunChunk, effect: str, digest: int) -> None:
    """Keep the digest of the newest effect of a run with this key. `run.effects` counts the effect already."""
    if run.digests is None:
        run.digests = {}
    found = run.digests.get(effect)
    if found is None:
        found = run.digests[effect] = array("Q")
    unknown = (run.effects or {})[effect] - 1 - len(found)
    if unknown > 0:
        found.frombytes(bytes(found.itemsize * unknown))
    # 0 means that the digest is not known; a forged record may have such a number.
    found.append((digest % LIMIT or UNLIKE) if type(digest) is int else UNLIKE)


def forget_signal(state: RunState, signal: int) -> None:
    """Forget that a run has emitted this provisional signal, because it is retracted: a later attempt that emits the
    same has to be heard."""
    provisional = (state.provisional or {}).get(signal)
    by = None if provisional is None else provisional.by
    run = None if by is None else state.run(by)
    known = None if run is None or run.recorded_signals is None else run.recorded_signals.by_signal.get(signal)
    if run is None or run.digests is None or known is None:
        return
    effect, count = known.place
    found = run.digests.get(effect)
    if found is not None and count <= len(found):
        found[count - 1] = UNLIKE
