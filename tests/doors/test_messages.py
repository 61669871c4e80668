"""Messages and their views: the block stays as long as anybody looks at it, and no longer."""

import array
import gc
import struct
from pathlib import Path

import pytest

from doors.small import SMALL, child
from ultrafast import errors
from ultrafast.core import Message, Queues, Receiver, Region
from ultrafast.core._status import FULL, OK


def send_and_take(queues: Queues, receiver: Receiver, payload: bytes = b"payload") -> Message:
    assert queues.send(receiver.index, 1, payload) == OK
    (message,) = receiver.take()
    return message


def reused(queues: Queues, receiver: Receiver, message: Message) -> bool:
    """True when the message's block carries other messages again."""
    handles = set()
    for _ in range(3):
        while queues.send(receiver.index, 0, b"other") == OK:
            pass
        taken = receiver.take(1024)
        handles |= {each.handle for each in taken}
        del taken
    return message.handle in handles


def test_what_it_says(queues: Queues, receiver: Receiver) -> None:
    queues.send(receiver.index, 2, b"abc", 5, 6, 2**64 - 1, 2**63, 7, 8, 9, 0, 1, 2**32 - 1)
    (message,) = receiver.take()
    assert (message.kind, message.codec, message.sender, message.receiver) == (
        5,
        6,
        2**64 - 1,
        2**63,
    )
    assert (message.correlation, message.sent_ns, message.reply_queue) == (7, 8, 9)
    assert (message.attempt, message.extra, message.lane, message.nbytes) == (1, 2**32 - 1, 2, 3)
    assert len(message) == 3 and message.tobytes() == bytes(message.payload) == b"abc"
    assert "kind 5 lane 2 3 bytes" in repr(message)
    for name in ("kind", "handle", "payload", "sender"):
        with pytest.raises(AttributeError):
            setattr(message, name, 0)


def test_empty_payload(queues: Queues, receiver: Receiver) -> None:
    message = send_and_take(queues, receiver, b"")
    assert message.tobytes() == b"" and len(message.payload) == 0


def test_views_are_read_only_and_in_place(queues: Queues, receiver: Receiver) -> None:
    numbers = array.array("q", range(100))
    message = send_and_take(queues, receiver, numbers.tobytes())
    view = message.payload
    assert view.readonly and view.format == "B" and view.nbytes == 800
    assert view.cast("q").tolist() == numbers.tolist()
    with pytest.raises(TypeError):
        view[0] = 1
    assert memoryview(message) == view
    assert struct.unpack_from("q", message, 8 * 7) == (7,)


def test_release_waits_for_the_last_view(queues: Queues, receiver: Receiver) -> None:
    message = send_and_take(queues, receiver)
    first = message.payload
    second = first[2:5]
    message.release()
    assert message.released
    assert not reused(queues, receiver, message)
    assert (bytes(first), bytes(second)) == (b"payload", b"ylo")
    first.release()
    assert not reused(queues, receiver, message)
    second.release()
    assert reused(queues, receiver, message)


def test_a_view_outlives_every_name(path: Path) -> None:
    region = Region.create(path, SMALL)
    queues = Queues(region)
    receiver = Receiver(queues, queues.open("inbox"))
    view = send_and_take(queues, receiver).payload
    del queues, receiver
    gc.collect()
    assert bytes(view) == b"payload"
    with pytest.raises(BufferError, match="in use by 1 views"):
        region.close()
    assert not region.closed and bytes(view) == b"payload"
    del region
    gc.collect()
    assert bytes(view) == b"payload"
    view.release()
    with Region.attach(path) as other:  # its last view gone, the region left in good order
        assert [each.slot for each in other.owners()] == [other.slot]
        assert all(each.free == each.blocks for each in Queues(other).blocks())


def test_released_message_gives_no_payload(queues: Queues, receiver: Receiver) -> None:
    message = send_and_take(queues, receiver)
    message.release()
    for use in (lambda: message.payload, lambda: message.tobytes(), lambda: bytes(message)):
        with pytest.raises(errors.InvalidArgument, match="released or sent on already"):
            use()
    assert message.nbytes == 7  # what its head said is still known


