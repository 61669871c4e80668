"""Bytes from a region that are almost what was encoded: a value or one typed error, never another.

test_codec.py has bytes that are nothing at all, and those that somebody thought of. Here real
encodings are damaged: cut, spliced, flipped, repeated, and arrays have a head that is not theirs.
"""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ultrafast.codec import MSGPACK, NDARRAY, RAW, decode, encode
from ultrafast.errors import DecodeError

# One of each form that the codec writes; what a mutation begins from.
REAL = [
    encode(body)
    for body in (
        None,
        {"id": 7, "name": "wörld", "sizes": [1, -2, 300, 2**63], "ok": True, "ratio": 0.5},
        [[[]], {}, "", b"", {"deep": {"deeper": [None] * 20}}],
        {"when": msgspec.msgpack.decode(b"\xd7\xff" + bytes(4) + b"\x5f\x00\x00\x00")},
        list(range(200)),
        "text " * 40,
        b"raw bytes",
        np.arange(12, dtype="<f8").reshape(3, 4),
        np.asfortranarray(np.ones((2, 3, 4), dtype=">i2")),
        np.array(["ab", "cde"]),
        np.array(["2020-01-02", "NaT"], dtype="M8[D]"),
        np.array([True, False]),
        {"inside": np.arange(3, dtype="u1"), "more": [np.zeros((0, 5))]},
    )
]
BYTES = [bytes(payload) for payload, _ in REAL]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, int]:
    """A real encoding after one to six changes, and a codec, mostly its own."""
    payload, codec = draw(st.sampled_from(REAL))
    data = bytearray(payload)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["flip", "put", "cut", "splice", "repeat", "length"]))
        event(change)
        if change == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "put":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 16))]
        elif change == "splice":
            other = draw(st.sampled_from(BYTES))
            begin = draw(st.integers(0, len(other)))
            data[at:at] = other[begin : begin + draw(st.integers(1, 64))]
        elif change == "repeat":
            data[at:at] = data[at : at + 8] * draw(st.integers(1, 50))
        elif change == "length" and at < len(data):
            # The head of something long: more than there is, or a great deal more.
            heads = b"\xda\xdb\xc5\xc6\xdc\xdd\xde\xdf\xc8\xc9"
            data[at : at + 1] = bytes([draw(st.sampled_from(heads))]) + draw(st.binary(max_size=4))
    own = draw(st.integers(0, 3))
    return bytes(data), codec if own else draw(st.integers(-1, 4))


def walk(value: Any) -> int:
    """Look at all of it, as a program that got it would: the number of parts."""
    if isinstance(value, dict):
        return 1 + sum(walk(key) + walk(each) for key, each in value.items())
    if isinstance(value, list):
        return 1 + sum(map(walk, value))
    if isinstance(value, np.ndarray):
        assert not value.flags.writeable
        return len(value.tobytes()) + len(str(value.reshape(-1)[:5]))
    assert value is None or isinstance(value, bool | int | float | str | bytes) or repr(value)
    return 1


@given(damaged())
def test_a_damaged_encoding_is_a_value_or_a_decode_error(given_bytes: tuple[bytes, int]) -> None:
    data, codec = given_bytes
    for each in (data, memoryview(bytearray(data))):
        try:
            value = decode(each, codec)
        except DecodeError as error:
            event("refused")
            assert str(error)
        else:
            event("decoded")
            assert walk(value) >= 0


DTYPES = st.sampled_from(["<i4", ">f8", "|b1", "<U3", "|S5", "|V4", "<M8[D]", "<m8", "<c16"])
SHORT = st.lists(st.integers(0, 6), max_size=3)
LONG = st.lists(st.integers(-2, 6) | st.integers(-(2**63), 2**64 - 1), max_size=34)
HEADS = st.tuples(DTYPES | st.text(max_size=6), SHORT | LONG, st.booleans())


def elements_of(head: tuple[str, list[int], bool]) -> int:
    """How many bytes the head asks for, or some number when it asks for what can't be."""
    try:
        size = int(np.dtype(head[0]).itemsize) * math.prod(head[1])
    except (TypeError, ValueError, SyntaxError):
        return 7
    return size if 0 <= size <= 4096 else 8


@given(HEADS, st.sampled_from([0, 0, 0, -1, 8]), st.sampled_from([0, 0, 0, -1, 3]), st.booleans())
def test_an_arrays_head_promises_what_it_likes(
    head: tuple[str, list[int], bool], more: int, off: int, inside: bool
) -> None:
    data = msgspec.msgpack.encode(head)
    elements = bytes(max(elements_of(head) + more, 0))
    length = max(len(data) + off, 0).to_bytes(4, "little")
    payload = length + data + bytes(-(4 + len(data)) % 64) + elements
    codec = NDARRAY
    if inside:
        payload, codec = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, payload)]), MSGPACK
    try:
        value = decode(payload, codec)
    except DecodeError:
        event("refused")
    else:
        event("decoded")
        assert walk(value) >= 0


def test_the_mutations_reach_both_answers() -> None:
    """Each real encoding is a value before it is damaged, and none when it is cut short."""
    for payload, codec in REAL:
        walk(decode(payload, codec))
        if codec != RAW:
            with pytest.raises(DecodeError):
                decode(bytes(payload)[:-1], codec)
