"""Loans and arrays as bodies, read in place; publications' form; pickles, when they are allowed."""

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors.small import SMALL
from ultrafast import codec
from ultrafast.bus.loans import lend, lend_array
from ultrafast.codec import decode, encode
from ultrafast.core import Queues, Receiver, Region
from ultrafast.core._status import FULL, OK
from ultrafast.errors import DecodeError, EncodeError, InvalidArgument, MessageTooBig, PoolExhausted


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[Queues]:
    blocks = ((128, 64), (1024, 16), (64 * 1024, 8))
    sizes = msgspec.structs.replace(SMALL, message_blocks=blocks)
    with Region.create(tmp_path / "ultrafast-test", sizes) as region:
        yield Queues(region)
        gc.collect()


@pytest.fixture
def receiver(queues: Queues) -> Receiver:
    return Receiver(queues, queues.open("inbox"))


def passed(queues: Queues, receiver: Receiver, body: Any) -> tuple[Any, int]:
    """What arrives, read in place, and the block that it came in."""
    payload, number = encode(body)
    assert queues.send(receiver.index, 1, payload, codec=number) == OK
    (message,) = receiver.take()
    arrived = decode(message.payload, message.codec, in_place=True)
    message.release()
    return arrived, message.handle


def test_the_bytes_of_a_loan_arrive_in_place(queues: Queues, receiver: Receiver) -> None:
    loan = lend(queues, 40_000)
    with loan.view as view:
        view[:] = b"ab" * 20_000
    arrived, handle = passed(queues, receiver, loan)
    assert type(arrived) is memoryview and arrived.readonly and arrived == b"ab" * 20_000
    assert handle == loan.handle
    assert decode(bytes(arrived), codec.VIEW) == b"ab" * 20_000  # where it can't be kept
    arrived.release()


@pytest.mark.parametrize("dtype", ["f8", "i2", "u1", "c16", "M8[ns]", "?", "U3"])
@pytest.mark.parametrize("shape", [(6_000,), (10, 200), (2, 3, 4)])
def test_an_array_lies_where_it_was_written(
    queues: Queues, receiver: Receiver, dtype: str, shape: tuple[int, ...]
) -> None:
    if math.prod(shape) * np.dtype(dtype).itemsize > 60_000:
        shape = (3_000,)
    array = lend_array(queues, shape, dtype)
    assert array.shape == shape and array.dtype == dtype and array.flags.writeable
    assert array.ctypes.data % 64 == 0
    array.reshape(-1)[:] = np.arange(math.prod(shape)).astype("i8").astype(dtype)
    wanted = array.copy()
    arrived, _ = passed(queues, receiver, array)
    assert [each.flags.writeable for each in (array, arrived)] == [False, False]
    np.testing.assert_array_equal(arrived, wanted, strict=True)
    in_place = wanted.nbytes >= codec.IN_PLACE_BYTES and wanted.dtype.kind in "iufcM"
    assert np.shares_memory(arrived, array) == in_place
    with pytest.raises(InvalidArgument, match="sent or given back already"):
        queues.send(receiver.index, 1, encode(array)[0])


def test_a_part_or_a_copy_of_a_lent_array_is_copied(queues: Queues, receiver: Receiver) -> None:
    array = lend_array(queues, (100, 60), "f8")
    array[:] = 3.0
    for body in (array[1:], array.T, array.copy(), array.view("i8")):
        payload, number = encode(body)
        assert type(payload) is bytes and number == codec.NDARRAY
    assert array.flags.writeable
    payload, _ = encode(array)
    view = array[:1]  # and views of it forbid nothing: they keep the array
    assert queues.send(receiver.index, 1, payload) == OK
    assert view.base is not None


def test_a_refused_array_can_be_written_again(queues: Queues, receiver: Receiver) -> None:
    while queues.send(receiver.index, 1, b"other") == OK:
        pass
    array = lend_array(queues, 10, "f8")
    assert queues.send(receiver.index, 1, encode(array)[0]) == FULL
    array[:] = 1.0
    assert queues.send(receiver.index, 0, encode(array)[0]) == OK


