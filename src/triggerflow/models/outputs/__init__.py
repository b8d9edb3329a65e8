"""The description of an answer: as text for the prompt, as JSON schema, as types, and as a check of what came."""

from .misfits import Misfit, misfits
from .output import Output, Part
from .places import check_paths, exact_steps

__all__ = ["Misfit", "Output", "Part", "check_paths", "exact_steps", "misfits"]
