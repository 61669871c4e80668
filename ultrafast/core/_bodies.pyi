from collections.abc import Callable
from typing import Any, final

@final
class Bodies:
    @property
    def encode(self) -> Callable[[Any], tuple[Any, int]]: ...
    @property
    def codec(self) -> int: ...
    def __new__(
        cls,
        encode: Callable[[Any], tuple[Any, int]],
        write: Callable[[Any], bytes] | None = None,
        read: Callable[[Any], Any] | None = None,
        codec: int = 0,
    ) -> Bodies: ...
    def payload(self, body: Any) -> tuple[Any, int]: ...
    def arrived(self, body: Any) -> tuple[bool, Any]: ...
