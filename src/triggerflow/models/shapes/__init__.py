"""Reads the chunks of providers by their shape. No class of an SDK is imported; objects and dicts are treated alike.

One module for each dialect makes a `Delta` of a chunk; `table` lists them all. Words for the end of an answer
(`finish`), token counts (`usage`), errors (`failures`) and the pieces of tool calls (`calls`) become the same for all.
"""

from .delta import Delta, ToolCallDelta
from .failures import error_of_status, failure_in, reported_error, reports_error
from .finish import ending_of, finish_reason
from .table import LIFE, SHAPES, ChunkReader, id_and_model, shape_of

__all__ = [
    "LIFE",
    "SHAPES",
    "ChunkReader",
    "Delta",
    "ToolCallDelta",
    "ending_of",
    "error_of_status",
    "failure_in",
    "finish_reason",
    "id_and_model",
    "reported_error",
    "reports_error",
    "shape_of",
]
