"""Bytes of a name or a value that somebody wrote over: one typed error, or what is left of it."""

import random
from pathlib import Path

import pytest

from doors.small import SMALL
from ultrafast import errors
from ultrafast.core import Agents, Queues, Region, Table


def overwrite(file: Path, what: bytes, by: bytes) -> None:
    """Put other bytes wherever the region has these."""
    content = file.read_bytes()
    assert what in content
    with file.open("r+b") as stream:
        at = content.find(what)
        while at >= 0:
            stream.seek(at)
            stream.write(by)
            at = content.find(what, at + 1)


@pytest.mark.parametrize("text", ["a text to be written over", "größer, a text to be written over"])
def test_a_stored_text_that_is_no_utf8_is_a_region_error(
    region: Region, table: Table, path: Path, text: str
) -> None:
    table.set("space", "key", text)
    overwrite(path, b"to be written over", b"to be \xff\xfe\xc3\x28")
    for read in (table.get, table.get_entry):
        with pytest.raises(errors.RegionCorrupt, match=r"a stored text of \d+ bytes is none"):
            read("space", "key")
    table.set("space", "key", "again")
    assert table.get("space", "key") == "again"


def test_names_of_any_bytes_are_read_as_far_as_they_go(region: Region, path: Path) -> None:
    queues, agents = Queues(region), Agents(region)
    index, number = queues.open("a queue to be named"), agents.type("a type to be named")
    overwrite(path, b"queue to be named", b"queue\0\xff o be \xff")
    overwrite(path, b"type to be named", b"\xfftype to be\xff\xff")
    assert queues.name(index) == "a queue"
    named = agents.type_name(number)
    assert named is not None and named.startswith("a \ufffdtype to be\ufffd\ufffd")


def test_any_byte_of_an_entrys_block_is_an_answer_or_a_typed_error(path: Path) -> None:
    values = {"text": "x" * 40, "int": 7, "float": 0.5, "bytes": bytes(50), "none": None}
    dice = random.Random(20)
    answered = refused = 0
    with Region.create(path, SMALL) as region:
        table = Table(region)
        table.decoder = lambda tag, data: data  # a tag may become one of the codec's
        for key, value in values.items():
            table.set("space", key, value)
        sound = path.read_bytes()
        marks = [sound.find(b"space" + key.encode()) for key in values]
        assert min(marks) > 0
        with path.open("r+b") as stream:
            for _ in range(400):
                at = dice.choice(marks) - 64 + dice.randrange(128)  # the head, the key, the value
                stream.seek(at)
                stream.write(bytes([dice.randrange(256)]))
                stream.flush()
                for key in values:
                    try:
                        table.get("space", key)
                        answered += 1
                    except errors.UltrafastError:
                        refused += 1
                stream.seek(at)
                stream.write(sound[at : at + 1])
                stream.flush()
        assert [table.get("space", key) for key in values] == list(values.values())
    assert answered and refused
