"""The command `triggerflow`: runs, shows and changes executions from a terminal.

`main` is its entry point. The command has no state of its own: every verb uses a `Backend`, over a store or a server.
The modules of a verb are imported when it runs, so that `triggerflow --help` is fast.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of this process, and end the process with its exit code."""
    try:
        from .command import command
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cyclopts":
            raise
        print("error: the command needs cyclopts: pip install 'triggerflow-engine[cli]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(command(sys.argv[1:]))
