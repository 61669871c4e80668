# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Loans: a block of the region to write a message's payload into, where it will be read.

Stands on csrc/uf_pool.h. Sends nothing: a loan is a payload like any other to `Queues.send` and
`share`, which take its block instead of copying it.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport UINT32_MAX, uint32_t

from ultrafast.core cimport _c
from ultrafast.core._pool cimport copy, largest_payload
from ultrafast.core._region cimport WRITABLE, Region, can_write
from ultrafast.core._status cimport check

from ultrafast import errors


cdef Py_ssize_t clipped(object number) except? -1:
    """An int; one that is too large or small for a size as the largest or least."""
    return _c.PyNumber_AsSsize_t(number, NULL)


cdef Loan lend(Region region, uint32_t nbytes, uint32_t spare):
    """A loan of a block, with room for `spare` bytes behind it if possible; None: the pool has none."""
    cdef uint32_t handle = 0
    cdef _c.uf_pool *pool = &region._system.messages
    can_write(region)
    cdef int status = _c.UF_TOO_BIG
    if spare != 0 and nbytes < UINT32_MAX - spare:
        status = _c.uf_pool_take(pool, nbytes + spare, &handle)
    if status != _c.UF_OK and nbytes < UINT32_MAX:
        status = _c.uf_pool_take(pool, nbytes, &handle)
    if status == _c.UF_NO_BLOCK:
        return None
    if status == _c.UF_TOO_BIG:
        raise errors.MessageTooBig(
            f"a loan of {nbytes} bytes: the largest block has room for {largest_payload(pool)}"
        )
    check(status)
    cdef Loan loan = Loan.__new__(Loan)
    loan.region = region
    loan._pool = pool
    loan._data = <unsigned char *>_c.uf_pool_block(pool, handle) + _c.UF_BLOCK_HEAD
    loan._views = 0
    loan._held = True
    loan.handle = handle
    loan.nbytes = nbytes
    loan.codec = 0
    loan.array = None
    region._held += 1
    return loan


@cython.final
@cython.no_gc  # what it refers to cannot refer to it: a region, and an array by a weak reference
@cython.freelist(64)
cdef class Loan:
    """A block of the region that this process may write into until it is sent.

    Its buffer is the payload, writable. What it is sent with takes the block: after an accepted send
    the loan is gone. One that is dropped goes back, and so it does with a process that dies.
    """

    def __init__(self):
        raise TypeError("loans come from Queues.loan")

    @property
    def gone(self):
        """True once it was sent or given back."""
        return not self._held

    @property
    def view(self):
        """A writable view of the payload, to be released before the loan is sent: use ``with``."""
        return PyMemoryView_FromObject(self)

    def write(self, data, offset=0):
        """Copy bytes into the payload, without a view of it.

        Parameters
        ----------
        data : bytes-like
        offset : int, optional
            Of the payload's byte that the first of them becomes.

        Raises
        ------
        InvalidArgument
            They do not lie within the payload; nothing is written. Or it was sent already.
        """
        cdef Py_buffer view
        cdef Py_ssize_t start = clipped(offset)
        if PyBytes_CheckExact(data):
            self._write(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), start)
            return
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._write(<const char *>view.buf, view.len, start)
        finally:
            PyBuffer_Release(&view)

    cdef int _write(self, const char *data, Py_ssize_t count, Py_ssize_t offset) except -1:
        self._usable()
        if offset < 0 or offset > <Py_ssize_t>self.nbytes or count > self.nbytes - offset:
            raise errors.InvalidArgument(
                f"loan {self.handle:#x}: {count} bytes at {offset} do not lie within its"
                f" {self.nbytes}"
            )
        self._views += 1  # a copy may let other threads go on, which must not send it
        copy(self.region, self._data + offset, data, count)
        self._views -= 1
        return 0

    def __len__(self):
        return self.nbytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        self._usable()
        PyBuffer_FillInfo(view, self, self._data, self.nbytes, 0, flags)
        self._views += 1
        self.region._pins += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._views -= 1
        self.region._pins -= 1

    cdef int _usable(self) except -1:
        can_write(self.region)
        if not self._held:
            raise errors.InvalidArgument(f"loan {self.handle:#x}: sent or given back already")
        return 0

    cdef int _lend(self, Region region, uint32_t *handle) except -1:
        """Its block, which is no longer the loan's unless `_refused` follows: OK."""
        cdef object own
        cdef _c.uf_message *head
        self._usable()
        if region is not self.region:
            raise errors.InvalidArgument(
                f"loan {self.handle:#x} is of {self.region.path}, and can't be sent in {region.path}"
            )
        if self._views != 0:
            own = None if self.array is None else self.array()
            if self._views > (own is not None):
                raise BufferError(
                    f"loan {self.handle:#x}: {self._views - (own is not None)} views of it live: "
                    "release them before it is sent"
                )
            own.setflags(write=False)
        head = <_c.uf_message *>_c.uf_pool_block(self._pool, self.handle)
        head.payload_bytes = self.nbytes
        handle[0] = self.handle
        self._held = False
        region._held -= 1
        return _c.UF_OK

    cdef int _refused(self) except -1:
        """Nobody took the block: it is the loan's again."""
        self._held = True
        self.region._held += 1
        own = None if self.array is None else self.array()
        if own is not None:
            own.setflags(write=True)

    def release(self):
        """Give the block back unsent. Twice is fine; `BufferError` while views of it live."""
        if not self._held:
            return
        if self._views != 0:
            raise BufferError(f"loan {self.handle:#x}: {self._views} views of it live")
        self._give()

    cdef void _give(self) noexcept:
        self._held = False
        # A closed region's recovery has it; a forked child has no say.
        if self.region._mode == WRITABLE:
            self.region._held -= 1
            _c.uf_pool_give(self._pool, self.handle)

    def __dealloc__(self):
        if self.region is not None and self._held:
            self._give()

    def __repr__(self):
        return f"<Loan {self.handle:#x} {self.nbytes} bytes{'' if self._held else ' gone'}>"
