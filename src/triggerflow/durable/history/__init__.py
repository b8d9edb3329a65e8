"""What a store has of executions: listed, read, compared, copied, compacted and deleted."""
