"""Checks sizes: small modules, small functions, and a list of exceptions that may only shrink.

Run as ``python tools/ratchet.py [root]``; exits 1 if a module or function is too long or an exception is out of date.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 450
FUNCTION_LINES = 50  # without the docstring

# "path::qualified name" -> its length today. Lower the number when it gets shorter, drop the entry at FUNCTION_LINES.
# Never raise a number or add an entry without a comment that says why the function cannot be divided.
ALLOWED: dict[str, int] = {}


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Yield (qualified name, first line, length) of every function below a node."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from functions(child, prefix)
            continue
        name = f"{prefix}{child.name}"
        yield from functions(child, f"{name}.")
        if isinstance(child, ast.ClassDef):
            continue
        assert child.end_lineno is not None
        length = child.end_lineno - child.lineno + 1
        if ast.get_docstring(child) is not None and child.body[0].end_lineno is not None:
            length -= child.body[0].end_lineno - child.body[0].lineno + 1
        yield name, child.lineno, length


def judge(where: str, line: int, length: int, allowed: int | None) -> str | None:
    """Return the breach of one function's length, given its entry in ``ALLOWED``; None if there is none."""
    if allowed is None:
        problem = f"has {length} lines, the law says {FUNCTION_LINES}" if length > FUNCTION_LINES else None
    elif length > allowed:
        problem = f"grew from {allowed} to {length} lines; entries in ALLOWED only shrink"
    elif length <= FUNCTION_LINES:
        problem = f"has {length} lines and needs no entry in ALLOWED any more; drop it"
    else:
        problem = f"shrank to {length} lines; lower its entry in ALLOWED" if length < allowed else None
    return problem and f"{where}:{line}: function {problem}"


def main() -> int:
    """Measure the tree; return the exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    paths = [path for top in ("src", "bridge") for path in sorted((root / top).rglob("*.py"))]
    sizes: list[int] = []
    problems: list[str | None] = []
    unused = dict(ALLOWED)
    for path in paths:
        where, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        sizes.append(len(text.splitlines()))
        if sizes[-1] > MODULE_LINES:
            problems.append(f"{where}:1: module has {sizes[-1]} lines, the law says {MODULE_LINES}")
        for name, line, length in functions(ast.parse(text, where)):
            problems.append(judge(where, line, length, unused.pop(f"{where}::{name}", None)))
    problems.extend(f"tools/ratchet.py: ALLOWED names {key}, which is not there; drop it" for key in unused)
    found = [problem for problem in problems if problem]
    print(*found, sep="\n", end="\n" if found else "")
    median, longest = statistics.median(sizes or [0]), max(sizes, default=0)
    print(f"ratchet: {len(sizes)} modules, median {median:g} lines, longest {longest}, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
