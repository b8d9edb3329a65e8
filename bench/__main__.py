"""`python -m bench`: speed and memory against the budget, in one run. README.md says how to read the table."""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .rows import ROWS, Figures, Row

WIDTHS = (50, 4, 10, 10, 10, 7, 7, 16, 4)
HEADINGS = ("row", "unit", "ours", "floor", "raw", "x floor", "x raw", "budget", "")


def chosen(text: str) -> list[Row]:
    """The rows that `--rows` names."""
    by_name = {row.name: row for row in ROWS}
    names = text.split(",")
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f"no row {', '.join(unknown)}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names]


def line(cells: Iterable[str]) -> str:
    """One line of the table: text to the left, figures to the right."""
    padded = [
        f"{cell:<{width}}" if column in (0, 1, 7, 8) else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ]
    return "  ".join(padded).rstrip()


def figure(value: float | None) -> str:
    """Three digits that count; none for what was not measured."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def cells(row: Row, figures: Figures) -> Iterable[str]:
    """The cells of one row."""
    ratios = [row.cost_ratio(figures, other) for other in ("floor", "raw")]
    measured = [figures.get(name) for name in ("ours", "floor", "raw")]
    verdict = "ok" if row.met(figures) else "MISS"
    return (row.title, row.unit, *map(figure, measured), *map(figure, ratios), row.budget(), verdict)


def record(row: Row, figures: Figures) -> dict[str, Any]:
    """One row for `--json`."""
    return {
        "row": row.name, "title": row.title, "unit": row.unit, "figures": figures, "budget": row.budget(),
        "cost_to_floor": row.cost_ratio(figures, "floor"), "met": row.met(figures),
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory against the budget.")
    parser.add_argument("--rows", type=chosen, default=list(ROWS), help="some rows only, by name: chain,batch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    begun = time.perf_counter()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; CPU time unless it says wall, medians, contestants in turn\n")
    print(line(HEADINGS))
    records: list[dict[str, Any]] = []
    for row in options.rows:
        figures = row.take()
        if figures:
            print(line(cells(row, figures)), flush=True)
            records.append(record(row, figures))
    skipped = [row.name for row in options.rows if row.name not in {entry["row"] for entry in records}]
    missed = [entry["row"] for entry in records if not entry["met"]]
    print(f"\n{len(records) - len(missed)} of {len(records)} rows within budget, {time.perf_counter() - begun:.0f} s")
    if skipped:
        print(f"not measured, the adapter or this system cannot: {', '.join(skipped)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": records}, indent=2) + "\n")


if __name__ == "__main__":
    main()
