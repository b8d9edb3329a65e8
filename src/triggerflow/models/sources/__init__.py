"""Where an answer comes from: any source, an SDK's stream or a plain iterator, read as `Delta`s."""

from .clients import Clients
from .deltas import Adapter, Relayed, Source, is_function, read_deltas

__all__ = ["Adapter", "Clients", "Relayed", "Source", "is_function", "read_deltas"]
