"""Checks imports: rooms are on layers, imports go downwards only, the core is pure, private names stay in their folder.

Run as ``python tools/imports.py [root]``. It prints the layers, one ``path:line: message`` per breach, and exits 1 if
there is any. Every import counts: at the top, in a function, and under ``TYPE_CHECKING``.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = "triggerflow"

# The houses: packages whose folders and modules are rooms, on layers from top to bottom. A room may import itself and
# rooms of lower layers. "" is the package's own __init__.
HOUSES = {
    PACKAGE: [
        {"testing"},
        {"cli"},
        {"server", "client", "terminal", "telemetry"},
        {"wire"},
        {""},
        {"extension"},
        {"flow"},
        {"backend"},
        {"durable", "models", "diagram"},
        {"drivers", "stores"},
        {"run", "reducers"},
        {"serialize"},
        {"build"},
        {"errors", "records"},
        {"_core"},
    ],
    f"{PACKAGE}.durable": [
        {""},
        {"history", "workers"},
        {"schedules"},
        {"executions"},
        {"hub"},
        {"format"},
    ],
    f"{PACKAGE}.models": [
        {"", "openai", "anthropic"},
        {"request"},
        {"response"},
        {"outputs", "repair", "sources"},
        {"shapes"},
        {"errors"},
        {"instant"},
        {"paths"},
    ],
}

# The modules that other distributions may import, with all their submodules.
GUESTS_MAY_IMPORT = {
    *("", "backend", "diagram", "durable", "errors", "extension", "models", "records", "reducers", "server", "stores"),
}

# The modules that the core may import: none of them reads a clock, draws a random number or does I/O.
CORE_MAY_IMPORT = {
    *("__future__", "array", "collections", "dataclasses", "enum", "functools", "hashlib", "heapq", "itertools"),
    *("json", "msgspec", "operator", "types", "typing"),
}
CORE_MAY_NOT_CALL = {"open", "input", "print", "eval", "exec", "__import__"}

# Time, random numbers and ids come from an `Environment`; only the modules below may use the functions behind it.
CLOCKS = {
    "time": {"time"},
    "os": {"urandom"},
    "uuid": {"uuid1", "uuid4"},
    "random": {"random", "Random", "uniform", "choice"},
}
MAY_NAME_CLOCKS = {
    f"{PACKAGE}.build.retry",
    f"{PACKAGE}.run.environment",
    f"{PACKAGE}.stores",
    f"{PACKAGE}.testing",
    f"{PACKAGE}.serialize",
}


class Import(NamedTuple):
    """One import: ``target`` is a module, ``name`` the imported name if that is not a module itself."""

    line: int
    target: str
    name: str


def imports_of(tree: ast.Module, module: str, is_package: bool, modules: set[str]) -> Iterator[Import]:
    """Yield every import of a module, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = module.rsplit(".", up)[0] if up > 0 else module
            source = ".".join(filter(None, [base if node.level else "", node.module]))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                found = (whole, "") if whole in modules else (source, alias.name)
                yield Import(node.lineno, *found)


def room_of(module: str, house: str = PACKAGE) -> str:
    """Return the room of a module in a house that it is in: ``_core`` for ``triggerflow._core.events``."""
    return f"{module}."[len(house) + 1 :].split(".")[0]


def houses_of(*modules: str) -> Iterator[str]:
    """Yield the houses that all of these modules are in, the outermost first."""
    return (house for house in HOUSES if all(f"{module}.".startswith(f"{house}.") for module in modules))


def layer_of(module: str, house: str) -> int | None:
    """Return the layer of a module in a house, as index in its list; None if it has none."""
    return next((number for number, layer in enumerate(HOUSES[house]) if room_of(module, house) in layer), None)


def breaks_layers(importer: str, target: str) -> str | None:
    """Return the breach of an import between two modules of the package, or None."""
    for house in houses_of(importer, target):
        above, below = layer_of(importer, house), layer_of(target, house)
        if above is None or below is None or room_of(importer, house) == room_of(target, house):
            continue  # a module without a layer is reported once, in its own check
        if above >= below:
            source = room_of(importer, house) or house
            return f"{source} may not import {target}, which is not in a layer below"
    return None


