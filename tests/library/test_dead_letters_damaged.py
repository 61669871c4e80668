"""Letters whose bytes or numbers are nobody's: a letter comes of each, never an error."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ultrafast.bus.deadletters import Sealed, opened
from ultrafast.bus.wire import Kind


def letter(payload: bytes, kind: int = Kind.LETTER) -> Any:
    """A message as far as a letter's reader looks at it."""
    return SimpleNamespace(
        kind=kind,
        payload=payload,
        sender=1,
        receiver=2,
        attempt=3,
        codec=0,
        lane=3,
        correlation=7,
        trace=None,
        tobytes=lambda: payload,
    )


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01\x02", b"\x01", b"\xff" * 40])
def test_bytes_that_are_no_letter_are_shown_as_they_are(payload: bytes) -> None:
    found = opened(letter(payload))
    assert (found.id, found.reason, found.kind) == (7, "unknown", "letter")


def test_numbers_that_mean_nothing_are_shown_as_they_are() -> None:
    sealed = Sealed(999, 888, 1, 2, 3, 77, 2, "", 0.0, b"abc")
    found = opened(letter(msgspec.msgpack.encode(sealed)))
    assert (found.reason, found.kind, found.body) == ("999", "888", b"abc")
