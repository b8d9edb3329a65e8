"""What helps to test flows, and stores of your own."""

from .stores import ManualClock, StoreConformance

__all__ = ["ManualClock", "StoreConformance"]
