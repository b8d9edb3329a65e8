"""Agently's names for TriggerFlow, so that programs written for Agently run on the engine of `triggerflow`."""

from .base import Agently, async_print, print_
from .contract import TriggerFlowContractSpec, TriggerFlowInterruptEvent
from .data import Data as TriggerFlowRuntimeData
from .flow import TriggerFlow, TriggerFlowBluePrint

TriggerFlowEventData = TriggerFlowRuntimeData
TriggerFlowSystemStreamEvent = TriggerFlowInterruptEvent
TriggerFlowBlueprint = TriggerFlowBluePrint

__all__ = [
    "Agently", "TriggerFlow", "TriggerFlowBluePrint", "TriggerFlowBlueprint", "TriggerFlowContractSpec",
    "TriggerFlowEventData", "TriggerFlowInterruptEvent", "TriggerFlowRuntimeData", "TriggerFlowSystemStreamEvent",
    "async_print", "print_",
]  # fmt: skip
