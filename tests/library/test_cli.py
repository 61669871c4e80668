"""The command line without a system: options, versions, the doctor, errors, and who will answer."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ultrafast
from ultrafast.cli.app import app
from ultrafast.cli.common import ExitCode, errors_for_people, load_config
from ultrafast.errors import ConfigError, InvalidArgument
from ultrafast.jobs.source import open_source, source_name
from ultrafast.validation.registry import SCENARIOS, ScenarioSettings, find_scenario

HEAVY = ["anthropic", "rich", "starlette", "typer", "uvicorn", "numpy", "ultrafast.manager"]


def invoke(*words: str, **environment: str) -> Any:
    return CliRunner().invoke(app, list(words), env=environment)


def test_importing_the_command_line_is_light() -> None:
    code = f"import sys, ultrafast.cli; print([m for m in {HEAVY} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True
    )
    assert printed.stdout.strip() == "[]", f"import ultrafast.cli also imports {printed.stdout}"


def test_asking_for_help_starts_nothing() -> None:
    code = (
        "import sys, ultrafast.cli.app; "
        "print([m for m in ('anthropic', 'numpy', 'ultrafast.manager') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True
    )
    assert printed.stdout.strip() == "[]"


def test_the_installed_command_and_the_module_say_their_version() -> None:
    script = Path(sys.executable).with_name("ultrafast")
    for command in ([str(script)], [sys.executable, "-P", "-m", "ultrafast"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout == f"ultrafast {ultrafast.__version__}\n"
        assert done.stderr == ""


@pytest.mark.parametrize("command", ["run", "validate", "doctor", "status", "stop"])
def test_each_command_explains_itself(command: str) -> None:
    assert command in invoke("--help").output
    assert invoke(command, "--help").exit_code == 0


@pytest.mark.parametrize("key", ["", "some-secret-of-mine"])
def test_the_doctor_finds_this_machine_well_and_keeps_the_key_to_itself(key: str) -> None:
    result = invoke("doctor", ANTHROPIC_API_KEY=key)
    assert result.exit_code == ExitCode.OK, result.output
    assert ("is set:" in result.output) is bool(key)
    assert "secret" not in result.output
    lines = result.output.splitlines()
    assert len(lines) == 5
    assert all(re.match(r"(ok|note)\s", line) for line in lines)


def test_the_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    room = os.statvfs("/dev/shm")

    class Small:
        f_bavail = 1
        f_frsize = room.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda path: Small)
    result = invoke("doctor")
    assert result.exit_code == ExitCode.UNUSABLE
    assert "FAIL  /dev/shm" in result.output
    assert "--shm-size" in result.output


def test_errors_that_users_can_mend_are_a_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended, errors_for_people():
        raise ConfigError("workers is -1; allowed is 0 or more")
    assert ended.value.exit_code == ExitCode.UNUSABLE
    assert capsys.readouterr().err == "error: workers is -1; allowed is 0 or more\n"
    with pytest.raises(ZeroDivisionError), errors_for_people():
        _ = 1 / 0


def test_settings_come_from_the_file_and_the_command_line_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "system.toml"
    path.write_text('workers = 1\nshared_buffer_size = "256MiB"\n')
    assert load_config(path).workers == 1
    assert load_config(path, workers=3).workers == 3
    assert load_config(path, workers=3).shared_buffer_size == 256 << 20
    assert load_config(None, workers=None) == ultrafast.Config()
    path.write_text("wrokers = 1\n")
    with pytest.raises(ConfigError, match="workers"):
        load_config(path)
    result = invoke("validate", "--config", str(path))
    assert result.exit_code == ExitCode.UNUSABLE
    assert "workers" in result.output


def test_a_tasks_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = invoke("run", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out"))
    assert result.exit_code == ExitCode.UNUSABLE
    assert "none.jsonl" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["--rate", "0"], ["--duration", "-1"], ["--scenario", "none-such"]]
)
def test_a_scenario_that_can_not_be_run_is_said(words: list[str]) -> None:
    result = invoke("validate", *words)
    assert result.exit_code == ExitCode.UNUSABLE
    assert result.output.startswith("error: ")


def test_every_scenario_of_the_list_can_be_run() -> None:
    assert invoke("validate", "--list").output.split() == sorted(SCENARIOS)
    for name in SCENARIOS:
        module = find_scenario(name)
        assert name == module.NAME  # type: ignore[attr-defined]  # every module has it
        assert asyncio.iscoroutinefunction(module.run)
    with pytest.raises(InvalidArgument, match="baseline-performance"):
        find_scenario("none-such")
    with pytest.raises(InvalidArgument):
        ScenarioSettings(config=ultrafast.Config(), agents=1)


def test_a_key_decides_who_answers() -> None:
    assert source_name({}) == "loopback"
    assert source_name({"ANTHROPIC_API_KEY": " "}) == "loopback"
    assert source_name({"ANTHROPIC_API_KEY": "k"}) == "api"

    async def main() -> None:
        with_key = {"ANTHROPIC_API_KEY": " a-secret ", "ANTHROPIC_BASE_URL": "http://x.test"}
        async with open_source(None, with_key) as source:
            assert (source.name, source.endpoint) == ("api", "http://x.test")
            assert source.api_key == "a-secret"
            assert "a-secret" not in repr(source) + source.sentence
        async with open_source("http://y.test", with_key) as source:
            assert source.endpoint == "http://y.test"
        async with open_source(None, {"ANTHROPIC_API_KEY": "k"}) as source:
            assert source.endpoint == "https://api.anthropic.com"
        async with open_source(None, {}) as source:
            assert source.name == "loopback"
            assert source.endpoint.startswith("http://127.0.0.1:")
            assert "loopback" in source.sentence and "ANTHROPIC_API_KEY" in source.sentence

    asyncio.run(asyncio.wait_for(main(), 60))
