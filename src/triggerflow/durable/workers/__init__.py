"""Workers: they claim executions, run them, park them, and start those of schedules."""
