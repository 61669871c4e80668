"""Bodies to bytes and back: what arrives is what was sent, and hostile bytes are only an error."""

import dataclasses
import datetime as dt
import enum
import math
import pickle
import subprocess
import sys
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ultrafast.codec import MSGPACK, NDARRAY, PICKLE, PUBLICATION, RAW, decode, encode
from ultrafast.errors import DecodeError, EncodeError

UTC = dt.UTC

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
)
KEYS = st.text(st.characters(codec="utf-8")) | st.integers(-(2**63), 2**64 - 1)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
DTYPES = (
    npst.boolean_dtypes()
    | npst.integer_dtypes(endianness="?")
    | npst.unsigned_integer_dtypes(endianness="?")
    | npst.floating_dtypes(endianness="?")
    | npst.complex_number_dtypes(endianness="?")
    | npst.datetime64_dtypes(endianness="?")
    | npst.timedelta64_dtypes(endianness="?")
    | npst.unicode_string_dtypes(endianness="?", min_len=1)
    | npst.byte_string_dtypes(min_len=1)
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0, max_dims=4))
)


@given(BODIES)
def test_plain_bodies_arrive_as_they_are(body: Any) -> None:
    payload, codec = encode(body)
    assert codec == (RAW if isinstance(body, bytes) else MSGPACK)
    for each in (payload, bytearray(payload), memoryview(bytes(payload))):
        arrived = decode(each, codec)
        assert arrived == body and type(arrived) is type(body)


@given(ARRAYS, st.sampled_from(["C", "F"]))
def test_arrays_arrive_as_they_are(array: Any, order: Any) -> None:
    array = np.asarray(array, order=order)
    payload, codec = encode(array)
    assert codec == NDARRAY
    for each in (payload, memoryview(bytearray(payload))):
        arrived = decode(each, codec)
        assert arrived.dtype == array.dtype and arrived.shape == array.shape
        assert arrived.tobytes() == array.tobytes()
        assert not arrived.flags.writeable


def test_slices_and_transposed_arrays_arrive() -> None:
    base = np.arange(60).reshape(3, 4, 5)
    for array in (
        base[:, ::2],
        base.T,
        base[::-1],
        np.asfortranarray(base),
        base[1:, 1],
        base[0, 0, 0:0],
    ):
        arrived = decode(*encode(array))
        np.testing.assert_array_equal(arrived, array, strict=True)


def test_elements_lie_on_a_line() -> None:
    payload, _ = encode(np.full(3, 0x0102030405060708, dtype="<u8"))
    assert bytes(payload).index(bytes(range(8, 0, -1))) % 64 == 0


def test_arrays_and_their_numbers_inside_other_things() -> None:
    body = {"a": np.arange(4, dtype="f4"), "n": [np.float32(1.5), np.int8(-3), np.bool_(True)]}
    arrived = decode(*encode(body))
    np.testing.assert_array_equal(arrived["a"], body["a"], strict=True)
    assert arrived["n"] == [1.5, -3, True]
    assert decode(*encode(np.float64(2.5))) == 2.5


def test_an_array_does_not_hold_the_memory_it_came_in() -> None:
    memory = bytearray(encode(np.arange(3))[0])
    arrived = decode(memoryview(memory), NDARRAY)
    memory[:] = bytes(len(memory))
    memory.clear()  # refused while anything holds it
    assert arrived.tolist() == [0, 1, 2]


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    y: int


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (Point(1, 2), {"x": 1, "y": 2}),
        ([Pair(1, Point(3, 4))], [{"a": 1, "b": {"x": 3, "y": 4}}]),
        (Colour.RED, "red"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (dt.datetime(2020, 1, 2, tzinfo=UTC), dt.datetime(2020, 1, 2, tzinfo=UTC)),
        (dt.datetime(2020, 1, 2), "2020-01-02T00:00:00"),
        (dt.date(2020, 1, 2), "2020-01-02"),
        ([bytearray(b"x"), memoryview(b"y")], [b"x", b"y"]),
    ],
)
def test_other_things_arrive_in_their_plain_form(sent: Any, arrived: Any) -> None:
    assert decode(*encode(sent)) == arrived


def test_nan_arrives() -> None:
    assert math.isnan(decode(*encode(float("nan"))))


def test_bytes_are_not_copied_on_their_way_out() -> None:
    body = bytes(100)
    assert encode(body)[0] is body
    writable = bytearray(b"abc")
    view, codec = encode(writable)
    writable[0] = ord("x")
    assert codec == RAW and bytes(view) == b"xbc"


