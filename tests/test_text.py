"""Saved executions and flows as text: what is written is read again, and what is read has limits.

`serialize.text`: "What is read may come from a stranger"; S18 and S20 with the safety rule that everything that a
stranger can send has a limit.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triggerflow import TriggerFlow, TriggerFlowRuntimeData
from triggerflow.errors import DefinitionError, SnapshotError, UsageError

Data = TriggerFlowRuntimeData[Any]
Entry = Callable[[str, Path], Any]


def echoing() -> TriggerFlow:
    flow = TriggerFlow(name="echoing")

    async def echo(data: Data) -> Any:
        return data.value

    flow.to(("echo", echo)).end()
    return flow


def as_file(name: str, text: str, folder: Path) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


#: Everything that reads YAML: how, and with which error it refuses.
ENTRIES: dict[str, tuple[Entry, type[Exception]]] = {
    "an execution": (lambda text, _: echoing().load_execution(text), SnapshotError),
    "an execution's file": (lambda text, to: echoing().load_execution(as_file("run.yaml", text, to)), SnapshotError),
    "an execution's yml": (lambda text, to: echoing().load_execution(as_file("run.yml", text, to)), SnapshotError),
    "a look at an execution": (lambda text, _: echoing().inspect_load(text), SnapshotError),
    "a look at a file": (lambda text, to: echoing().inspect_load(as_file("run.yaml", text, to)), SnapshotError),
    "a flow": (lambda text, _: echoing().load_yaml_flow(text), DefinitionError),
    "a flow's file": (lambda text, to: echoing().load_yaml_flow(as_file("flow.yaml", text, to)), DefinitionError),
}

#: 400 bytes that mean 10 ** 7 numbers.
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7)
)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "a: &a {b: 1}\nc: {<<: *a}\n"], ids=["bomb", "loop", "merge"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_aliases_are_read_nowhere(entry: str, text: str, tmp_path: Path) -> None:
    """Each use of an alias is the whole value once more. The line is named, and what to do."""
    load, error = ENTRIES[entry]
    with pytest.raises(error, match=r"aliases are not read \(line [12]\); write the value out"):
        load(text, tmp_path)


@pytest.mark.parametrize("text", ["a:\n  " + "[" * 100_000, "a:\n" + "- " * 100_000, "a:\n- " + "{? " * 100_000])
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_nested_without_end_is_read_nowhere(entry: str, text: str, tmp_path: Path) -> None:
    load, error = ENTRIES[entry]
    with pytest.raises(error, match=r"nested too deep"):
        load(text, tmp_path)


@pytest.mark.parametrize("entry", ENTRIES)
def test_yaml_without_its_library_says_what_to_install(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"triggerflow-engine\[yaml\]"):
        ENTRIES[entry][0]("a:\n  b\n", tmp_path)
    with pytest.raises(UsageError, match=r"triggerflow-engine\[yaml\]"):
        echoing().create_execution().save(tmp_path / "saved.yaml")
    assert not (tmp_path / "saved.yaml").exists()


def test_json_that_is_nested_without_end_is_no_yaml() -> None:
    with pytest.raises(SnapshotError, match="the JSON text is nested too deep"):
        echoing().load_execution("[" * 100_000)


async def test_what_is_saved_twice_is_written_twice(tmp_path: Path) -> None:
    """What is written is read again: so there are no aliases in it, whatever the value shares."""
    flow, shared = echoing(), {"numbers": [1, 2, 3]}
    execution = flow.create_execution()
    await execution.async_start([shared, shared, shared["numbers"]])
    execution.save(tmp_path / "run.yaml")
    text = (tmp_path / "run.yaml").read_text("utf-8")
    assert not [event for event in yaml.parse(text) if isinstance(event, yaml.AliasEvent)]
    loaded = flow.load_execution(tmp_path / "run.yaml")
    assert await loaded.async_get_result() == [shared, shared, shared["numbers"]]


ENDS_OF_LINES = st.text(alphabet="a \n\t\r\x85\u2028\u2029\"':#-\\", max_size=20)


@pytest.mark.parametrize("library", ["libyaml", "python"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True)
@given(texts=st.lists(st.text(max_size=10) | ENDS_OF_LINES, max_size=4))
def test_any_text_comes_back_from_a_file(
    library: str, texts: list[str], tmp_path: Path, run: Callable[..., Any]
) -> None:
    """ "Never a value that nobody produced": YAML has more ends of lines than Python, and PyYAML folds some away."""
    path, flow = tmp_path / "run.yaml", echoing()
    texts = [text for text in texts if text.encode("utf-8", "replace").decode() == text]

    async def save() -> None:
        execution = flow.create_execution()
        await execution.async_start(texts)
        execution.save(path)

    async def load() -> Any:
        return await flow.load_execution(path).async_get_result()

    with pytest.MonkeyPatch.context() as patch:
        if library == "python":
            patch.delattr(yaml, "CSafeDumper")
            patch.delattr(yaml, "CSafeLoader")
        run(save())
        assert run(load()) == texts


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    """`save`, `get_json_flow`: nothing is left beside the file either."""
    path = as_file("flow.json", "before", tmp_path)
    with pytest.raises(LookupError):
        echoing().get_json_flow(path, encoding="no-such-encoding")
    with pytest.raises(LookupError):
        echoing().create_execution().save(path, encoding="no-such-encoding")
    assert path.read_text() == "before"
    assert [it.name for it in tmp_path.iterdir()] == ["flow.json"]
    echoing().get_json_flow(path)
    assert json.loads(path.read_text("utf-8"))["name"] == "echoing"
