"""Loans and shared payloads: written in place, read in place, and every block comes back."""

import gc
import os
from pathlib import Path

import pytest

from doors.small import SMALL, child, eventually
from ultrafast import errors
from ultrafast.core import Loan, Queues, Receiver, Region, share
from ultrafast.core._queue import TRACE_BYTES, TRACED
from ultrafast.core._share import HOLDERS
from ultrafast.core._status import FULL, OK

REFERENCE = 4  # UF_MESSAGE_REFERENCE of csrc/uf_pool.h

HOLD = """
    import sys
    from ultrafast.core import Queues, Receiver, Region, share
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    receiver = Receiver(queues, queues.find(sys.argv[2]))
    if sys.argv[3] == "lend":
        held = queues.loan(5000)
    elif sys.argv[3] == "share":
        held = share(queues, [(receiver.index, 1)] * 20, 1, b"p" * 5000, b"note")
    else:
        (message,) = receiver.take(1)
        held = message.payload
        if sys.argv[3] == "release":
            message.release()
    print(region.slot, flush=True)
    sys.stdin.readline()
"""


def lent(queues: Queues, nbytes: int) -> Loan:
    loan = queues.loan(nbytes)
    assert loan is not None
    return loan


def used(queues: Queues) -> list[int]:
    """Blocks of each size that are not free; a process keeps a few small ones at hand."""
    gc.collect()
    return [each.blocks - each.free for each in queues.blocks()]


def test_what_is_written_is_what_is_read(queues: Queues, receiver: Receiver) -> None:
    loan = lent(queues, 5000)
    assert (len(loan), loan.nbytes, loan.gone) == (5000, 5000, False)
    with loan.view as view:
        assert not view.readonly and view.nbytes == 5000
        view[:] = bytes(range(250)) * 20
    assert queues.send(receiver.index, 1, loan, 3, 9, correlation=7) == OK
    assert loan.gone and "gone" in repr(loan)
    (message,) = receiver.take()
    assert (message.handle, message.codec, message.correlation) == (loan.handle, 9, 7)
    assert message.tobytes() == bytes(range(250)) * 20
    with pytest.raises(errors.InvalidArgument, match="sent or given back"):
        memoryview(loan)
    with pytest.raises(errors.InvalidArgument, match="sent or given back"):
        queues.send(receiver.index, 1, loan)


def test_a_loan_is_written_without_a_view(queues: Queues, receiver: Receiver) -> None:
    loan = lent(queues, 10)
    loan.write(b"0123456789")
    loan.write(bytearray(b"ab"))
    loan.write(memoryview(b"xyz"), 7)
    loan.write(b"", 10)
    outside: list[tuple[bytes, int]] = [
        (b"0123456789a", 0),
        (b"a", 10),
        (b"", 11),
        (b"a", -1),
        (b"a", 1 << 80),
        (b"a", -1 << 80),
    ]
    for data, offset in outside:
        with pytest.raises(errors.InvalidArgument, match="do not lie within its 10"):
            loan.write(data, offset)
    with pytest.raises(TypeError):
        loan.write("text")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError):
        loan.write(b"a", 0.5)  # type: ignore[arg-type]  # that is the test
    assert queues.send(receiver.index, 1, loan) == OK
    assert receiver.take(1)[0].tobytes() == b"ab23456xyz"
    with pytest.raises(errors.InvalidArgument, match="sent or given back"):
        loan.write(b"a")


def test_views_live_no_longer_than_the_loan(queues: Queues, receiver: Receiver) -> None:
    loan = lent(queues, 100)
    view = loan.view
    with pytest.raises(BufferError, match="1 views of it live"):
        queues.send(receiver.index, 1, loan)
    with pytest.raises(BufferError, match="1 views of it live"):
        loan.release()
    view.release()
    assert queues.send(receiver.index, 1, loan) == OK


