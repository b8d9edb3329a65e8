"""A name of an earlier version says what to use now: it works with a warning, or raises an error that names it."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import triggerflow
from triggerflow import TriggerFlow, records

flow = TriggerFlow("names")


async def step(data: Any) -> Any:
    return data.value


OWNERS: dict[str, Callable[[], Any]] = {
    "flow": lambda: flow,
    "execution": flow.create_execution,
    "chain": lambda: flow.to(step),
}
REMOVED = [
    ("flow", "get_runtime_resource", "flow.resources.get(key, default)"),
    ("flow", "program", "triggerflow.extension"),
    ("execution", "journal", "execution.records"),
    ("execution", "is_settled", "execution.async_settled()"),
    ("execution", "deadline", "flow.create_execution(cleanup_timeout=...)"),
    ("execution", "machine", "triggerflow.extension"),
    ("chain", "____", "a comment in the program"),
]


@pytest.mark.parametrize(("owner", "name", "hint"), REMOVED)
def test_a_removed_name_raises_an_error_that_says_what_to_use(owner: str, name: str, hint: str) -> None:
    it = OWNERS[owner]()
    with pytest.raises(AttributeError) as raised:
        getattr(it, name)
    assert f"{type(it).__name__}.{name} " in str(raised.value)
    assert hint in str(raised.value)


async def test_a_removed_name_of_the_data_says_what_to_use() -> None:
    async def ask(data: Any) -> str:
        try:
            return str(data.run_number)
        except AttributeError as error:
            return str(error)

    asking = TriggerFlow("asking")
    asking.to(ask).end()
    assert "data.run_id" in await asking.async_start()


@pytest.mark.parametrize("owner", OWNERS)
def test_a_name_that_never_existed_is_an_attribute_error_without_a_hint(owner: str) -> None:
    it = OWNERS[owner]()
    with pytest.raises(AttributeError, match=f"'{type(it).__name__}' object has no attribute 'nothing'"):
        _ = it.nothing
    assert not hasattr(it, "nothing")


RENAMED = {
    "Parked": records.ExternalWaitStarted,
    "Unparked": records.ExternalWaitEnded,
    "Withdrawn": records.InterruptClosed,
    "Pulled": records.SourceItems,
    "PullFailed": records.SourceFailed,
    "Abandoned": records.CleanupTimedOut,
    "PlacesWanted": records.PermitsRequested,
    "PlacesGranted": records.PermitsGranted,
    "PlacesReturned": records.PermitsReturned,
}


@pytest.mark.parametrize("name", RENAMED)
def test_a_former_class_of_records_works_and_says_its_new_name(name: str) -> None:
    new = RENAMED[name]
    with pytest.warns(DeprecationWarning, match=f"records.{name} is named {new.__name__} now") as caught:
        assert getattr(records, name) is new
    assert caught[0].filename == __file__


def test_names_that_moved_work_and_say_where_they_are() -> None:
    former: Any = triggerflow
    with pytest.warns(DeprecationWarning, match="from triggerflow import Chain"):
        assert former.Process is triggerflow.Chain
    with pytest.warns(DeprecationWarning, match=r"from triggerflow\.errors import UsageError"):
        assert issubclass(former.UsageError, triggerflow.TriggerFlowError)


@pytest.mark.parametrize("statement", ["from triggerflow.durable import DurableExecution", "durable.DurableExecution"])
def test_the_class_of_durable_executions_says_what_to_use(statement: str) -> None:
    program = f"from triggerflow import durable\n{statement}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "DurableExecution was removed" in done.stderr
    assert "use triggerflow.Execution" in done.stderr


@pytest.mark.parametrize("module", ["triggerflow", "triggerflow.records", "triggerflow.durable"])
def test_an_unknown_name_of_a_module_is_an_attribute_error(module: str) -> None:
    from triggerflow import durable

    modules: dict[str, Any] = {
        "triggerflow": triggerflow,
        "triggerflow.records": records,
        "triggerflow.durable": durable,
    }
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Nothing'"):
        _ = modules[module].Nothing
