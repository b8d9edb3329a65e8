"""Drivers perform the core's commands: they own tasks, threads, time and the journal, and decide nothing."""
