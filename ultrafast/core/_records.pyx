# cython: language_level=3, binding=False, embedsignature=True
# cython: boundscheck=False, wraparound=False
"""Records with checksums: what the segments of a snapshot are made of.

A segment is a head of 64 bytes and records, each beginning at a multiple of 8:

    head    [ magic 8 | crc 4 | items 4 | segment 8 | floor 8 | made 8 | first 8 | bytes 8 | last 4 | 0 4 ]
    record  [ crc 4 | value's crc 4 | expiry 8 | replaces 8 | value bytes 4 | tag 4 | space 2 | key 2 ]
            [ kind 4 | value, padded to 8 | namespace, key, padded to 8 ]

The checksum of a record covers its lengths, its names and the place where it stands, so that a
record of another segment is none of this one's; the value has its own, so that damage in it can be
told by key. A record's id is its segment and its offset. What is gone, or had the place of an entry
before it, is named by the id of its record: the same key set elsewhere has another one.

Stands on csrc/uf_crc.h. Every length is checked before it is believed. Knows nothing of files.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from ultrafast.core cimport _c

from ultrafast import errors

cdef const char *MAGIC = b"UFSNAP1\n"

HEAD_BYTES = HEAD
MAGIC_BYTES = MAGIC[:8]
LEAST_ROOM = HEAD + RECORD + NAMES + 1024


cdef uint32_t record_crc(const Record *record, uint64_t id, const void *names) noexcept nogil:
    cdef uint32_t crc = _c.uf_crc(0, &id, sizeof(id))
    crc = _c.uf_crc(crc, <const uint8_t *>record + 4, RECORD - 4)
    return _c.uf_crc(crc, names, <uint64_t>record.space_bytes + record.key_bytes)


cdef Found read_record(
    const uint8_t *data, uint64_t total, uint64_t segment, uint64_t offset, Item *item
) noexcept nogil:
    """What stands at an offset of a segment; every length is checked before it is believed."""
    cdef uint64_t names, left
    if offset + RECORD > total:
        return NO_RECORD
    memcpy(&item.record, data + offset, RECORD)
    left = total - offset - RECORD
    names = <uint64_t>item.record.space_bytes + item.record.key_bytes
    if item.record.value_bytes > left or names > _c.UF_KEY_BYTES_MAX:
        return NO_RECORD
    if padded(item.record.value_bytes) + padded(names) > left:
        return NO_RECORD
    if item.record.kind != ENTRY and item.record.kind != VOID:
        return NO_RECORD
    item.value = data + offset + RECORD
    item.names = item.value + padded(item.record.value_bytes)
    item.next = offset + RECORD + padded(item.record.value_bytes) + padded(names)
    if record_crc(&item.record, id_of(segment, offset), item.names) != item.record.crc:
        return NO_RECORD
    if _c.uf_crc(0, item.value, item.record.value_bytes) != item.record.value_crc:
        return BAD_VALUE
    return SOUND


cdef uint64_t resume(
    const uint8_t *data, uint64_t total, uint64_t segment, uint64_t offset
) noexcept nogil:
    """Where the next record begins after a damaged one; the end, if there is none."""
    cdef Item item
    offset += 8
    while offset + RECORD <= total:
        if read_record(data, total, segment, offset, &item) != NO_RECORD:
            return offset
        offset += 8
    return total


cdef tuple names_of(const Item *item):
    cdef const char *text = <const char *>item.names
    cdef Py_ssize_t space = item.record.space_bytes
    cdef Py_ssize_t both = space + item.record.key_bytes
    return text[:space].decode("utf-8", "replace"), text[space:both].decode("utf-8", "replace")


def crc(const uint8_t[::1] data not None, uint32_t before=0):
    """The CRC-32C of some bytes."""
    return _c.uf_crc(before, &data[0], len(data)) if len(data) else before


def crc_plain(const uint8_t[::1] data not None, uint32_t before=0):
    """The same without the machine's own instruction."""
    return _c.uf_crc_plain(before, &data[0], len(data)) if len(data) else before


