"""The public import surface: what `from agently import ...` gives, and where the classes behind it stand."""

import subprocess
import sys

import agently
import pytest
from agently.core import TriggerFlowChunk, TriggerFlowExecution, TriggerFlowProcess
from agently.types.data import RunContext
from agently.types.trigger_flow import TriggerFlowRuntimeData


def test_the_names_of_4_0_9_are_there() -> None:
    for name in (
        "Agently", "TriggerFlow", "TriggerFlowBluePrint", "TriggerFlowRuntimeData", "TriggerFlowEventData",
        "TriggerFlowInterruptEvent", "TriggerFlowSystemStreamEvent", "TriggerFlowContractSpec", "print_", "async_print",
    ):  # fmt: skip
        assert hasattr(agently, name), name
    assert agently.TriggerFlowEventData is agently.TriggerFlowRuntimeData is TriggerFlowRuntimeData
    assert agently.TriggerFlowSystemStreamEvent is agently.TriggerFlowInterruptEvent
    assert agently.TriggerFlowBlueprint is agently.TriggerFlowBluePrint  # the spelling of 4.1


def test_flow_parts_are_instances_of_the_classes_in_core() -> None:
    flow = agently.TriggerFlow[int, str, int]()
    chunk = flow.chunk("a")(lambda data: data.value)
    assert isinstance(chunk, TriggerFlowChunk)
    assert isinstance(flow.to(chunk), TriggerFlowProcess)
    assert isinstance(flow.create_execution(), TriggerFlowExecution)


def test_runtime_data_can_be_subscripted_with_its_types() -> None:
    assert agently.TriggerFlowRuntimeData[int, str, int] is not None
    assert RunContext(run_id="r", run_kind="agent_turn").root_run_id == "r"


def test_importing_needs_neither_pydantic_nor_yaml_nor_fastapi() -> None:
    code = "import sys, agently; print({'pydantic', 'yaml', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


async def test_print_helpers(capsys: pytest.CaptureFixture[str]) -> None:
    agently.print_("a", 1)
    await agently.async_print("b")
    assert capsys.readouterr().out == "a 1\nb\n"


def test_a_missing_fastapi_is_an_import_error_and_no_question_on_stdin() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import agently.integrations.fastapi"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, input="", timeout=60, check=False
    )
    assert done.returncode == 1
    assert "fastapi" in done.stderr.splitlines()[-1]
