"""A system's `Config` as its region keeps it: to bytes and back.

Stands on the config, and on what marks a region that is to be adopted. There is no key in a Config.
"""

from __future__ import annotations

import msgspec

from ultrafast.config import Config
from ultrafast.core.leftovers import MARK_BYTES
from ultrafast.errors import RegionCorrupt

__all__ = ["decode_config", "encode_config"]


def encode_config(config: Config) -> bytes:
    """Settings as the region keeps them for those who attach. There is no key in a Config."""
    return msgspec.msgpack.encode(config)


def decode_config(data: bytes) -> Config:
    """What `encode_config` wrote, with or without the mark of a region that is to be adopted."""
    if data[:1] == b"\xc1":  # begins no msgpack
        data = data[MARK_BYTES:]
    try:
        return msgspec.msgpack.decode(data, type=Config)
    except msgspec.MsgspecError as error:
        raise RegionCorrupt(f"the region's settings can't be read: {error}") from None