def seal(uint8_t[::1] out not None, uint64_t used, uint32_t items, uint64_t segment, uint64_t floor,
         uint64_t first, bint last, uint64_t made_ns):
    """Write the head of a segment whose records are written.

    Parameters
    ----------
    out : writable buffer
        The segment.
    used : int
        Its bytes, head included.
    items, segment : int
        How many records, and the segment's number.
    floor : int
        The oldest segment that counts once this one is kept.
    first, last : int, bool
        The first segment that is kept together with this one, and whether this one is the last.
    made_ns : int
        Wall clock.
    """
    cdef Head head
    if used < HEAD or used > <uint64_t>len(out):
        raise ValueError(f"{used} bytes of a segment in a buffer of {len(out)}")
    memset(&head, 0, HEAD)
    memcpy(head.magic, MAGIC, 8)
    head.items = items
    head.segment = segment
    head.floor = floor
    head.made_ns = made_ns
    head.first = first
    head.total = used
    head.last = last
    head.crc = _c.uf_crc(0, <uint8_t *>&head + 12, HEAD - 12)
    memcpy(&out[0], &head, HEAD)


def pack_entry(uint64_t segment, uint64_t offset, str space not None, str key not None,
               uint32_t tag, bytes data not None, uint64_t expires_ns=0):
    """The bytes of one entry's record, as it stands at an offset of a segment."""
    cdef Record record
    cdef bytes names = space.encode() + key.encode()
    if len(names) > _c.UF_KEY_BYTES_MAX:
        raise errors.InvalidArgument(
            f"a namespace and a key of {len(names)} bytes; together at most {_c.UF_KEY_BYTES_MAX}"
        )
    memset(&record, 0, RECORD)
    record.kind = ENTRY
    record.expires_ns = expires_ns
    record.value_bytes = len(data)
    record.tag = tag
    record.space_bytes = len(space.encode())
    record.key_bytes = len(names) - record.space_bytes
    record.value_crc = _c.uf_crc(0, <const char *>data, len(data))
    record.crc = record_crc(&record, id_of(segment, offset), <const char *>names)
    pads = b"\0" * 7
    return ((<const char *>&record)[:RECORD] + data + pads[:-len(data) % 8] + names
            + pads[:-len(names) % 8])


def read_head(const uint8_t[::1] data not None):
    """A segment's head: (segment, items, floor, first, last, made_ns, bytes), or None if damaged."""
    cdef Head head
    if len(data) < HEAD:
        return None
    memcpy(&head, &data[0], HEAD)
    if memcmp(head.magic, MAGIC, 8) != 0:
        return None
    if _c.uf_crc(0, <uint8_t *>&head + 12, HEAD - 12) != head.crc:
        return None
    return (head.segment, head.items, head.floor, head.first, bool(head.last), head.made_ns,
            head.total)


def read_items(const uint8_t[::1] data not None, uint64_t segment, uint64_t offset=HEAD,
               Py_ssize_t max=1024):
    """Some of the records of a segment, those from an offset on.

    Returns
    -------
    list of (int, int, tuple or None, int, int, int, bytes or None)
        Id; kind (1 an entry, 2 one that is gone, 0 damage); (namespace, key), None for a damaged
        head; tag; expires_ns; the id that it replaces; the value's bytes, None where damaged.
    int or None
        Where to go on; None at the end.
    """
    cdef uint64_t total = len(data)
    cdef const uint8_t *base = &data[0] if total else NULL
    cdef Item item
    cdef Found found
    items = []
    while len(items) < max:
        if offset >= total:
            return items, None
        found = read_record(base, total, segment, offset, &item)
        if found == NO_RECORD:
            items.append((id_of(segment, offset), 0, None, 0, 0, 0, None))
            offset = resume(base, total, segment, offset)
            continue
        value = None
        if found == SOUND:
            value = (<const char *>item.value)[:item.record.value_bytes]
        items.append((id_of(segment, offset), item.record.kind if found == SOUND else 0,
                      names_of(&item), item.record.tag, item.record.expires_ns,
                      item.record.replaces, value))
        offset = item.next
    return items, offset


cdef int make_key(const Item *item, uint64_t seed, uint64_t *words, _c.uf_key *key) noexcept nogil:
    """The table's key of an entry that was read."""
    return _c.uf_key_make(key, seed, words, item.names, item.record.space_bytes,
                          item.names + item.record.space_bytes, item.record.key_bytes)
