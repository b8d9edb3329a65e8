"""The response: its attempts, the answer that each of them reads, and what users see of both."""

from .fields import Fields
from .response import Response
from .retries import Attempt
from .tool_calls import ToolCall
from .views import TextReset

__all__ = ["Attempt", "Fields", "Response", "TextReset", "ToolCall"]