def test_views_of_any_shape_are_sent_whole() -> None:
    base = memoryview(bytes(range(24)))
    assert decode(*encode(base[::2])) == bytes(range(0, 24, 2))
    assert decode(*encode(base.cast("B", (4, 6)))) == bytes(range(24))
    assert decode(*encode(base.cast("I"))) == bytes(range(24))
    fortran = memoryview(np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3)))
    assert decode(*encode(fortran)) == bytes(range(6))
    assert decode(*encode(base[:0])) == b""


class Unknown:
    pass


_LOOP: list[Any] = []
_LOOP.append(_LOOP)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (Unknown(), "body: objects of type library.test_codec.Unknown"),
        ({"a": [1, {"b": Unknown()}]}, "body['a'][1]['b']: objects of type"),
        (Pair(1, Pair(2, 3j)), "body.b.b: objects of type complex"),
        (Point(1, 2**70), "body.y: an int of more than 64 bits"),
        ({"n": [0, -(2**63) - 1]}, "body['n'][1]: an int of more than 64 bits"),
        ({"t": "\ud800"}, "body['t']: a str with half a surrogate pair"),
        ({Unknown(): 1}, "objects of type library.test_codec.Unknown"),
        (lambda: None, "body: objects of type function"),
        (Unknown, "body: objects of type type"),
        (_LOOP, "nested too deeply, or holds itself"),
        (np.array([Unknown()]), "an array of dtype object"),
        ([np.zeros(2, dtype=[("a", "i4")])], "body[0]: an array of dtype [('a', '<i4')]"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(body: Any, said: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(body)
    assert isinstance(caught.value, TypeError)
    assert said in str(caught.value)


def test_numpy_is_not_imported_for_those_who_do_not_use_it() -> None:
    code = (
        "import sys; from ultrafast.codec import decode, encode;"
        "decode(*encode({'a': [1, b'x']}));"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- hostile bytes


@given(st.binary(max_size=300), st.integers(-1, 5))
def test_any_bytes_are_a_body_or_a_decode_error(data: bytes, codec: int) -> None:
    try:
        decode(data, codec)
    except DecodeError as error:
        assert isinstance(error, ValueError)


@given(BODIES | ARRAYS, st.data())
def test_damaged_bytes_are_a_body_or_a_decode_error(body: Any, data: st.DataObject) -> None:
    payload, codec = encode(body)
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for each in (damaged, damaged[:cut]):
        try:
            str(decode(bytes(each), codec))  # looked at, too
        except DecodeError:
            pass


def head(*fields: Any, elements: bytes = b"") -> bytes:
    data = msgspec.msgpack.encode(fields)
    return len(data).to_bytes(4, "little") + data + bytes(-(4 + len(data)) % 64) + elements


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff\xff\xff",
        head("|O8", [1], False, elements=bytes(8)),
        head("<i4,<f8", [1], False, elements=bytes(12)),
        head("<i4", [-1], False),
        head("<i4", [2**62, 4], False),
        head("<i4", [-1, -1], False, elements=bytes(4)),
        head("<i4", [2], False, elements=bytes(4)),
        head("<i4", [0, 2**63], False),
        head("<c5", [1], False, elements=bytes(5)),
        head("|V0", [2**60], False),
        head("<U1", [1], False, elements=b"\xff\xff\xff\x7f"),
        head("|b1", [1], False, elements=b"\x02"),
        head("<i4", [1] * 33, False, elements=bytes(4)),
        head("<M8[parsec]", [1], False, elements=bytes(8)),
        head("<i4", [1]),
        head("<i4", 1, False),
    ],
)
def test_hostile_arrays_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(payload, NDARRAY)
    inside = msgspec.msgpack.encode([msgspec.msgpack.Ext(1, payload)])
    with pytest.raises(DecodeError):
        decode(inside, MSGPACK)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 1_000_000,
        b"\x81" * 1_000_000,
        b"\x81\x80\xc0",
        b"\xa1\xff",
        b"\xd4\x05\x00",
        b"\xc7\x0c\xff" + b"\xff" * 12,
        pickle.dumps([1]),
    ],
)
def test_hostile_messagepack_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(payload, MSGPACK)


def test_a_pickle_is_not_run() -> None:
    assert not RAN
    hostile = pickle.dumps(Runs())
    assert b"remember" in hostile
    for codec in (MSGPACK, NDARRAY, PUBLICATION, PICKLE, 16):
        with pytest.raises(DecodeError):
            decode(hostile, codec)
    assert decode(hostile, RAW) == hostile
    assert not RAN


RAN: list[int] = []


def remember() -> None:
    RAN.append(1)


class Runs:
    def __reduce__(self) -> Any:
        return (remember, ())
