"""Loans: bodies that are written where they will be read, as bytes or as arrays.

Stands on the doors and the codec. It sends nothing: a loan is a body like any other.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

from ultrafast import codec
from ultrafast.bus import tracing
from ultrafast.core import Loan, Queues
from ultrafast.errors import InvalidArgument, PoolExhausted

if TYPE_CHECKING:
    import numpy as np

__all__ = ["exhausted", "lend", "lend_array"]

codec.lends(Loan)


def lend(queues: Queues, nbytes: int) -> Loan:
    """A loan of so many bytes; see `UltraFastCommunicationBus.loan`."""
    loan = queues.loan(nbytes, tracing.is_active()) if 0 <= nbytes < 1 << 32 else None
    if loan is None:
        raise exhausted(queues, nbytes)
    loan.codec = codec.VIEW
    return loan


def exhausted(queues: Queues, nbytes: int) -> Exception:
    """Why there is no loan of so many bytes."""
    if not 0 <= nbytes < 1 << 32:
        return InvalidArgument(f"a loan of {nbytes} bytes; allowed is 0 to {(1 << 32) - 1}")
    classes = ", ".join(
        f"{each.free} of {each.blocks} of {each.block_bytes} bytes"
        for each in queues.blocks(nbytes)
    )
    return PoolExhausted(
        f"no block is free for a loan of {nbytes} bytes; free are {classes}: wait for readers "
        "to let go of theirs, or raise Config(message_pool_size=..., shared_buffer_size=...)"
    )


def lend_array(
    queues: Queues, shape: int | tuple[int, ...], dtype: Any
) -> np.ndarray[Any, np.dtype[Any]]:
    """An array in a loan; see `UltraFastCommunicationBus.loan_array`."""
    import numpy as np

    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    elements = np.dtype(dtype)
    count = math.prod(sizes)
    if min(sizes, default=1) < 0 or count * elements.itemsize == 0:
        raise InvalidArgument(
            f"an array of shape {sizes} and dtype {elements} has no elements to be lent memory for"
        )
    head = codec.array_head(elements, sizes)
    loan = lend(queues, len(head) + count * elements.itemsize)
    with loan.view as view:
        view[: len(head)] = head
    flat = np.frombuffer(loan.view, dtype=elements, count=count, offset=len(head))
    array: np.ndarray[Any, np.dtype[Any]] = flat.reshape(sizes)
    loan.codec = codec.NDARRAY
    loan.array = weakref.ref(array)
    return array
