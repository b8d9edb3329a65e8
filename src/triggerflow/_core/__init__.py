"""The pure core: events in, commands out.

Nothing in this package knows a clock, a loop, a thread, a file or user code. Read it in this order:
`definition` (what is built), `events` (what can happen), `commands` (what may be asked of the world),
`machine` (the rules), `operators` (one row a kind).
"""
