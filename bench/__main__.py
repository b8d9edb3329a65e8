"""`python -m bench`: speed and memory against the budget, in one run. README.md says how to read the table."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .rows import ROWS, Figures, Row, Taken

WIDTHS = (50, 4, 10, 10, 10, 7, 7, 13, 15, 4)
HEADINGS = ("row", "unit", "ours", "floor", "raw", "x floor", "x raw", "spread", "budget", "")
LEFT = (0, 1, 8, 9)


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
        f"{cell:<{width}}" if column in LEFT else f"{cell:>{width}}"
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


def cells(taken: Taken) -> Iterable[str]:
    """The cells of one row."""
    row, figures, spread = taken.row, taken.figures(), taken.spread()
    measured = [figures.get(name) for name in ("ours", "floor", "raw")]
    ratios = [taken.ratio(other) for other in ("floor", "raw")]
    apart = "" if len(taken.runs) == 1 or spread is None else f"{spread[0]:.2f}..{spread[1]:.2f}"
    verdict = "ok" if taken.met() else "MISS"
    return (row.title, row.unit, *map(figure, measured), *map(figure, ratios), apart, row.budget(), verdict)


def record(taken: Taken) -> dict[str, Any]:
    """One row for `--json`."""
    row = taken.row
    return {
        "row": row.name, "title": row.title, "unit": row.unit, "figures": taken.figures(), "budget": row.budget(),
        "cost_to_floor": taken.ratio("floor"), "cost_to_raw": taken.ratio("raw"), "spread": taken.spread(),
        "runs": taken.runs, "met": taken.met(),
    }  # fmt: skip


def positive(text: str) -> int:
    """A count of runs."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count of 1 or more")
    return int(text)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed and memory against the budget.")
    parser.add_argument("--rows", type=chosen, default=list(ROWS), help="some rows only, by name: chain,batch")
    parser.add_argument("--runs", type=positive, default=1, help="run the table so often; shows medians and spread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    begun = time.perf_counter()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    runs = f"medians of {options.runs} runs" if options.runs > 1 else "medians"
    print(f"{machine}; CPU time unless it says wall, {runs}, contestants in turn\n")
    # The whole table runs again, not each row by itself: what slows the machine for a while then slows one run of each.
    earlier: dict[str, list[Figures]] = {row.name: [] for row in options.rows}
    for run in range(1, options.runs):
        print(f"run {run} of {options.runs} ...", file=sys.stderr, flush=True)
        for row in options.rows:
            earlier[row.name].append(row.take())
    print(line(HEADINGS), flush=True)
    records: list[dict[str, Any]] = []
    for row in options.rows:
        figures = row.take()
        if figures:
            taken = Taken(row, [*earlier[row.name], figures])
            print(line(cells(taken)), flush=True)
            records.append(record(taken))
    skipped = [row.name for row in options.rows if row.name not in {entry["row"] for entry in records}]
    missed = [entry["row"] for entry in records if not entry["met"]]
    print(f"\n{len(records) - len(missed)} of {len(records)} rows within budget, {time.perf_counter() - begun:.0f} s")
    if skipped:
        print(f"not measured, the adapter or this system cannot: {', '.join(skipped)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": records}, indent=2) + "\n")


if __name__ == "__main__":
    main()
