"""Where durable executions are kept: the protocol, a store in memory, and SQLite."""
