"""Random flows, and a second, simple interpreter of them, which has to agree with the engine."""
