# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""`share`: one payload for many queues, in one block.

Stands on csrc/uf_share.h. Tries each queue once and does not wait: what was refused comes back.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ultrafast.core cimport _c
from ultrafast.core._loan cimport Loan
from ultrafast.core._message cimport Message, wrap
from ultrafast.core._queue cimport Queues, check_trace
from ultrafast.core._region cimport can_write
from ultrafast.core._status cimport check

HOLDERS = _c.UF_HOLDERS

cdef enum:
    HOLDERS_MAX = _c.UF_HOLDERS


cdef struct Target:
    uint32_t queue
    uint64_t correlation
    uint64_t opening


cdef struct Head:
    uint32_t lane
    uint8_t kind
    uint8_t codec
    uint64_t sender
    uint64_t sent_ns
    uint32_t extra


cdef void give_all(Queues queues, const uint32_t *handles, uint32_t start, uint32_t end) noexcept:
    cdef uint32_t each
    for each in range(start, end):
        _c.uf_message_give(queues._pool, handles[each])


cdef uint32_t references(
    Queues queues, const Target *targets, uint32_t count, bytes note, bytes trace,
    const Head *common, uint32_t *handles,
) except? 0xFFFFFFFF:
    """Blocks for `count` references, their heads and notes filled: how many there are."""
    cdef uint32_t taken
    cdef int status
    cdef _c.uf_message *head
    cdef Py_ssize_t note_bytes = PyBytes_GET_SIZE(note)
    cdef uint32_t size = <uint32_t>(sizeof(_c.uf_reference) + note_bytes)
    for taken in range(count):
        status = _c.UF_NO_BLOCK
        if trace is not None:
            status = _c.uf_pool_take(queues._pool, size + _c.UF_TRACE_BYTES, &handles[taken])
        if status != _c.UF_OK:
            status = _c.uf_pool_take(queues._pool, size, &handles[taken])
        if status != _c.UF_OK:
            if status != _c.UF_NO_BLOCK:
                give_all(queues, handles, 0, taken)
                check(status, f"a note of {note_bytes} bytes")
            return taken
        head = <_c.uf_message *>_c.uf_pool_block(queues._pool, handles[taken])
        head.payload_bytes = size
        head.kind = common.kind
        head.lane = <uint8_t>common.lane
        head.flags = 0
        head.sender = common.sender
        head.receiver = 0
        head.correlation = targets[taken].correlation
        head.sent_ns = common.sent_ns
        head.reply_queue = 0
        head.codec = common.codec
        head.attempt = 0
        head.extra = common.extra
        memcpy(
            <char *>head + _c.UF_BLOCK_HEAD + sizeof(_c.uf_reference),
            PyBytes_AS_STRING(note), note_bytes,
        )
        queues._traced(handles[taken], trace)
    return count


cdef bint make(
    Queues queues, const Target *targets, uint32_t count, object payload, bytes note,
    bytes trace, const Head *common, uint32_t *handles,
) except -1:
    """Share a payload among `count` references. False: the pool has too few blocks."""
    cdef uint32_t block = 0
    cdef int status
    cdef uint32_t taken = references(queues, targets, count, note, trace, common, handles)
    if taken < count:
        give_all(queues, handles, 0, taken)
        return False
    try:
        status = queues._take_block(payload, &block)
    except BaseException:
        give_all(queues, handles, 0, count)
        raise
    if status != _c.UF_OK:
        give_all(queues, handles, 0, count)
        return False
    (<_c.uf_message *>_c.uf_pool_block(queues._pool, block)).flags = 0
    check(_c.uf_share(queues._pool, block, handles, count), f"block {block:#x}")
    return True


def share(
    Queues queues not None, list targets not None, uint32_t lane, payload, bytes note not None,
    uint8_t kind=0, uint8_t codec=0, uint64_t sender=0, uint64_t sent_ns=0, uint32_t extra=0,
    bytes trace=None,
):
    """Send one payload to many queues; it lies in one block for every 24 of them.

    Parameters
    ----------
    queues : Queues
    targets : list of (int, int) or (int, int, int)
        A queue and a correlation each, and its opening, as `Queues.enter` told it.
    lane : int
        Of every queue.
    payload : bytes-like or Loan
        Copied once for every 24; of a loan the block is taken, whatever queues refuse, unless
        there are more than 24.
    note : bytes
        What goes with each message besides: `Message.note`.
    kind, codec, sender, sent_ns, extra : int
        As in `Queues.send`.
    trace : bytes, optional
        `TRACE_BYTES` that travel with each message.

    Returns
    -------
    list of (int, Message or None)
        The targets that refused, by their place in `targets`. The message can be sent to its queue by
        `Message.forward`; None where the pool had no block, and nothing was taken.

    Raises
    ------
    MessageTooBig
        Nothing was sent.
    """
    cdef uint32_t handles[HOLDERS_MAX]
    cdef Target some[HOLDERS_MAX]
    cdef Head common
    cdef uint32_t count, each
    cdef uint32_t bell = 0
    cdef int status
    cdef Py_ssize_t start
    cdef Py_ssize_t total = len(targets)
    cdef list refused = []
    can_write(queues.region)
    check_trace(trace)
    if lane >= _c.UF_LANES:
        check(_c.UF_INVALID, f"lane {lane} of {_c.UF_LANES}")
    common.lane, common.kind, common.codec = lane, kind, codec
    common.sender, common.sent_ns, common.extra = sender, sent_ns, extra
    if total > HOLDERS_MAX and type(payload) is Loan:
        payload = bytes(payload)
    for start in range(0, total, HOLDERS_MAX):
        count = <uint32_t>min(total - start, <Py_ssize_t>HOLDERS_MAX)
        for each in range(count):
            target = targets[start + each]
            some[each].queue, some[each].correlation = target[:2]
            some[each].opening = target[2] if len(target) > 2 else 0
            if some[each].queue >= queues._queues.count:
                check(_c.UF_INVALID, f"queue {some[each].queue} of {queues._queues.count}")
        if not make(queues, some, count, payload, note, trace, &common, handles):
            refused += [(start + place, None) for place in range(count)]
            continue
        for each in range(count):
            status = _c.uf_queue_send_to(
                queues._queues, some[each].queue, some[each].opening, lane, &handles[each], 1, &bell
            )
            if status <= 0:
                refused.append((start + each, wrap(queues, handles[each], some[each].queue)))
            elif bell & 3:
                queues.region._ring(some[each].queue, bell)
    return refused