def breaks_privacy(importer: str, item: Import) -> str | None:
    """Return the breach of an import of a private module or name of another folder, or None."""
    parts = item.target.split(".")
    for position, part in enumerate(parts[1:], start=1):
        home = ".".join(parts[:position])
        if part.startswith("_") and not part.endswith("__") and not f"{importer}.".startswith(f"{home}."):
            return f"{item.target} is private to {home}"
    if item.name.startswith("_") and not item.name.endswith("__"):
        return f"{item.name} is private to {item.target}"
    return None


def breaks_clock(importer: str, item: Import) -> str | None:
    """Return the breach of a module that imports a clock or random numbers instead of asking an environment."""
    if item.name in CLOCKS.get(item.target, ()) and not any(
        f"{importer}.".startswith(f"{it}.") for it in MAY_NAME_CLOCKS
    ):
        return f"{item.target}.{item.name} is asked of an Environment, not imported"
    return None


def circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield import circles among folders, at most one per folder."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            yield circle
            left[circle[1]].discard(circle[0])
            left[circle[0]].discard(circle[1])
        else:
            return


def breaches(root: Path) -> Iterator[str]:
    """Yield every breach below ``root``, as ``path:line: message``."""
    files = {name_of(path): path for path in sorted((root / "src" / PACKAGE).rglob("*.py"))}
    guests = [(name_of(path), path) for top in ("bridge", "examples") for path in sorted((root / top).rglob("*.py"))]
    rooms: dict[str, dict[str, set[str]]] = {house: {} for house in HOUSES}
    for name, path in [*files.items(), *guests]:
        where = path.relative_to(root)
        ours, pure = name in files, name.startswith(f"{PACKAGE}._core")
        if ours and any(layer_of(name, house) is None for house in houses_of(name)):
            yield f"{where}:1: has no layer; give it one in HOUSES of tools/imports.py"
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for item in imports_of(tree, name, path.stem == "__init__", set(files)):
            internal = item.target.split(".")[0] == PACKAGE
            problems = [breaks_privacy(name, item)]
            if ours and internal:
                problems.append(breaks_layers(name, item.target))
                for house in houses_of(name, item.target):
                    source, target = room_of(name, house), room_of(item.target, house)
                    rooms[house].setdefault(source, set()).update({target} - {source})
            elif (
                internal
                and not ours
                and name.split(".")[0] != "examples"
                and room_of(item.target) not in GUESTS_MAY_IMPORT
            ):
                problems.append(f"{item.target} is the engine's own; see {PACKAGE}.extension")
            elif pure and item.target.split(".")[0] not in CORE_MAY_IMPORT:
                problems.append(f"the core is pure: it may not import {item.target}")
            if ours:
                problems.append(breaks_clock(name, item))
            yield from (f"{where}:{item.line}: {problem}" for problem in problems if problem)
        for node in ast.walk(tree) if pure else ():
            if isinstance(node, ast.Name) and node.id in CORE_MAY_NOT_CALL:
                yield f"{where}:{node.lineno}: the core is pure: it may not use {node.id}"
    for house, graph in rooms.items():
        for circle in circles(graph):
            yield f"src/{house.replace('.', '/')}: rooms import each other in a circle: {' <- '.join(circle)}"


def name_of(path: Path) -> str:
    """Return the dotted module name of a file, counted from the topmost folder that is a package."""
    base = path.parent
    while (base / "__init__.py").exists():
        base = base.parent
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def layers(root: Path) -> Iterator[str]:
    """Yield the layers of each house from top to bottom, with the number of modules in each room."""
    names = [name_of(path) for path in (root / "src" / PACKAGE).rglob("*.py")]
    for house, floors in HOUSES.items():
        counts = Counter(room_of(name, house) for name in names if house in houses_of(name))
        yield house
        for number, layer in enumerate(floors):
            yield f"{number:>2}  {', '.join(f'{room or house} ({counts[room]})' for room in sorted(layer))}"


def main() -> int:
    """Check the tree; return the exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = list(breaches(root))
    print(*layers(root), *found, sep="\n")
    around = sum("in a circle" in line for line in found)
    print(f"imports: {len(found)} breaches, {around} circles")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
