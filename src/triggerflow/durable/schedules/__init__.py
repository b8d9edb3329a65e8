"""Executions that workers start at given times."""
