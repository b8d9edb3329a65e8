"""The server costs nothing to those who do not serve, and says what to install to those who want to."""

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_engine_does_not_import_what_the_server_needs() -> None:
    names = "{'starlette', 'uvicorn', 'anyio', 'triggerflow.server', 'triggerflow.wire'}"
    assert run(f"import sys, triggerflow, triggerflow.backend; print({names} & set(sys.modules))") == "set()\n"


def test_without_the_extra_the_error_says_what_to_install() -> None:
    for missing in ("starlette", "uvicorn"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "try:\n    import triggerflow.server\nexcept ImportError as error:\n    print(error)"
        )
        assert "pip install 'triggerflow-engine[server]'" in run(code)
