"""The parts of a flow that users write: chains, chunks, policies, contracts, and the blueprint that collects them.

Nothing here runs a flow.
"""
