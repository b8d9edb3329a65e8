"""Tools for tests. How to use them: docs/guide/testing.md.

Virtual time: `run_in_virtual_time`, `VirtualTimeLoop`, and the pytest fixture `virtual_time` of
`triggerflow.testing.plugin`. Models that answer from a script: `ScriptedModel`, `Reply`. For stores of your own:
`ManualClock`, `StoreConformance`.
"""

from .models import Reply, ScriptedModel
from .stores import ManualClock, StoreConformance
from .virtual_time import Stalled, VirtualTime, VirtualTimeLoop, run_in_virtual_time

__all__ = [
    "ManualClock",
    "Reply",
    "ScriptedModel",
    "Stalled",
    "StoreConformance",
    "VirtualTime",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]