def test_large_arrays_are_read_in_place_however_they_were_sent(
    queues: Queues, receiver: Receiver
) -> None:
    large, small = np.arange(5_000.0), np.arange(50.0)
    arrived, handle = passed(queues, receiver, large)
    np.testing.assert_array_equal(arrived, large, strict=True)
    assert type(arrived.base.base if arrived.base.base is not None else arrived.base) is memoryview
    blocks = queues.blocks()[2]
    assert blocks.blocks - blocks.free == 1
    little, _ = passed(queues, receiver, small)
    np.testing.assert_array_equal(little, small, strict=True)
    del arrived
    gc.collect()
    blocks = queues.blocks()[2]
    assert blocks.blocks == blocks.free, handle


def test_what_cannot_be_lent(queues: Queues) -> None:
    with pytest.raises(MessageTooBig):
        lend(queues, 100_000)
    with pytest.raises(InvalidArgument, match="a loan of -1 bytes"):
        lend(queues, -1)
    for shape in (0, (3, 0), (-1,)):
        with pytest.raises(InvalidArgument, match="no elements"):
            lend_array(queues, shape, "f8")
    with pytest.raises(EncodeError, match="dtype object"):
        lend_array(queues, 3, object)
    kept = [lend(queues, 40_000) for _ in range(8)]
    with pytest.raises(PoolExhausted, match=r"0 of 8 of 65536 bytes.*message_pool_size"):
        lend(queues, 40_000)
    del kept
    assert len(lend(queues, 40_000)) == 40_000


@given(st.text("ab.é", min_size=1, max_size=60), st.binary(max_size=200))
def test_publications_have_a_form(subject: str, body: bytes) -> None:
    payload = codec.publication(subject, body, codec.RAW)
    assert decode(payload, codec.PUBLICATION) == [subject, body]
    name, inner, number = codec.unpublished(payload)
    assert (name, bytes(inner), number) == (subject, body, codec.RAW)


@given(st.binary(max_size=80))
def test_no_bytes_are_a_publication_unless_they_are(data: bytes) -> None:
    try:
        subject, _ = decode(data, codec.PUBLICATION)
    except DecodeError:
        return
    assert isinstance(subject, str)


def test_a_publication_does_not_nest() -> None:
    inner = codec.publication("a", b"", codec.RAW)
    nested = codec.publication("a", inner, codec.PUBLICATION)
    with pytest.raises(DecodeError, match="no publication"):
        decode(nested, codec.PUBLICATION)


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]  # as for every class with __eq__ alone


@dataclass
class Row:
    n: int


class Bad:
    def __reduce__(self) -> str:
        raise RuntimeError("not me")


@pytest.fixture
def pickles() -> Iterator[None]:
    codec.allow_pickle(True)
    yield
    codec.allow_pickle(False)


def test_nothing_is_pickled_unless_that_is_allowed() -> None:
    with pytest.raises(EncodeError, match="can't be encoded"):
        encode(Plain(1))


def test_nothing_is_unpickled_unless_that_is_allowed(pickles: None) -> None:
    payload, number = encode(Plain(7))
    assert number == codec.PICKLE and decode(payload, number) == Plain(7)
    assert encode(Row(1))[1] == codec.MSGPACK  # what has a plain form keeps it
    codec.allow_pickle(False)
    with pytest.raises(DecodeError, match=r"Config\(allow_pickle=True\)"):
        decode(payload, number)


def test_what_cannot_be_pickled_is_an_error(pickles: None) -> None:
    with pytest.raises(EncodeError, match="can't be pickled: not me"):
        encode(Bad())
    for data in (b"", b"\x80\x05.", b"cos\nnothing\n."):
        with pytest.raises(DecodeError, match="can't be unpickled"):
            decode(data, codec.PICKLE)
