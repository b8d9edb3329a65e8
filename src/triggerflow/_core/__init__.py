"""The pure core: records in, commands out.

No module in this package uses a clock, an event loop, a thread, a file, randomness or user code. Read it in this order:
`definition` (the flow as data), `events` (the records), `commands`, `machine` (the rules), `operators` (one function
per kind of operator).
"""
