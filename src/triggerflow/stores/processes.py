"""Identifies the process of an owner, and checks whether it has ended: then others need not wait for its lease to end.

A process is identified by its pid and its start time, since the system uses pids again. Both are valid only on one
machine, since one boot, and within one container; a digest of these is the *host id*. Linux provides all of it. On
other systems nothing can be proved, and an owner is dead when its lease is over.
"""

import hashlib
import os
import re
from pathlib import Path

_PROCESS = re.compile(r"/(\d{1,9})/([0-9a-f]{12})-(\d+)/")


def this_process() -> str:
    """The id of this process: "pid/host-start", or "pid/-" if the system does not tell the host id and the start
    time."""
    pid, host = os.getpid(), _host_id()
    found = _start_and_end(pid) if host else None
    return f"{pid}/{host}-{found[0]}" if found else f"{pid}/-"


def has_ended(owner: str) -> bool:
    """Whether the process of this owner has ended. False if that cannot be proved."""
    found = _PROCESS.search(owner)
    if found is None or found[2] != _host_id():
        return False
    pid = int(found[1])
    try:
        os.kill(pid, 0)  # /proc may hide the processes of other users, `kill` does not
    except ProcessLookupError:
        return True
    except OSError:
        return False
    now = _start_and_end(pid)
    return now is not None and (now[0] != found[3] or now[1])


def _host_id() -> str:
    """A digest of the boot and of the process and time namespaces of this container; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        names = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "time")]
    except OSError:
        return ""
    return hashlib.sha256("\n".join((boot, *names)).encode()).hexdigest()[:12]


def _start_and_end(pid: int) -> tuple[str, bool] | None:
    """The start time of a process, and whether it is a zombie: it has ended, and its parent has not waited for it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # The fields before are the pid and the name of the program in parentheses, which may contain any characters.
    fields = text.rpartition(")")[2].split()
    state, threads, start = fields[0], fields[17], fields[19]
    return start, state in "ZX" and int(threads) <= 1
