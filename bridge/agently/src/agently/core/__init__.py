"""Agently's module `agently.core`: the classes of flows, executions, chunks and events."""

from ..events import EventCenter as EventCenter
from ..execution import TriggerFlowExecution as TriggerFlowExecution
from ..flow import TriggerFlow as TriggerFlow
from ..flow import TriggerFlowBluePrint as TriggerFlowBluePrint
from ..graph import TriggerFlowChunk as TriggerFlowChunk
from ..process import TriggerFlowProcess as TriggerFlowProcess
