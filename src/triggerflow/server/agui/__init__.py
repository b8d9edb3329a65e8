"""AG-UI 1.0: a flow as an agent of the protocol. docs/guide/agui.md describes it for people.

`begin` starts or continues an execution for a request; `AgentRun` sends its frames as events of the protocol.
"""

from .request import begin
from .run import AgentRun

__all__ = ["AgentRun", "begin"]
