"""The contract of stores as tests. A store of your own has to pass them:

    class TestMyStore(StoreConformance):
        def open_store(self):
            return MyStore("the same data each time", clock=self.clock, lease=self.lease)

pytest collects them, pytest-asyncio in auto mode runs them. Override `lose` if turning the clock does not make an owner
dead.
"""

from .store_base import ManualClock
from .store_owners import OwnerTests
from .store_records import RecordTests

__all__ = ["ManualClock", "StoreConformance"]


class StoreConformance(RecordTests, OwnerTests):
    """What every store has to do. A subclass says how to open one."""
