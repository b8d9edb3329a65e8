"""Frameworks that a flow can be served by."""
