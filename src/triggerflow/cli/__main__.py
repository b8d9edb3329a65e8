"""`python -m triggerflow.cli` is the command `triggerflow`."""

from . import main

if __name__ == "__main__":
    main()
