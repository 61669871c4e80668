# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Counters and latency histograms that all processes of a region add to.

Stands on csrc/uf_hist.h. Does not know what is counted, and does not reset: a window is the difference
of two readings.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t

from ultrafast.core cimport _c
from ultrafast.core._region cimport Region, can_read, can_write
from ultrafast.core._status cimport check

N_HISTS = _c.UF_HISTS
N_COUNTERS = _c.UF_COUNTERS
N_BUCKETS = _c.UF_HIST_BUCKETS


def bucket_upper():
    """The largest value of each bucket, as `Metrics.read` orders them: ndarray of uint64."""
    import numpy

    cdef uint32_t bucket
    return numpy.array(
        [_c.uf_hist_upper(bucket) for bucket in range(_c.UF_HIST_BUCKETS)], dtype=numpy.uint64
    )


@cython.final
cdef class Metrics:
    """The counters and histograms of a region, by number.

    Parameters
    ----------
    region : Region
        Attached; read-only is enough to read.
    """

    def __cinit__(self, Region region not None):
        can_read(region)
        self.region = region
        self._metrics = &region._system.metrics

    def record(self, uint32_t hist, uint64_t value):
        """Add a value, in nanoseconds, to a histogram."""
        can_write(self.region)
        cdef int status = _c.uf_hist_record(self._metrics, hist, value)
        if status != _c.UF_OK:
            check(status, f"histogram {hist} of {N_HISTS}")

    def record_many(self, uint32_t hist, values):
        """Add each value of a contiguous array of uint64, as one call."""
        cdef Py_buffer view
        cdef Py_ssize_t at
        cdef int status = _c.UF_OK
        can_write(self.region)
        cast = memoryview(values)
        if cast.itemsize != 8 or cast.format not in ("L", "Q"):
            raise TypeError(f"values of format {cast.format!r}: unsigned 64-bit ones are wanted")
        PyObject_GetBuffer(values, &view, PyBUF_SIMPLE)
        for at in range(view.len // 8):
            status = _c.uf_hist_record(self._metrics, hist, (<const uint64_t *>view.buf)[at])
            if status != _c.UF_OK:
                break
        PyBuffer_Release(&view)
        if status != _c.UF_OK:
            check(status, f"histogram {hist} of {N_HISTS}")

    def add(self, uint32_t counter, uint64_t n=1):
        """Add to a counter."""
        can_write(self.region)
        cdef int status = _c.uf_counter_add(self._metrics, counter, n)
        if status != _c.UF_OK:
            check(status, f"counter {counter} of {N_COUNTERS}")

    def read(self, uint32_t hist):
        """Sum a histogram over all processes.

        Parameters
        ----------
        hist : int
            Its number.

        Returns
        -------
        counts : ndarray of uint64, shape (N_BUCKETS,)
            Samples in each bucket; `bucket_upper` gives their edges.
        total, largest : int
            Of all values ever recorded.
        """
        import numpy

        cdef Py_buffer view
        cdef uint64_t total, largest
        cdef int status
        can_read(self.region)
        counts = numpy.zeros(_c.UF_HIST_BUCKETS, dtype=numpy.uint64)
        PyObject_GetBuffer(counts, &view, PyBUF_WRITABLE)
        status = _c.uf_hist_read(self._metrics, hist, <uint64_t *>view.buf, &total, &largest)
        PyBuffer_Release(&view)
        if status != _c.UF_OK:
            check(status, f"histogram {hist} of {N_HISTS}")
        return counts, total, largest

    def read_counter(self, uint32_t counter):
        """Sum a counter over all processes."""
        cdef uint64_t value
        can_read(self.region)
        cdef int status = _c.uf_counter_read(self._metrics, counter, &value)
        if status != _c.UF_OK:
            check(status, f"counter {counter} of {N_COUNTERS}")
        return value
