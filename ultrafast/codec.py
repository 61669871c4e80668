"""Bodies and values to bytes and back: `encode`, `decode`, and the numbers of the codecs.

Stands on msgspec, on numpy where arrays come up, and on the errors. Never runs code that bytes
name, unless the user turned pickles on: what it reads from others is data, or a `DecodeError`.

What arrives is the plain form of what was sent. None, bool, int (64 bits), float, str, bytes, list,
dict, aware datetime and numpy arrays arrive as they are; tuples and sets as lists, msgspec Structs
and dataclasses as dicts, enums as their values, UUIDs, Decimals, naive dates and times as text.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from ultrafast.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "IN_PLACE_BYTES",
    "MSGPACK",
    "NDARRAY",
    "PICKLE",
    "PUBLICATION",
    "RAW",
    "VIEW",
    "Buffer",
    "allow_pickle",
    "array_head",
    "decode",
    "decode_msgpack",
    "encode",
    "encode_msgpack",
    "lends",
    "publication",
    "unpublished",
]

MSGPACK: Final = 0
RAW: Final = 1
NDARRAY: Final = 2
VIEW: Final = 3  # the bytes of a loan: who reads them in place gets a memoryview
PUBLICATION: Final = 4  # a subject and a body with its own codec
PICKLE: Final = 5

IN_PLACE_BYTES: Final = 16_384
"""An array of so many bytes is read where it lies; a smaller one is copied, which takes less time
than a block that is kept from others costs."""

Buffer = bytes | bytearray | memoryview

_NONE: Final = b"\xc0"
_EXT_NDARRAY = 1  # an array inside a MSGPACK body: the same bytes as an NDARRAY body
_ALIGNMENT = 64  # of an array's elements in its payload, which begins at a block's line
_NDIM_MAX = 32
_DTYPE = re.compile(r"[<>|](?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[A-Za-zμ]{1,7}\])?)")
_DEPTH_MAX = 100  # how deep a refused body is searched for what was refused


class _Lent(Protocol):
    """A body that is its own payload already."""

    codec: int
    array: Any


_lent: set[type] = set()
_pickles = False


def lends(kind: type[_Lent]) -> None:
    """Say that objects of a type are payloads as they are: `encode` gives them and their codec.

    Parameters
    ----------
    kind : type
        With the attributes `codec`, and `array`: a weak reference to the array that lies in it and
        stands for it, or None.
    """
    _lent.add(kind)


def allow_pickle(allowed: bool) -> None:
    """Whether this process pickles what has no other form, and unpickles what others pickled.

    It is off until a system with ``Config(allow_pickle=True)`` is made or joined, and then on for
    the whole process. Unpickling runs whatever code the bytes name: allow it where every process
    that may attach to the region is trusted.
    """
    global _pickles
    _pickles = allowed


def encode(body: Any) -> tuple[Any, int]:
    """The bytes of a body, and the codec that reads them.

    Parameters
    ----------
    body : object
        See the module's first lines. Bytes, bytearrays and memoryviews are taken as they are.

    Returns
    -------
    tuple of (bytes, memoryview or Loan, int)
        For bytes-like bodies the body's own memory, not a copy. For a loan, and the array of one,
        the loan.

    Raises
    ------
    EncodeError
        The body, or something in it, can't be made bytes; says what and where.

    Notes
    -----
    Threads: any. Waits: never.
    """
    if body is None:
        return _NONE, MSGPACK
    kind = type(body)
    if kind is bytes:
        return body, RAW
    if kind is memoryview or kind is bytearray:
        return _raw(body), RAW
    if kind is not dict and kind is not str:
        if kind in _lent:
            return body, body.codec
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(body, numpy.ndarray):
            loan = None if body.base is None else _loan_of(body)
            return (_array_bytes(body) if loan is None else loan), NDARRAY
    try:
        return _encode(body), MSGPACK
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        if _pickles:
            return _pickled(body), PICKLE
        raise _refused(body, error) from None


def decode(payload: Buffer, codec: int, *, in_place: bool = False) -> Any:
    """The body of these bytes.

    Parameters
    ----------
    payload : bytes-like
    codec : int
        As `encode` gave it.
    in_place : bool
        `payload` may be kept: the bytes of loans are a memoryview of it, and arrays of numbers of
        `IN_PLACE_BYTES` or more lie in it. Otherwise the body keeps no hold of it, unless it is
        immutable.

    Returns
    -------
    object
        Arrays are read-only.

    Raises
    ------
    DecodeError
        The bytes are not what the codec says, or no such codec is known.

    Notes
    -----
    Threads: any. Waits: never. Safe on bytes of anybody's making.
    """
    if codec == MSGPACK:
        try:
            return _decode(payload)
        except (ValueError, RecursionError, OverflowError) as error:
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(f"{len(payload)} bytes are no MessagePack: {error}") from None
    if codec == RAW:
        return bytes(payload)
    if codec == NDARRAY:
        return _array(payload, in_place)
    if codec == VIEW:
        return memoryview(payload).toreadonly() if in_place else bytes(payload)
    if codec == PUBLICATION:
        subject, inner, number = unpublished(payload)
        return [subject, decode(inner, number)]
    if codec == PICKLE:
        return _unpickled(payload)
    raise DecodeError(
        f"codec {codec} is not known; known are 0 (MSGPACK), 1 (RAW), 2 (NDARRAY), 3 (VIEW), "
        "4 (PUBLICATION), 5 (PICKLE)"
    )


def publication(subject: str, payload: Any, codec: int) -> bytes:
    """A subject and an encoded body in one payload, whose codec is PUBLICATION.

    Parameters
    ----------
    subject : str
        Up to 65,535 bytes of UTF-8.
    payload : bytes-like
    codec : int
        Of the payload.
    """
    name = subject.encode()
    return b"".join((bytes((codec, 0)), len(name).to_bytes(2, "little"), name, payload))


def unpublished(payload: Buffer) -> tuple[str, memoryview, int]:
    """What `publication` put together: the subject, the encoded body in place, its codec.

    Raises
    ------
    DecodeError
        The bytes are not of its making.
    """
    view = memoryview(payload)
    end = 4 + int.from_bytes(view[2:4], "little")
    if len(view) < end or view[0] == PUBLICATION:
        raise DecodeError(f"{len(view)} bytes are no publication: its subject alone is {end - 4}")
    try:
        return str(view[4:end], "utf-8"), view[end:], view[0]
    except UnicodeDecodeError as error:
        raise DecodeError(f"a publication's subject is no UTF-8: {error}") from None


def _pickled(body: Any) -> bytes:
    try:
        return pickle.dumps(body, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - whatever a user's __reduce__ raises
        raise EncodeError(f"a {_name(type(body))} can't be pickled: {error}") from None


def _unpickled(payload: Buffer) -> Any:
    if not _pickles:
        raise DecodeError(
            f"{len(payload)} bytes came pickled, and to unpickle runs the code that they name: "
            "make the system with Config(allow_pickle=True) where every process of it is trusted"
        )
    try:
        return pickle.loads(payload)
    except Exception as error:  # noqa: BLE001 - whatever the pickled code raises
        raise DecodeError(f"{len(payload)} bytes can't be unpickled: {error!r}") from None


def _loan_of(array: np.ndarray[Any, Any]) -> _Lent | None:
    """The loan that an array stands for, all of it."""
    base: Any = array
    while type(base) is type(array) and base.base is not None:
        base = base.base
    loan: Any = base.obj if type(base) is memoryview else None
    if type(loan) in _lent and loan.array is not None and loan.array() is array:
        found: _Lent = loan
        return found
    return None


def _raw(body: bytearray | memoryview) -> memoryview:
    view = memoryview(body)
    if not view.contiguous:
        return memoryview(view.tobytes())
    # A cast wants C order; the bytes of a Fortran-ordered view are copied into it.
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _hook(value: Any) -> Any:
    """What msgspec does not know: arrays and numpy's numbers, where numpy has been imported."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return msgspec.msgpack.Ext(_EXT_NDARRAY, _array_bytes(value))
        if isinstance(value, numpy.bool_ | numpy.integer | numpy.floating | numpy.str_):
            return value.item()
    raise TypeError(f"objects of type {_name(type(value))} can't be encoded")


