"""The stored form of executions: records, values, snapshots and rows; their reading, and moves to a new definition."""
