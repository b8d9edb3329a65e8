"""TriggerFlow: async chunks wired by signals, observed through a runtime stream.

Start at `TriggerFlow`; a chunk gets `TriggerFlowRuntimeData`; `Execution` is the handle of a run. Exceptions are in
`triggerflow.errors`, reducers in `triggerflow.reducers`, stores in `triggerflow.stores`, models in
`triggerflow.models`.
"""

from typing import TYPE_CHECKING

from ._core.definition import Definition, Operator
from ._core.errors import TriggerFlowError
from ._core.events import Failure
from ._core.signals import FieldPlace
from .build.chain import Chain
from .build.chunk import Chunk
from .flow import TriggerFlow
from .run.data import TriggerFlowRuntimeData
from .run.environment import Environment
from .run.execution import Execution

if TYPE_CHECKING:
    from types import ModuleType

    from .build.cache import Cache
    from .build.retry import Retry
    from .build.typed import Signal
    from .run.stream import StreamGap, StreamReader

__version__ = "0.1.0"

__all__ = [
    "Cache",
    "Chain",
    "Chunk",
    "Definition",
    "Environment",
    "Execution",
    "Failure",
    "FieldPlace",
    "Operator",
    "Retry",
    "Signal",
    "StreamGap",
    "StreamReader",
    "TriggerFlow",
    "TriggerFlowError",
    "TriggerFlowRuntimeData",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import on first use what a plain run does not need, to keep the import of the package fast.

    Names that moved still work for one release, with a `DeprecationWarning` that says where they are.
    """
    home: ModuleType | None = None
    if name == "Cache":
        from .build import cache as home
    elif name == "Retry":
        from .build import retry as home
    elif name == "Signal":
        from .build import typed as home
    elif name in ("StreamGap", "StreamReader"):
        from .run import stream as home
    if home is not None:
        found: object = getattr(home, name)
        globals()[name] = found  # the next access does not come here
        return found
    from .errors import __all__ as errors
    from .reducers import __all__ as reducers

    if name == "Process":
        module, new = "triggerflow", "Chain"
    elif name in errors:
        module, new = "triggerflow.errors", name
    elif name in reducers:
        module, new = "triggerflow.reducers", name
    else:
        raise AttributeError(f"module 'triggerflow' has no attribute {name!r}")
    import sys
    import warnings

    warnings.warn(f"triggerflow.{name} has moved: from {module} import {new}", DeprecationWarning, stacklevel=2)
    return getattr(sys.modules[module], new)