def _ext_hook(code: int, data: memoryview) -> Any:
    if code == _EXT_NDARRAY:
        return _array(data)
    raise DecodeError(f"MessagePack extension {code} is not known; known is {_EXT_NDARRAY} (array)")


_encode = msgspec.msgpack.Encoder(enc_hook=_hook).encode
_decode = msgspec.msgpack.Decoder(ext_hook=_ext_hook).decode
decode_msgpack = _decode
"""`decode` of a MSGPACK body by the shortest way: raises ValueError, or what msgspec raises."""
encode_msgpack = _encode
"""`encode` of what becomes one, likewise: raises what msgspec raises."""
_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(tuple[str, list[int], bool]).decode


def _array_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Head's length (4 bytes), head [dtype, shape, column order], zeros to a line, elements."""
    columns = array.flags.f_contiguous and not array.flags.c_contiguous
    head = array_head(array.dtype, array.shape, columns=columns)
    return head + array.tobytes(order="F" if columns else "C")


def array_head(dtype: np.dtype[Any], shape: tuple[int, ...], *, columns: bool = False) -> bytes:
    """What stands before the elements of an NDARRAY payload; a multiple of 64 bytes.

    Parameters
    ----------
    dtype : numpy.dtype
    shape : tuple of int
    columns : bool
        The elements stand in Fortran's order.

    Raises
    ------
    EncodeError
        Elements of this dtype have no form that every process reads.
    """
    if dtype.hasobject or dtype.names is not None or not _DTYPE.fullmatch(dtype.str):
        raise EncodeError(
            f"an array of dtype {dtype} can't be encoded: only numbers, text, bytes and times"
            " have a form that every process reads; use a dtype such as float64"
        )
    if len(shape) > _NDIM_MAX:
        raise EncodeError(f"an array of {len(shape)} dimensions; {_NDIM_MAX} is the most")
    head = _encode_head((dtype.str, shape, columns))
    padding = -(4 + len(head)) % _ALIGNMENT
    return b"".join((len(head).to_bytes(4, "little"), head, bytes(padding)))


