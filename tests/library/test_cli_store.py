"""`ultrafast store` on files and on running stores."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from library.snapshots import keeping, restored
from ultrafast.cli.app import app
from ultrafast.cli.common import ExitCode

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "number": 7,
    "float": 0.25,
    "text": "grüße\n",
    "bytes": b"\x00\xff",
    "infinite": float("inf"),
}


def invoke(*words: str, given: str | None = None) -> Any:
    return CliRunner().invoke(app, ["store", *words], input=given)


@pytest.fixture
def path(tmp_path: Path) -> str:
    with keeping(tmp_path) as kept:
        for key, value in VALUES.items():
            kept.table.set("v", key, value)
        kept.table.set("other", "gone", 1)
        kept.persistence.snapshot()
        kept.table.delete("other", "gone")
        kept.table.set("other", "here", 2)
        kept.persistence.snapshot()
    return str(tmp_path / "snapshot")


def test_verify_counts_and_names_what_is_damaged(path: str) -> None:
    done = invoke("verify", path)
    assert done.exit_code == ExitCode.OK, done.output
    assert done.output.startswith("8 entries, 0 expired, in ")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace("grüße".encode(), "grüsse".encode()[:7]))
    done = invoke("verify", path)
    assert done.exit_code == ExitCode.FAILED
    assert "damaged: 'v' 'text'" in done.output
    Path(path).write_text("nothing of the kind" * 1000)
    assert invoke("verify", path).exit_code == ExitCode.UNUSABLE
    assert invoke("verify", path + "-none").exit_code == ExitCode.UNUSABLE


def test_a_dump_loads_into_a_new_file_with_all_there_was(path: str, tmp_path: Path) -> None:
    lines = invoke("dump", path).output
    assert len(lines.splitlines()) == 8
    assert json.loads(lines.splitlines()[0]) == {"namespace": "other", "key": "here", "value": 2}
    done = invoke("load", str(tmp_path / "new"), given=lines)
    assert done.exit_code == ExitCode.OK, done.output
    expected = {("v", key): value for key, value in VALUES.items()} | {("other", "here"): 2}
    assert restored(tmp_path, name="new")[0] == expected
    out = tmp_path / "dump.jsonl"
    assert invoke("dump", path, "--namespace", "v", "--out", str(out)).exit_code == ExitCode.OK
    assert len(out.read_text().splitlines()) == 7
    for wrong in ("{}", "[1]", '{"namespace": "a", "key": 1, "value": 1}', "x", '{"namespace":"a"'):
        done = invoke("load", str(tmp_path / "new"), given=f"\n{wrong}\n")
        assert done.exit_code == ExitCode.UNUSABLE
        assert "line 2" in done.output
    assert restored(tmp_path, name="new")[0] == expected


def test_entries_of_a_file_are_listed_read_and_set(path: str, tmp_path: Path) -> None:
    assert invoke("ls", path, "--namespace", "other").output == "other\there\n"
    assert invoke("ls", path, "--prefix", "t").output == "v\ttext\nv\ttrue\n"
    assert "7" in invoke("ls", path, "--count").output
    assert invoke("get", path, "v", "float").output == "0.25\n"
    assert invoke("get", path, "v", "text", "--raw").output == "grüße\n"
    assert invoke("get", path, "v", "bytes").output == "b'\\x00\\xff'\n"
    assert invoke("get", path, "v", "absent").exit_code == ExitCode.FAILED
    assert invoke("set", path, "v", "new", '{"a": [1, 2]}').exit_code == ExitCode.OK
    assert json.loads(invoke("get", path, "v", "new").output) == {"a": [1, 2]}
    assert invoke("set", path, "v", "new", "plain words").exit_code == ExitCode.OK
    assert invoke("set", path, "v", "digits", "12", "--text", "--ttl-s", "60").exit_code == 0
    content = restored(tmp_path)[0]
    assert content["v", "new"] == "plain words"
    assert content["v", "digits"] == "12"
    assert invoke("set", path, "v", "x", "1", "--ttl-s", "-1").exit_code == ExitCode.UNUSABLE


def test_a_file_is_compacted_and_one_in_use_is_not(path: str, tmp_path: Path) -> None:
    before = restored(tmp_path)[0]
    for number in range(30):
        invoke("set", path, "v", "often", str(number))
    assert invoke("compact", path).exit_code == ExitCode.OK
    assert "in 9 records of 1 segments" in invoke("verify", path).output
    assert restored(tmp_path)[0] == before | {("v", "often"): 29}
    with keeping(tmp_path):
        for words in (["compact", path], ["set", path, "v", "a", "1"], ["load", path]):
            done = invoke(*words, given="")
            assert done.exit_code == ExitCode.UNUSABLE, words
            assert "another system" in done.output
        # Reading goes beside it; in this very process it may not, so in one of its own.
        import subprocess

        command = [sys.executable, "-P", "-m", "ultrafast", "store", "get", path, "v", "often"]
        assert subprocess.run(command, capture_output=True, text=True).stdout == "29\n"
    assert not [each for each in tmp_path.iterdir() if "compacting" in each.name]


def test_a_damaged_file_is_compacted_to_what_is_whole(path: str, tmp_path: Path) -> None:
    data = bytearray(Path(path).read_bytes())
    data[24:4096] = bytes(4072)
    Path(path).write_bytes(data)
    assert invoke("verify", path).exit_code == ExitCode.FAILED
    assert invoke("compact", path).exit_code == ExitCode.OK
    assert invoke("verify", path).exit_code == ExitCode.OK
    assert len(restored(tmp_path)[0]) == 8


def test_a_running_store_is_listed_read_set_and_loaded(tmp_path: Path) -> None:
    with keeping(tmp_path) as kept:
        kept.table.set("v", "a", 1)
        region = kept.table.region.path
        assert invoke("ls", region).output == "v\ta\n"
        assert invoke("get", region, "v", "a").output == "1\n"
        assert invoke("set", region, "v", "b", "[1]").exit_code == ExitCode.OK
        assert json.loads(invoke("get", region, "v", "b").output) == [1]
        line = json.dumps({"namespace": "v", "key": "c", "value": "x"})
        assert invoke("load", region, "--system", given=line).exit_code == ExitCode.OK
        assert kept.table.get("v", "c") == "x"
    for words in (["ls", "no-such-system"], ["get", "no/such/file", "a", "b"], ["ls", "/dev"]):
        assert invoke(*words).exit_code == ExitCode.UNUSABLE, words
