"""One browser and one server for each module, and a new person in each test.

A module's tests share the server: each starts executions of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.page.visitor import CHROMIUM, FLAGS, Place, Visitor, visiting
from tests.server.processes import Process, free_port
from triggerflow.server.page import load


class PageProcess(Process):
    """A process that serves the page."""

    program = "tests.page.program"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. While it runs no test of asyncio can, in this thread: so it ends with its module."""
    assert load(), "the page is not built: run `make page`"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    """Starts a server, on a store of its own unless one is given."""
    with ExitStack() as stack:

        def start(store: str = "", **options: Any) -> Place:
            place = store or str(tmp_path_factory.mktemp("page") / "runs.db")
            return Place(stack.enter_context(PageProcess(place, free_port(), **options)))

        yield start


@pytest.fixture(scope="module")
def place(serve: Callable[..., Place]) -> Place:
    """A server, with a worker, that lets everybody in."""
    return serve()


@pytest.fixture
def visitor(browser: Browser, place: Place) -> Iterator[Visitor]:
    """Somebody who visits it. At the end nothing may have gone wrong in the page, nor moved by itself."""
    with visiting(browser, place.url) as made:
        yield made
