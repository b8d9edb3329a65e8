"""The import law: imports run one way, the core stays pure, and private names stay at home.

Run as ``python tools/imports.py [root]``; prints one ``path:line: message`` per breach and exits 1 if there is any.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = "triggerflow"

# From top to bottom; a layer may import itself and what is below. "" is the package's own __init__.
LAYERS = [
    {"server", "cli", "__main__"},
    {"testing"},
    {""},
    {"flow"},
    {
        "answers",
        "builder",
        "chunk",
        "config",
        "contract",
        "check",
        "compaction",
        "data",
        "defined",
        "diagram",
        "dispatch",
        "durable",
        "execution",
        "flow_config",
        "hosting",
        "in_flight",
        "invoke",
        "lazy",
        "loop_bound",
        "notices",
        "options",
    }
    | {
        "payload",
        "persistence",
        "policies",
        "process",
        "program",
        "records",
        "resources",
        "runnable",
        "shared",
        "stream",
        "subflow",
        "typed",
        "versions",
        "views",
        "wiring",
    },
    {"models"},
    {"drivers", "stores", "journal", "portal"},
    {"_core"},
]
ENTRY_POINTS = {"server", "cli", "__main__"}  # nothing imports these, not even one the other
MODELS_MAY_IMPORT = {f"{PACKAGE}._core.errors", f"{PACKAGE}.portal"}  # the models are usable without the engine

# What the core may import beside itself: nothing here reads a clock, draws a random number or does I/O.
CORE_MAY_IMPORT = {
    *("__future__", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "itertools", "json"),
    *("msgspec", "operator", "types", "typing"),
}
CORE_MAY_NOT_CALL = {"open", "input", "print", "eval", "exec", "__import__"}


class Import(NamedTuple):
    """One imported thing: ``target`` is a module, ``name`` what was taken from it if that is not a module itself."""

    line: int
    target: str
    name: str
    at_import_time: bool


def imports_of(tree: ast.Module, module: str, is_package: bool, modules: set[str]) -> Iterator[Import]:
    """Yield every import of a module, wherever it stands."""
    late: set[ast.AST] = set()  # inside a function or under TYPE_CHECKING: no part of the import-time graph
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late.update(ast.walk(node))
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            late.update(inner for statement in node.body for inner in ast.walk(statement))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "", node not in late)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = module.rsplit(".", up)[0] if up > 0 else module
            source = ".".join(filter(None, [base if node.level else "", node.module]))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                found = (whole, "") if whole in modules else (source, alias.name)
                yield Import(node.lineno, *found, node not in late)


def part_of(module: str) -> str:
    """Return the name that stands in ``LAYERS`` for a module of ours: ``_core`` for ``triggerflow._core.events``."""
    return f"{module}.".split(".")[1]


def layer_of(module: str) -> int | None:
    """Return the position of a module of ours in ``LAYERS``, or None if it has none."""
    return next((number for number, layer in enumerate(LAYERS) if part_of(module) in layer), None)


def breaks_layers(importer: str, target: str) -> str | None:
    """Say how an import between two modules of ours breaks the layers."""
    source, destination = part_of(importer), part_of(target)
    above, below = layer_of(importer), layer_of(target)
    if source == destination or above is None or below is None:
        return None  # a module without a layer is reported once, for itself
    if destination in ENTRY_POINTS:
        return f"nothing imports {target}"
    if source == "models" and target not in MODELS_MAY_IMPORT:
        return f"models may import {sorted(MODELS_MAY_IMPORT)} and nothing else of ours, not {target}"
    return f"imports {target}, which is in a layer above" if above > below else None


def breaks_privacy(importer: str, item: Import) -> str | None:
    """Say which private module or name an import takes from somebody else's house."""
    parts = item.target.split(".")
    for position, part in enumerate(parts[1:], start=1):
        home = ".".join(parts[:position])
        if part.startswith("_") and not part.endswith("__") and not f"{importer}.".startswith(f"{home}."):
            return f"{item.target} is private to {home}"
    if item.name.startswith("_") and not item.name.endswith("__"):
        return f"{item.name} is private to {item.target}"
    return None


def breaches(root: Path) -> Iterator[str]:
    """Yield every breach below ``root``, as ``path:line: message``."""
    files = {name_of(path): path for path in sorted((root / "src" / PACKAGE).rglob("*.py"))}
    guests = [(name_of(path), path) for top in ("bridge", "examples") for path in sorted((root / top).rglob("*.py"))]
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, path in [*files.items(), *guests]:
        where = path.relative_to(root)
        ours, pure = name in files, name.startswith(f"{PACKAGE}._core")
        if ours and layer_of(name) is None:
            yield f"{where}:1: has no layer; give it one in LAYERS of tools/imports.py"
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for item in imports_of(tree, name, path.stem == "__init__", set(files)):
            internal = item.target.split(".")[0] == PACKAGE
            problems = [breaks_privacy(name, item)]
            if ours and internal:
                problems.append(breaks_layers(name, item.target))
                if item.at_import_time and item.target in files:
                    graph[name].add(item.target)
            elif pure and item.target.split(".")[0] not in CORE_MAY_IMPORT:
                problems.append(f"the core is pure: it may not import {item.target}")
            yield from (f"{where}:{item.line}: {problem}" for problem in problems if problem)
        for node in ast.walk(tree) if pure else ():
            if isinstance(node, ast.Name) and node.id in CORE_MAY_NOT_CALL:
                yield f"{where}:{node.lineno}: the core is pure: it may not use {node.id}"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"src/{PACKAGE}: modules import each other in a circle: {' <- '.join(error.args[1])}"


def name_of(path: Path) -> str:
    """Return the dotted module name of a file, counted from the topmost folder that is a package."""
    base = path.parent
    while (base / "__init__.py").exists():
        base = base.parent
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def main() -> int:
    """Check the tree; return the exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = list(breaches(root))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"imports: {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
