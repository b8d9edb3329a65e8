"""Drivers perform the core's commands: they own tasks, threads and timers. All decisions are made by the core."""