def test_the_end_of_the_object_releases(queues: Queues, receiver: Receiver) -> None:
    message = send_and_take(queues, receiver)
    other = send_and_take(queues, receiver)
    handle = message.handle
    del message
    seen = set()
    for _ in range(3):
        while queues.send(receiver.index, 0, b"other") == OK:
            pass
        seen |= {each.handle for each in receiver.take(1024)}
    assert handle in seen and other.handle not in seen


def test_messages_in_a_cycle_are_collected(queues: Queues, receiver: Receiver) -> None:
    class Node:
        pass

    node = Node()
    node.self = node  # type: ignore[attr-defined]  # made up here
    node.message = send_and_take(queues, receiver)  # type: ignore[attr-defined]  # likewise
    node.view = node.message.payload  # type: ignore[attr-defined]  # likewise
    del node
    gc.collect()
    queues.region.close()


def test_closing_with_messages_held_leaves_them_for_the_next(path: Path, region: Region) -> None:
    other = Region.attach(path)
    queues = Queues(other)
    receiver = Receiver(queues, queues.open("inbox"))
    handled, unhandled = (send_and_take(queues, receiver, each) for each in (b"1", b"2"))
    handled.release()
    slot = other.slot
    other.close()
    unhandled.release()  # too late, and harmless
    assert not region.alive(slot)
    mended = region.recover(slot)
    assert mended is not None and mended.orphaned == 1
    heir = Receiver(Queues(region), receiver.index)
    assert heir.has_orphans
    (again,) = heir.adopt()
    assert again.tobytes() == b"2" and again.redelivered and again.attempt == 1
    assert heir.adopt() == [] and heir.take() == []


def test_forward(queues: Queues, receiver: Receiver) -> None:
    target = Receiver(queues, queues.open("other"))
    message = send_and_take(queues, receiver)
    view = message.payload
    with pytest.raises(BufferError, match="1 views"):
        message.forward(target.index, 3)
    view.release()
    assert message.forward(target.index, 3) == OK
    assert message.released
    with pytest.raises(errors.InvalidArgument, match="sent on already"):
        message.forward(target.index, 3)
    message.release()
    del message
    (arrived,) = target.take()
    assert (arrived.tobytes(), arrived.lane, arrived.queue) == (b"payload", 3, target.index)


def test_refused_forward_keeps_the_message(queues: Queues, receiver: Receiver) -> None:
    target = queues.open("other")
    while queues.send(target, 0, b"") == OK:
        pass
    message = send_and_take(queues, receiver)
    assert message.forward(target, 0) == FULL
    with pytest.raises(errors.InvalidArgument):
        message.forward(99, 0)
    assert message.tobytes() == b"payload" and not message.released
    assert message.forward(target, 1) == OK


def test_a_message_sent_on_survives_its_sender(path: Path, region: Region) -> None:
    """Recovery finds the block TAKEN by the dead and in a ring: it is delivered, once."""
    program = """
    import sys
    from ultrafast.core import Queues, Receiver, Region
    region = Region.attach(sys.argv[1])
    queues = Queues(region)
    (message,) = Receiver(queues, queues.open("first")).take()
    message.forward(queues.open("second"), 0)
    print(region.slot, flush=True)
    sys.stdin.readline()
    """
    queues = Queues(region)
    first, second = queues.open("first"), queues.open("second")
    queues.send(first, 0, b"hot potato")
    with child(program, path) as other:
        slot = int(other.hear())
        other.kill()
    assert region.recover(slot) is not None
    assert Receiver(queues, first).adopt() == []
    receiver = Receiver(queues, second)
    assert receiver.adopt() == []
    (message,) = receiver.take()
    assert message.tobytes() == b"hot potato"
    message.release()
    assert receiver.take() == []


def test_a_head_that_lies_about_its_length(path: Path, queues: Queues, receiver: Receiver) -> None:
    """Another process may write anything into a block; what it wrote is not believed."""
    assert queues.send(receiver.index, 0, b"find me" * 5) == OK
    data = path.read_bytes()
    at = data.index(b"find me" * 5) - 64
    with path.open("r+b") as stream:
        stream.seek(at + 16)
        stream.write(struct.pack("<I", 1 << 30))
    (message,) = receiver.take()
    for use in (lambda: message.payload, lambda: message.tobytes()):
        with pytest.raises(errors.RegionCorrupt, match=r"claims 1073741824 bytes.*room for 64"):
            use()
    message.release()


def test_messages_are_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"Receiver\.take"):
        Message()
