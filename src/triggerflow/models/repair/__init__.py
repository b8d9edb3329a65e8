"""Reading a complete answer again that the instant parser could not read, or not with certainty."""

from .second_reading import second_reading

__all__ = ["second_reading"]
