"""What tests need beyond Python packages: a test marked `needs("model")` is skipped where `make services` was not run.

Where the environment variable CI is set, such a test fails instead: what was not tried counts as broken there.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: By name: whether it is there. What is named here, `tools/services.sh` installs.
SERVICES: dict[str, Callable[[], bool]] = {
    "model": lambda: (ROOT / ".venv-model" / ".ready").exists(),
    "node": lambda: shutil.which("node") is not None and (ROOT / "page/node_modules/@ag-ui/client").exists(),
    "strace": lambda: shutil.which("strace") is not None,
    "postgres": lambda: bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))),
    "pgbouncer": lambda: shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin") is not None,
    "chromium": lambda: shutil.which("chromium") is not None,
    "axe": lambda: (ROOT / "page" / "node_modules" / "axe-core" / "axe.min.js").exists(),
    "namespaces": lambda: os.getuid() == 0 and shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None,
}


def missing(item: pytest.Item) -> list[str]:
    """The services that a test needs and this machine does not have."""
    names = [name for marker in item.iter_markers("needs") for name in marker.args]
    return [name for name in names if not SERVICES[name]()]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(name): needs something that `make services` installs; see tests/services.py"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if names := missing(item):
        text = f"{', '.join(names)} is missing: run `make services`"
        if os.environ.get("CI"):
            pytest.fail(f"{text}; with CI set that is a failure", pytrace=False)
        pytest.skip(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = sum("run `make services`" in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    if skipped:
        terminalreporter.write_line(f"{skipped} tests were skipped, `make services` installs what they need")
