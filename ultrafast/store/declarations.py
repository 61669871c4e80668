"""Declarations of namespaces over a restart: they are kept as an entry, which snapshots then have.

Stands on the doors of the table and of declarations, and on the codec. The region's own record
holds while it lives; the entry is only for the file, and is written when a snapshot is made.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from ultrafast.codec import decode, encode
from ultrafast.core import Declared, Table
from ultrafast.core._status import OK
from ultrafast.core._table import FIRST_CODEC_TAG
from ultrafast.errors import DecodeError, InvalidArgument

__all__ = ["KEY", "NAMESPACE", "Declarations"]

log = logging.getLogger(__name__)

NAMESPACE: Final = "ultrafast.namespaces"
KEY: Final = "declared"


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cache: bool
    ttl_ms: int


class Declarations:
    """What is declared of one region's namespaces, to an entry and back.

    Parameters
    ----------
    table : Table

    Notes
    -----
    Threads: one at a time. Waits: never.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._declared = Declared(table.region)
        self._noted: dict[str, tuple[bool, int]] = {}
        self._refused = False

    def note(self) -> bool:
        """Write the entry, if something else is declared than it says.

        Returns
        -------
        bool
            False: the store has no room for it. It is as it was, and is tried the next time.
        """
        said = {}
        for name in self._declared.names():
            found = self._declared.of(name)
            if found is not None:
                said[name] = found[:2]
        if said == self._noted:
            return True
        data, codec = encode({name: _Said(*each) for name, each in said.items()})
        status, _ = self._table.set_encoded(NAMESPACE, KEY, data, FIRST_CODEC_TAG + codec)
        if status == OK:
            self._noted = said
        elif not self._refused:
            log.warning(
                "the store has no room to note which %d namespaces are declared; until it has, a "
                "start from its snapshots knows only what the Config says",
                len(said),
            )
        self._refused = status != OK
        return status == OK

    def recall(self) -> int:
        """Declare what the entry says.

        Returns
        -------
        int
            Namespaces declared. An entry that is none of ours declares nothing, and is told in the
            log.
        """
        entry = self._table.get_entry(NAMESPACE, KEY)
        if entry is None:
            return 0
        count = 0
        try:
            if entry.tag < FIRST_CODEC_TAG or not isinstance(entry.value, bytes):
                raise DecodeError(f"a value with the tag {entry.tag}")
            found = decode(entry.value, entry.tag - FIRST_CODEC_TAG)
            for name, each in msgspec.convert(found, dict[str, _Said]).items():
                self._declared.declare(name, each.cache, each.ttl_ms)
                self._noted[name] = (each.cache, each.ttl_ms)
                count += 1
        except (DecodeError, InvalidArgument, msgspec.ValidationError, OverflowError) as error:
            log.error(
                "%r %r: declares no more than %d namespaces: %s", NAMESPACE, KEY, count, error
            )
        return count
