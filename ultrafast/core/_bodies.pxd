from libc.stdint cimport uint8_t

cdef class Bodies:
    cdef readonly object encode        # (body) -> (payload, codec), or raises what a caller is to get
    cdef object _write                 # (body) -> bytes, for the builtin types; or None
    cdef object _read                  # (bytes or Message) -> body, of what `_write` wrote
    cdef readonly uint8_t codec        # that `_read` reads

    cdef object _payload(self, object body, uint8_t *codec)
    cdef object _arrived(self, object body, bint *sure)


cdef bint surely_a_value(object outcome)
