"""Token counts: of one attempt, and summed over the attempts of a response."""

from collections.abc import Iterable, Mapping

Usage = Mapping[str, int]
"""Counts by name: `prompt_tokens`, `completion_tokens`, and whatever else the provider counts, such as
`cached_tokens`."""


def with_total(usage: Usage) -> dict[str, int]:
    """The counts of one attempt, with `total_tokens` where both of its parts are known.

    The total is computed here, because some providers send its parts in different chunks, or none at all.
    """
    parts = [usage[name] for name in ("prompt_tokens", "completion_tokens") if name in usage]
    return {**usage, "total_tokens": sum(parts)} if len(parts) == 2 else dict(usage)


def summed(usages: Iterable[Usage]) -> dict[str, int]:
    """The sum of each count."""
    total: dict[str, int] = {}
    for usage in usages:
        for name, count in usage.items():
            total[name] = total.get(name, 0) + count
    return total


def tokens(usage: Usage) -> int:
    """How many tokens were read and written; 0 if the provider has not said it."""
    return usage.get("total_tokens") or usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
