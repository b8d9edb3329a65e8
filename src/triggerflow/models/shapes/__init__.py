"""Reads the chunks of providers by their shape. No class of an SDK is imported; objects and dicts are treated alike.

One module for each dialect makes a `Delta` of a chunk; `table` lists them all. Words for the end of an answer
(`finish`), token counts (`usage`), errors (`failures`) and the pieces of tool calls (`calls`) become the same for all.
"""

from .delta import UNSAID, Delta, ToolCallDelta
from .failures import failure_in
from .fields import get
from .finish import Ending, ending_of, finish_reason
from .table import SHAPES, ChunkReader, Shape, delta_of, named, shape_of

__all__ = [
    "SHAPES",
    "UNSAID",
    "ChunkReader",
    "Delta",
    "Ending",
    "Shape",
    "ToolCallDelta",
    "delta_of",
    "ending_of",
    "failure_in",
    "finish_reason",
    "get",
    "named",
    "shape_of",
]
