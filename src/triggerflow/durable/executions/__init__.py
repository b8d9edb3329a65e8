"""A durable execution in this process: its commits, its owner, and its mirror where another process is the owner."""