def _array(payload: Buffer, in_place: bool = False) -> np.ndarray[Any, Any]:
    import numpy as np

    size = len(payload)
    length = int.from_bytes(payload[:4], "little")
    start = 4 + length + -(4 + length) % _ALIGNMENT
    if size < 4 or start > size:
        raise DecodeError(f"{size} bytes are no array: its head alone is {start} bytes")
    try:
        dtype_text, shape, columns = _decode_head(payload[4 : 4 + length])
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"an array's head can't be read: {error}") from None
    if not _DTYPE.fullmatch(dtype_text) or len(shape) > _NDIM_MAX or min(shape, default=0) < 0:
        raise DecodeError(f"an array's head is not sound: dtype {dtype_text!r}, shape {shape}")
    try:
        dtype = np.dtype(dtype_text)
    except (TypeError, ValueError, OverflowError) as error:
        raise DecodeError(f"an array's dtype {dtype_text!r} is none: {error}") from None
    count = math.prod(shape)
    if count * dtype.itemsize != size - start:
        raise DecodeError(
            f"an array of {count} elements of {dtype.itemsize} bytes came with {size - start} bytes"
        )
    try:
        # In place, a hostile neighbour may change elements: of these kinds any bits are a value.
        kept = in_place and size >= IN_PLACE_BYTES and dtype.kind in "iufcmM"
        buffer = payload if kept else bytes(payload)
        array = np.frombuffer(buffer, dtype=dtype, count=count, offset=start)
        if not _is_sound(array):
            raise DecodeError(f"an array of dtype {dtype} holds bytes that are none of its values")
        return array.reshape(shape, order="F" if columns else "C")
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"an array of dtype {dtype}, shape {shape}: {error}") from None


def _is_sound(array: np.ndarray[Any, Any]) -> bool:
    """Whether each element is a value of its dtype: numpy takes that on trust."""
    if array.dtype.kind == "b":
        return not array.size or int(array.view("u1").max()) <= 1
    if array.dtype.kind == "U":
        points = array.view(f"{array.dtype.str[0]}u4")
        return not array.size or int(points.max()) <= sys.maxunicode
    return True


def _refused(body: Any, error: Exception) -> EncodeError:
    """The error to raise: what was refused, where it is in the body, and what to do."""
    if isinstance(error, RecursionError):
        return EncodeError(
            f"a {_name(type(body))} that is nested too deeply, or holds itself, can't be encoded"
        )
    path = _find(body, "body", 0) or "body"
    if isinstance(error, EncodeError):
        return EncodeError(f"{path}: {error}")
    if isinstance(error, OverflowError):
        what, cure = "an int of more than 64 bits", "send it as str"
    elif isinstance(error, UnicodeEncodeError):
        what, cure = "a str with half a surrogate pair, which has no UTF-8", "send it as bytes"
    else:
        what = str(error)
        cure = "use plain values, msgspec Structs or dataclasses, or encode it to bytes yourself"
    return EncodeError(f"{path}: {what}; {cure}")


def _find(value: Any, path: str, depth: int) -> str | None:
    """The path of the innermost value that can't be encoded by itself, or None."""
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        if depth < _DEPTH_MAX:
            for inner_path, inner in _inner(value, path):
                found = _find(inner, inner_path, depth + 1)
                if found is not None:
                    return found
        return path
    return None


def _inner(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield f"{path} key {key!r}", key
            yield f"{path}[{key!r}]", each
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{path}[{index}]", each) for index, each in enumerate(value))
    else:
        fields = getattr(value, "__struct_fields__", getattr(value, "__dataclass_fields__", ()))
        yield from ((f"{path}.{field}", getattr(value, field, None)) for field in fields)


def _name(kind: type) -> str:
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
