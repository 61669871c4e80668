"""iceoryx2: publish-subscribe of slices of bytes, an event beside it for receivers that sleep."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from .ends import Contestant, End, imported, installed, why_missing

__all__ = ["Iceoryx"]

_BUFFER = 256  # samples a subscriber can lag behind
_FIRST_BYTES = 1_024  # room in a sample at first; it grows by powers of two


class _Place(NamedTuple):
    folder: str
    prefix: str
    senders: int


class _IceoryxEnd(End):
    def __init__(self, place: _Place, outward: str, inward: str) -> None:
        iox2 = imported("iceoryx2")
        iox2.set_log_level(iox2.LogLevel.Error)
        config = iox2.config.default()
        config.global_cfg.prefix = iox2.FileName.new(place.prefix)
        config.global_cfg.root_path = iox2.Path.new(place.folder)
        self._node = (
            iox2.NodeBuilder.new()
            .config(config)
            .signal_handling_mode(iox2.SignalHandlingMode.Disabled)
            .create(iox2.ServiceType.Ipc)
        )
        self._publisher = (
            self._samples(iox2, place, outward)
            .publisher_builder()
            .initial_max_slice_len(_FIRST_BYTES)
            .allocation_strategy(iox2.AllocationStrategy.PowerOfTwo)
            .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        self._subscriber = self._samples(iox2, place, inward).subscriber_builder().create()
        self._notifier = self._events(iox2, place, outward).notifier_builder().create()
        self._listener = self._events(iox2, place, inward).listener_builder().create()

    def _samples(self, iox2: Any, place: _Place, name: str) -> Any:
        return (
            self._node.service_builder(iox2.ServiceName.new(name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)  # nothing is to be dropped
            .subscriber_max_buffer_size(_BUFFER)
            .max_publishers(place.senders)
            .max_subscribers(place.senders)
            .max_nodes(place.senders + 1)
            .open_or_create()
        )

    def _events(self, iox2: Any, place: _Place, name: str) -> Any:
        return (
            self._node.service_builder(iox2.ServiceName.new(name))
            .event()
            .max_notifiers(place.senders)
            .max_listeners(place.senders)
            .max_nodes(place.senders + 1)
            .open_or_create()
        )

    def _publish(self, data: bytes) -> None:
        sample = self._publisher.loan_slice_uninit(len(data))
        ctypes.memmove(sample.payload_ptr, data, len(data))
        sample.assume_init().send()

    def put(self, data: bytes) -> None:
        self._publish(data)
        self._notifier.notify()

    def put_unannounced(self, data: bytes) -> None:
        """For a receiver that polls."""
        self._publish(data)

    def get(self) -> bytes:
        while (data := self.poll()) is None:
            self._listener.blocking_wait()
        return data

    def poll(self) -> bytes | None:
        sample = self._subscriber.receive()
        if sample is None:
            return None
        payload = sample.payload()
        data = ctypes.string_at(payload.as_ptr(), payload.len())
        sample.delete()
        return data

    def send_all(self, payload: bytes, count: int) -> None:
        loan, size, memmove = self._publisher.loan_slice_uninit, len(payload), ctypes.memmove
        for _ in repeat(None, count):
            sample = loan(size)
            memmove(sample.payload_ptr, payload, size)
            sample.assume_init().send()

    def receive_all(self, count: int, payload_bytes: int) -> bytes:
        receive, string_at = self._subscriber.receive, ctypes.string_at
        data = b""
        while count:
            sample = receive()
            if sample is None:
                os.sched_yield()
                continue
            payload = sample.payload()
            data = string_at(payload.as_ptr(), payload.len())
            sample.delete()
            count -= 1
        return data

    def close(self) -> None:
        for port in (self._publisher, self._subscriber, self._notifier, self._listener):
            port.delete()


class Iceoryx(Contestant):
    """iceoryx2."""

    name = "iceoryx2"
    ours = False
    how = (
        "publish-subscribe of byte slices, copied in and out, a buffer of 256, retrying until"
        " delivered; asleep: with an event; spinning and for throughput: the receiver polls"
    )
    polls = True
    batch_senders = 0

    @classmethod
    def missing(cls) -> str | None:
        return why_missing("iceoryx2")

    @classmethod
    def version(cls) -> str:
        return installed("iceoryx2")

    @classmethod
    @contextmanager
    def plumbing(cls, senders: int) -> Iterator[_Place]:
        # A prefix and a folder of its own: nothing of anybody else's is met or removed.
        prefix = f"ufcompare{os.getpid()}x{os.urandom(3).hex()}_"
        with tempfile.TemporaryDirectory() as folder:
            try:
                yield _Place(folder, prefix, senders)
            finally:
                for left in Path("/dev/shm").glob(f"{prefix}*"):
                    left.unlink(missing_ok=True)

    @classmethod
    def near(cls, plumbing: _Place, number: int) -> End:
        return _IceoryxEnd(plumbing, "there", "back")

    @classmethod
    def far(cls, plumbing: _Place) -> End:
        return _IceoryxEnd(plumbing, "back", "there")