def test_a_refused_loan_stays(queues: Queues, receiver: Receiver) -> None:
    while queues.send(receiver.index, 1, b"other") == OK:
        pass
    loan = lent(queues, 100)
    with loan.view as view:
        view[:5] = b"still"
    assert queues.send(receiver.index, 1, loan) == FULL
    assert queues.send_batch(receiver.index, 1, [(loan, 0, 0, 0, 0, 0, 0, 0, 0, 0)]) == 0
    assert not loan.gone
    assert queues.send(receiver.index, 0, loan) == OK
    assert receiver.take(1)[0].tobytes()[:5] == b"still"


def test_a_loan_goes_once_in_a_batch(queues: Queues, receiver: Receiver) -> None:
    loan = lent(queues, 100)
    item = (loan, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert queues.send_batch(receiver.index, 1, [item, item]) == 1
    assert loan.gone and len(receiver.take()) == 1


def test_dropped_loans_go_back(queues: Queues) -> None:
    assert used(queues)[2] == 0
    loans = [lent(queues, 5000) for _ in range(8)]
    assert queues.loan(5000) is None
    assert used(queues)[2] == 8
    loans[0].release()
    loans[0].release()
    del loans
    assert used(queues)[2] == 0
    with pytest.raises(errors.MessageTooBig, match="a loan of 9000 bytes"):
        queues.loan(9000)


def test_a_loan_of_another_region_is_refused(
    tmp_path: Path, queues: Queues, receiver: Receiver
) -> None:
    with Region.create(tmp_path / "other", SMALL) as other:
        loan = lent(Queues(other), 10)
        with pytest.raises(errors.InvalidArgument, match="can't be sent in"):
            queues.send(receiver.index, 1, loan)
        assert not loan.gone


def test_a_closed_region_and_a_forked_child_leave_loans_alone(path: Path) -> None:
    region = Region.create(path, SMALL)
    queues = Queues(region)
    loan = lent(queues, 5000)
    if (pid := os.fork()) == 0:
        try:
            memoryview(loan)
        except errors.ForkedRegion:
            del loan
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert used(queues)[2] == 1
    region.close()
    with pytest.raises(errors.RegionClosed):
        memoryview(loan)
    del loan
    with Region.attach(path) as other:  # as if its process had died
        for slot in range(other.slots):
            other.recover(slot)
        assert used(Queues(other))[2] == 0


def test_one_payload_for_many(queues: Queues, region: Region) -> None:
    receivers = [Receiver(queues, queues.open(f"inbox {n}")) for n in range(3)]
    targets = [(each.index, 70 + each.index) for each in receivers]
    assert share(queues, targets, 2, b"p" * 5000, b"note", 4, 6, 11, 12, 13) == []
    assert used(queues)[2] == 1
    messages = [each.take()[0] for each in receivers]
    for message, (_, correlation) in zip(messages, targets, strict=True):
        assert (message.kind, message.codec, message.lane) == (4, 6, 2)
        assert (message.correlation, message.sender, message.sent_ns) == (correlation, 11, 12)
        assert (message.extra, message.nbytes, message.note) == (13, 5000, b"note")
        assert message.tobytes() == bytes(message.payload) == b"p" * 5000
    view = messages[0].payload
    for message in messages:
        message.release()
    assert used(queues)[2] == 1 and bytes(view[:3]) == b"ppp"
    view.release()
    assert used(queues)[2] == 0


def test_a_shared_loan_is_taken_whatever_the_answer(queues: Queues, receiver: Receiver) -> None:
    other = Receiver(queues, queues.open("other"))
    while queues.send(other.index, 1, b"other") == OK:
        pass
    loan = lent(queues, 5000)
    with loan.view as view:
        view[:4] = b"lent"
    ((place, message),) = share(queues, [(receiver.index, 1), (other.index, 2)], 1, loan, b"")
    assert place == 1 and message is not None and loan.gone
    assert receiver.take()[0].tobytes()[:4] == b"lent"
    assert message.forward(other.index, 1) == FULL
    other.take()
    assert message.forward(other.index, 1) == OK
    assert [each.tobytes()[:4] for each in other.take() if each.nbytes == 5000] == [b"lent"]
    assert used(queues)[2] == 0


def test_more_receivers_than_a_block_has_holders(queues: Queues, receiver: Receiver) -> None:
    got: list[tuple[int, int]] = []
    targets = [(receiver.index, number) for number in range(HOLDERS + 6)]
    loan = lent(queues, 5000)
    refused = share(queues, targets, 1, loan, b"")
    assert not loan.gone and used(queues)[2] == 3  # what it held was copied, twice
    del loan
    while refused or not got or len(got) < len(targets):
        got += [(each.correlation, each.nbytes) for each in receiver.take(1024)]
        refused = [
            (place, message)
            for place, message in refused
            if message is not None and message.forward(receiver.index, 1) != OK
        ]
    assert sorted(got) == [(number, 5000) for number in range(HOLDERS + 6)]
    assert used(queues)[2] == 0


def test_what_cannot_be_shared_takes_nothing(queues: Queues, receiver: Receiver) -> None:
    before = used(queues)[1:]
    target = (receiver.index, 1)
    with pytest.raises(errors.MessageTooBig):
        share(queues, [target], 1, b"x" * 9000, b"")
    with pytest.raises(errors.InvalidArgument, match="queue 99"):
        share(queues, [target, (99, 1)], 1, b"x", b"")
    with pytest.raises(errors.InvalidArgument, match="lane 4"):
        share(queues, [target], 4, b"x", b"")
    with pytest.raises(TypeError):
        share(queues, [target], 1, "text", b"")  # type: ignore[arg-type]  # that is the test
    loans = [lent(queues, 5000) for _ in range(8)]
    assert share(queues, [target, target], 1, b"x" * 5000, b"") == [(0, None), (1, None)]
    with loans[0].view, pytest.raises(BufferError):
        share(queues, [target], 1, loans[0], b"")
    assert not loans[0].gone
    del loans
    assert receiver.take() == []
    assert used(queues)[1:] == before


def test_a_reference_that_leads_nowhere_is_an_error(queues: Queues, receiver: Receiver) -> None:
    for payload in (b"", b"\0" * 16, b"\xff" * 16, bytes(8) + b"\x01\0\0\0\x01\0\0\0"):
        assert queues.send(receiver.index, 1, payload, flags=REFERENCE) == OK
        (message,) = receiver.take()
        for name in ("payload", "note"):
            with pytest.raises(errors.RegionCorrupt, match="the payload that it says it shares"):
                getattr(message, name)
        with pytest.raises(errors.RegionCorrupt, match="the payload that it says it shares"):
            message.tobytes()
        message.release()


@pytest.mark.parametrize(("doing", "left"), [("take", 1), ("release", 0)])
def test_what_is_released_does_not_come_again(
    path: Path, region: Region, queues: Queues, receiver: Receiver, doing: str, left: int
) -> None:
    """A view may outlast the release of its message; the death of its process repeats nothing."""
    other = Receiver(queues, queues.open("other"))
    share(queues, [(receiver.index, 1), (other.index, 2)], 1, b"p" * 5000, b"note")
    with child(HOLD, path, "inbox", doing) as process:
        slot = int(process.hear())
        process.kill()
    eventually(lambda: region.recover(slot) is not None or region.owner(slot).phase == 0)
    messages = receiver.adopt()
    assert [each.tobytes() == b"p" * 5000 for each in messages] == [True] * left
    del messages
    assert used(queues)[2] == 1
    other.take()
    assert used(queues)[2] == 0


@pytest.mark.parametrize("doing", ["lend", "share"])
def test_the_dead_keep_no_blocks(
    path: Path, region: Region, queues: Queues, receiver: Receiver, doing: str
) -> None:
    with child(HOLD, path, "inbox", doing) as process:
        slot = int(process.hear())
        assert used(queues)[2] == 1
        process.kill()
    eventually(lambda: region.recover(slot) is not None or region.owner(slot).phase == 0)
    receiver.take(1024)
    assert used(queues)[2] == 0


def test_a_region_retires_under_views(path: Path) -> None:
    region = Region.create(path, SMALL)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    queues.send(receiver.index, 1, b"seen")
    view = receiver.take()[0].payload
    with pytest.raises(BufferError):
        region.close()
    region.retire()
    region.retire()
    region.close()
    assert region.closed and bytes(view) == b"seen"
    with pytest.raises(errors.RegionClosed):
        queues.send(receiver.index, 1, b"more")
    with Region.attach(path) as other:
        assert sum(other.recover(slot) is not None for slot in range(other.slots)) == 1
        (message,) = Receiver(Queues(other), receiver.index).adopt()
        assert message.redelivered and message.tobytes() == b"seen"
    del region, queues, receiver
    gc.collect()
    assert bytes(view) == b"seen"
    view.release()


# --- traces

TRACE = bytes(range(TRACE_BYTES))


@pytest.mark.parametrize("traced", [True, False])
def test_a_loan_takes_a_trace_where_its_block_has_room(
    queues: Queues, receiver: Receiver, traced: bool
) -> None:
    rooms = [each.block_bytes - 64 for each in queues.blocks()]
    for size in (0, 7, rooms[0] - TRACE_BYTES, rooms[0], rooms[-1]):
        loan = queues.loan(size, traced)
        assert loan is not None and len(loan) == size
        with loan.view as view:
            view[:] = b"p" * size
        assert queues.send(receiver.index, 1, loan, trace=TRACE) == OK
        (message,) = receiver.take()
        fits = size <= rooms[0] - TRACE_BYTES or (traced and size < rooms[-1])
        assert message.trace == (TRACE if fits else None)
        assert message.tobytes() == b"p" * size
        message.release()
    # Refused with a trace, and sent without one, it carries none.
    while queues.send(receiver.index, 1, b"") == OK:
        pass
    kept = queues.loan(10, traced)
    assert kept is not None and queues.send(receiver.index, 1, kept, trace=TRACE) == FULL
    assert queues.send(receiver.index, 2, kept) == OK
    assert [message.trace for message in receiver.take(64) if len(message) == 10] == [None]


def test_references_and_batches_carry_a_trace_each(queues: Queues, receiver: Receiver) -> None:
    before = used(queues)
    targets = [(receiver.index, number) for number in range(1, 31)]
    rooms = [each.block_bytes - 64 for each in queues.blocks()]
    for note in (b"", b"n" * 9, b"n" * (rooms[0] - 16)):
        for trace in (TRACE, None):
            refused = share(queues, targets[:3], 1, b"p" * 3000, note, trace=trace)
            assert refused == []
            for message in receiver.take():
                assert (message.trace, message.note, len(message)) == (trace, note, 3000)
                assert message.forward(receiver.index, 0) == OK
            for message in receiver.take():
                assert (message.trace, message.tobytes()) == (trace, b"p" * 3000)
                message.release()
                assert message.trace is None
    items = [(b"b" * size, 1, 2, 3, 4, 5, 6, 0, 0, 7) for size in (0, 5, 900)]
    assert queues.send_batch(receiver.index, 1, items, TRACE) == 3
    assert queues.send_batch(receiver.index, 1, items) == 3
    batch = receiver.take()
    assert [message.trace for message in batch] == [TRACE] * 3 + [None] * 3
    assert [message.nbytes for message in batch] == [0, 5, 900] * 2
    del batch, message
    for call in (
        lambda: share(queues, targets, 1, b"p", b"", trace=b"short"),
        lambda: queues.send_batch(receiver.index, 1, items, b"short"),
    ):
        with pytest.raises(errors.InvalidArgument, match="a trace of 5 bytes"):
            call()
    assert used(queues)[1:] == before[1:] and receiver.take() == []


def test_a_reference_that_claims_a_trace_without_room_has_none(
    queues: Queues, receiver: Receiver, path: Path
) -> None:
    rooms = [each.block_bytes - 64 for each in queues.blocks()]
    note = b"n" * (rooms[0] - 16)  # all that its block holds
    assert share(queues, [(receiver.index, 1)], 1, b"p" * 3000, note) == []
    image = path.read_bytes()
    at = image.index(note) - 16 - 64 + 22  # flags, in the head
    assert image[at] == REFERENCE
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([REFERENCE | TRACED]))
    (message,) = receiver.take()
    assert message.flags & TRACED and message.trace is None
    assert (message.note, message.nbytes) == (note, 3000)
