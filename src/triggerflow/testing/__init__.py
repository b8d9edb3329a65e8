"""Tools for tests: a clock that tests move by hand, and the conformance tests for stores."""

from .stores import ManualClock, StoreConformance

__all__ = ["ManualClock", "StoreConformance"]
