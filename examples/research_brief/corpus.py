"""A corpus that exists on every machine: the docstrings of the standard library, in a full-text index of SQLite.

It is built on the first run, by reading the source files; nothing of them is imported or run.
"""

import ast
import sqlite3
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

INDEX = Path.home() / ".cache" / "triggerflow-examples" / f"stdlib-{sysconfig.get_python_version()}.sqlite"
DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__"}


class Hit(NamedTuple):
    name: str
    line: str


def documented(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of a module, and of its public functions, classes and methods."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    waiting: list[tuple[str, ast.AST]] = [(module, tree)]
    for name, node in waiting:
        text = ast.get_docstring(node)  # type: ignore[arg-type]
        if text:
            yield name, text
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, DOCUMENTED)]
        waiting.extend((f"{name}.{child.name}", child) for child in inner if child.name[0] != "_")


def build(index: Path) -> None:
    root = Path(sysconfig.get_path("stdlib"))
    entries: list[tuple[str, str]] = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not SKIPPED.intersection(parts) and not any(part.startswith("_") for part in parts[:-1]):
            entries.extend(documented(path, ".".join(parts).removesuffix(".__init__")))
    index.parent.mkdir(parents=True, exist_ok=True)
    half_built = index.with_suffix(".new")
    half_built.unlink(missing_ok=True)
    database = sqlite3.connect(half_built)
    with database:
        database.execute("create virtual table docs using fts5(name, text, tokenize = 'porter unicode61')")
        database.executemany("insert into docs values (?, ?)", entries)
    database.close()
    half_built.replace(index)  # in one step, so that no other process reads half an index


def open_corpus() -> None:
    """Build the index if it does not exist."""
    if not INDEX.exists():
        print("Indexing the standard library's docstrings ...")
        build(INDEX)


def search(query: str, limit: int = 3) -> list[Hit]:
    """The best entries for any of the words. Opens the index on each call, so that any thread can call it."""
    words = " OR ".join('"{}"'.format(word.replace('"', "")) for word in query.replace("_", " ").split())
    if not words:
        return []
    database = sqlite3.connect(f"file:{INDEX}?mode=ro", uri=True)
    try:
        found = database.execute(
            "select name, text from docs where docs match ? order by bm25(docs, 4.0, 1.0) limit ?", (words, limit)
        )
        return [Hit(name, text.strip().splitlines()[0]) for name, text in found]
    finally:
        database.close()
