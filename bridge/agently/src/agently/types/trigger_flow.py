"""Runtime data, contracts and interrupts."""

from .. import TriggerFlowEventData as TriggerFlowEventData
from .. import TriggerFlowRuntimeData as TriggerFlowRuntimeData
from ..contract import TriggerFlowContractSpec as TriggerFlowContractSpec
from ..contract import TriggerFlowInterrupt as TriggerFlowInterrupt
from ..contract import TriggerFlowInterruptEvent as TriggerFlowInterruptEvent
