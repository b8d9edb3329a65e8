"""Which process an owner is, and whether that has provably ended: then nobody has to wait for its lease.

A process is known by its number, and by when it was started, since numbers are used again. Numbers mean something on
the same machine since the same boot only, and within one container: that is its *place*. Linux tells all of it.
Elsewhere nothing is proved, and an owner is dead when its lease is over.
"""

import hashlib
import os
import re
from pathlib import Path

_PROCESS = re.compile(r"/(\d{1,9})/([0-9a-f]{12})-(\d+)/")


def this_process() -> str:
    """ "number/place-start", or "number/-" where the system does not tell."""
    number, place = os.getpid(), _place()
    told = _told(number) if place else None
    return f"{number}/{place}-{told[0]}" if told else f"{number}/-"


def has_ended(owner: str) -> bool:
    """Whether the process of this owner is gone. False also where nobody knows."""
    found = _PROCESS.search(owner)
    if found is None or found[2] != _place():
        return False
    number = int(found[1])
    try:
        os.kill(number, 0)  # a /proc may hide the processes of other users; this does not
    except ProcessLookupError:
        return True
    except OSError:
        return False
    told = _told(number)
    return told is not None and (told[0] != found[3] or told[1])


def _place() -> str:
    """This machine since its boot, and the numbering of processes and of time in this container; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        names = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "time")]
    except OSError:
        return ""
    return hashlib.sha256("\n".join((boot, *names)).encode()).hexdigest()[:12]


def _told(number: int) -> tuple[str, bool] | None:
    """When a process was started, and whether it has ended and only waits for its parent to take notice."""
    try:
        text = Path(f"/proc/{number}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    fields = text.rpartition(")")[2].split()  # what stands before may hold anything: the name of its program
    state, threads, start = fields[0], fields[17], fields[19]
    return start, state in "ZX" and int(threads) <= 1
