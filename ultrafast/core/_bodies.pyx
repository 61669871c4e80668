# cython: language_level=3, binding=False, embedsignature=True
"""Bodies on their way: payloads made by the shortest call, and what arrives of one in its own process.

Stands on the callables that its maker names; knows no codec. Sends nothing.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport uint8_t

from ultrafast.core cimport _c

cdef enum:
    # A larger answer lies in a block, also on its way within a process.
    SMALL_BYTES = 4096


@cython.final
cdef class Bodies:
    """How bodies are encoded.

    Parameters
    ----------
    encode : callable
        Makes a payload and its codec's number of any body, or says in its error why it can't.
    write, read : callable, optional
        Make bytes of a body of the builtin types, and a body of these bytes or of a message with
        them. What `write` refuses is left to `encode`.
    codec : int
        The number of what `write` makes.
    """

    def __cinit__(self, encode not None, write=None, read=None, uint8_t codec=0):
        self.encode, self._write, self._read, self.codec = encode, write, read, codec

    def payload(self, body):
        """The payload of a body, and its codec."""
        cdef uint8_t codec = 0
        made = self._payload(body, &codec)
        return made, codec

    def arrived(self, body):
        """What a body is where it arrives.

        Returns
        -------
        (bool, object)
            Whether that can be said without sending it; then what it is.
        """
        cdef bint sure = False
        found = self._arrived(body, &sure)
        return sure, found

    cdef object _payload(self, object body, uint8_t *codec):
        kind = type(body)
        if self._write is not None and (
            body is None or kind is dict or kind is str or kind is int or kind is list
            or kind is bool or kind is float or kind is tuple
        ):
            try:
                made = self._write(body)
            except Exception:  # not swallowed: `encode` raises it as a caller is to get it
                pass
            else:
                codec[0] = self.codec
                return made
        made, number = self.encode(body)
        codec[0] = number
        return made

    cdef object _arrived(self, object body, bint *sure):
        cdef int overflow = 0
        kind = type(body)
        sure[0] = False
        if self._write is None:
            return None
        if body is None or kind is bool or kind is float:
            sure[0] = True
        elif kind is int:
            PyLong_AsLongLongAndOverflow(body, &overflow)
            sure[0] = overflow == 0
        elif kind is str:
            # Other text may hold half a surrogate pair, which is refused.
            sure[0] = (
                _c.PyUnicode_IS_COMPACT_ASCII(body)
                and _c.PyUnicode_GET_LENGTH(body) <= SMALL_BYTES
            )
        elif kind is bytes:
            sure[0] = PyBytes_GET_SIZE(body) <= SMALL_BYTES
        elif kind is dict or kind is list or kind is tuple:
            # A copy, in the form that it has everywhere else.
            try:
                made = self._write(body)
                if len(made) <= SMALL_BYTES:
                    body = self._read(made)
                    sure[0] = True
            except Exception:  # not swallowed: it is raised again where it is accounted for
                return None
        return body if sure[0] else None


cdef bint surely_a_value(object outcome):
    """Of a type that nobody can await, said without asking its attributes."""
    kind = type(outcome)
    return (
        outcome is None or kind is dict or kind is str or kind is bytes or kind is bool
        or kind is int or kind is float or kind is list or kind is tuple
    )
