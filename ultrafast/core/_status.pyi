from ultrafast.errors import UltrafastError

OK: int
FULL: int
EMPTY: int
MISSING: int
EXISTS: int
NO_BLOCK: int
TOO_BIG: int
STALE: int
BUSY: int
CORRUPT: int
NOT_REGION: int
LAYOUT: int
TRUNCATED: int
NO_SPACE: int
DENIED: int
NO_REGION: int
NO_SLOT: int
INVALID: int
TIMEOUT: int
INTERRUPTED: int
SYSTEM: int
CLOSED: int
READ_ONLY: int
NO_AGENT_SLOT: int
STORE_FULL: int
DELETED: int

def sentence(status: int) -> str: ...
def name(status: int) -> str: ...
def error(status: int, subject: str | None = None) -> UltrafastError: ...
