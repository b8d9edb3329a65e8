"""Where an answer comes from: an SDK's stream or any iterator, read as `Delta`s; and its failures."""

from .clients import Clients
from .deltas import Adapter, read_deltas
from .items import Relayed, Source, is_function
from .translate import translate

__all__ = ["Adapter", "Clients", "Relayed", "Source", "is_function", "read_deltas", "translate"]
