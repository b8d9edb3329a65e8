"""Web frameworks that can serve a flow, one module each.

The module of a framework that is not installed raises `ImportError` when it is imported.
"""
