"""Payloads by the shortest call, and what is said of an answer without sending it."""

from typing import Any

import pytest

from ultrafast import codec, errors
from ultrafast.core._bodies import Bodies

BODIES = Bodies(codec.encode, codec.encode_msgpack, codec.decode_msgpack, codec.MSGPACK)


@pytest.mark.parametrize(
    "body",
    [None, True, 0, -1, 1 << 63, 1.5, "text", "ä", b"raw", [1, (2, None)], {"a": {"b": []}}, ()],
)
def test_payloads_are_those_of_the_codec(body: Any) -> None:
    payload, number = BODIES.payload(body)
    assert (bytes(payload), number) == (bytes(codec.encode(body)[0]), codec.encode(body)[1])
    sure, found = BODIES.arrived(body)
    if sure:
        assert found == codec.decode(payload, number) and type(found) is not tuple


def test_what_is_mutable_arrives_as_a_copy() -> None:
    for body in ({"a": [1]}, [1, [2]]):
        sure, found = BODIES.arrived(body)
        assert sure and found == body and found is not body


@pytest.mark.parametrize(
    "body",
    [1 << 63, 1 << 64, "ä", "\ud800", "x" * 5000, b"x" * 5000, ["x" * 5000], [object()], object()],
)
def test_what_is_large_or_may_be_refused_is_to_be_sent(body: Any) -> None:
    assert BODIES.arrived(body) == (False, None)


def test_what_is_refused_is_refused_as_the_codec_says() -> None:
    for body in (1 << 64, ["\ud800"], {1: object()}):
        with pytest.raises(errors.EncodeError):
            BODIES.payload(body)
    alone = Bodies(lambda body: (repr(body).encode(), 7))
    assert alone.payload([1]) == (b"[1]", 7) and alone.arrived(1) == (False, None)
