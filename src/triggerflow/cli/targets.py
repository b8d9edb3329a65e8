"""TARGETs: the flows that a person names, as `module:flow`, `path.py:flow`, or `path.py` if it has only one.

Only names that a person has typed are imported, never a name out of a store.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from .troubles import USAGE, Trouble, meant
from .values import near_file

if TYPE_CHECKING:
    from ..flow import TriggerFlow


def is_target(text: str) -> bool:
    """Whether a text is a TARGET, and not the name of a flow in a store."""
    return ":" in text or text.endswith(".py") or "/" in text


def flow_of(target: str) -> "TriggerFlow[Any, Any]":
    """The flow of a TARGET. Imports its module, which runs its code. Raises `Trouble`."""
    from ..flow import TriggerFlow

    place, _, name = target.rpartition(":") if _has_name(target) else (target, "", "")
    module = _module(place, target)
    flows: dict[str, TriggerFlow[Any, Any]] = {}
    for key, it in vars(module).items():
        if isinstance(it, TriggerFlow) and not any(it is other for other in flows.values()):
            flows[key] = cast("TriggerFlow[Any, Any]", it)
    if not name:
        if len(flows) == 1:
            return next(iter(flows.values()))
        if not flows:
            raise Trouble(USAGE, f"{place} has no flow: it needs a TriggerFlow in a variable of the module")
        raise Trouble(USAGE, f"{place} has {len(flows)} flows; say which: {', '.join(f'{place}:{it}' for it in flows)}")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, TriggerFlow):
        if found is None:
            raise Trouble(USAGE, f"{place} has no {name!r}{meant(name, flows)}")
        raise Trouble(USAGE, f"{target} is a {type(found).__name__}, and no TriggerFlow{meant(name, flows)}")
    return cast("TriggerFlow[Any, Any]", found)


def flows_of(targets: tuple[str, ...] | list[str]) -> "list[TriggerFlow[Any, Any]]":
    """The flows of several TARGETs, without duplicates."""
    found: list[TriggerFlow[Any, Any]] = []
    for target in targets:
        flow = flow_of(target)
        if not any(flow is it for it in found):
            found.append(flow)
    return found


def _has_name(target: str) -> bool:
    _, colon, name = target.rpartition(":")
    return bool(colon) and "/" not in name and "\\" not in name


def _module(place: str, target: str) -> ModuleType:
    path = Path(place)
    is_path = place.endswith(".py") or "/" in place or "\\" in place
    if is_path and not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise Trouble(USAGE, f"{target}: file {place!r} {what}{near_file(place)}")
    try:
        return _run_file(path) if is_path else _import(place)
    except Trouble:
        raise
    except ModuleNotFoundError as error:
        if not is_path and error.name and f"{place}.".startswith(f"{error.name}."):
            hint = f"; did you mean {place}.py?" if Path(f"{place}.py").is_file() else ""
            raise Trouble(
                USAGE, f"there is no module {error.name!r} here{hint or '; a TARGET is module:flow or path.py:flow'}"
            ) from error
        raise Trouble(USAGE, f"{target} cannot be loaded: {error}") from error
    except Exception as error:
        raise Trouble(
            USAGE, f"{target} cannot be loaded: {type(error).__name__}: {error}{where_raised(error)}"
        ) from error


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise Trouble(USAGE, f"{name!r} is no TARGET: write module:flow or path.py:flow")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)  # noqa: TID251 - the name that the person typed on the command line


def _run_file(path: Path) -> ModuleType:
    """Run a file as the module of its name, with its folder on `sys.path`."""
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Trouble(USAGE, f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
        raise
    return module


def where_raised(error: BaseException) -> str:
    """The innermost line outside of this package at which an error was raised, as " (file.py, line 7)"; "" if none."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "importlib" not in name and not name.startswith(str(Path(__file__).parent.parent)):
            found = f" ({Path(name).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found
