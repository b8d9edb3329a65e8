"""Agently's module `agently.types.trigger_flow`: runtime data, contracts, interrupts, and types for annotations."""

from collections.abc import Callable
from typing import Any

from .. import TriggerFlowEventData as TriggerFlowEventData
from .. import TriggerFlowRuntimeData as TriggerFlowRuntimeData
from ..contract import TriggerFlowContractSpec as TriggerFlowContractSpec
from ..contract import TriggerFlowInterrupt as TriggerFlowInterrupt
from ..contract import TriggerFlowInterruptEvent as TriggerFlowInterruptEvent

TriggerFlowHandler = Callable[[TriggerFlowRuntimeData], Any]
TriggerFlowContractMetadata = TriggerFlowContractEntry = dict[str, Any]
TriggerFlowSubFlowCapture = TriggerFlowSubFlowWriteBack = dict[str, str | dict[str, str]]
TriggerFlowSystemStreamEvent = TriggerFlowInterruptEvent
