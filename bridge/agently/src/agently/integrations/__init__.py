"""Frameworks that a flow can be served by. Each is imported by who uses it; a missing one is an `ImportError`."""
