"""Which patterns a subject falls under: `TopicMatcher`, and the grammar of both.

A subject is tokens between dots, `review.python.request`. In a pattern `*` stands for any one token
and a last `>` for one or more. Stands on the errors. Sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec

from ultrafast.errors import SubjectError

__all__ = ["TopicMatcher", "TopicStatistics", "check_pattern", "check_subject"]

V = TypeVar("V", bound=Hashable)

SUBJECT_CHARS_MAX = 512

_TOKEN = r"[^\s.*>\x00-\x1f\x7f]+"
_SUBJECT = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")
_PATTERN = re.compile(rf"(?:(?:{_TOKEN}|\*)\.)*(?:{_TOKEN}|\*|>)")


@lru_cache(maxsize=4096)
def check_subject(subject: str) -> str:
    """The subject, when it is one.

    Parameters
    ----------
    subject : str

    Returns
    -------
    str

    Raises
    ------
    SubjectError
        A token is empty, or holds a space, a wildcard or a control character; or it is too long.
    """
    if len(subject) <= SUBJECT_CHARS_MAX and _SUBJECT.fullmatch(subject):
        return subject
    raise SubjectError(_what_is_wrong("subject", subject))


@lru_cache(maxsize=4096)
def check_pattern(pattern: str) -> str:
    """The pattern, when it is one.

    Parameters
    ----------
    pattern : str

    Returns
    -------
    str

    Raises
    ------
    SubjectError
        As `check_subject`, but that `*` may be a token, and `>` the last one.
    """
    if len(pattern) <= SUBJECT_CHARS_MAX and _PATTERN.fullmatch(pattern):
        return pattern
    raise SubjectError(_what_is_wrong("pattern", pattern))


def _what_is_wrong(kind: str, text: str) -> str:
    shown = repr(text if len(text) <= 80 else text[:77] + "...")
    if not text:
        return f"a {kind} is empty; it is tokens between dots, as 'review.python'"
    if len(text) > SUBJECT_CHARS_MAX:
        return f"{kind} {shown} has {len(text)} characters; {SUBJECT_CHARS_MAX} is the most"
    tokens = text.split(".")
    for place, token in enumerate(tokens, 1):
        where = f"{kind} {shown}, token {place}"
        if not token:
            return f"{where}, is empty; no dot at either end, and no two in a row"
        if token in ("*", ">") and kind == "subject":
            return f"{where}, is a wildcard; only patterns have them"
        if token == ">" and place < len(tokens):
            return f"{where}, is '>', which stands for the rest and can only be the last"
        if token not in ("*", ">") and not _SUBJECT.fullmatch(token):
            return f"{where}, {token!r}, holds a space, a control character, '*' or '>'"
    raise AssertionError(f"nothing is wrong with {kind} {shown}")


class TopicStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a `TopicMatcher` holds and has done.

    Attributes
    ----------
    entries : int
        Pairs of pattern and value.
    matches, cached : int
        Subjects that were matched, and those of them that were answered from the cache.
    """

    entries: int
    matches: int
    cached: int


class _Node(Generic[V]):
    __slots__ = ("any", "children", "rest", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] = {}  # the next token -> what follows
        self.any: _Node[V] | None = None  # the next token is *
        self.values: dict[V, int] = {}  # patterns that end here; the int orders them by age
        self.rest: dict[V, int] = {}  # patterns that end here with >

    def is_empty(self) -> bool:
        return not (self.children or self.any or self.values or self.rest)


class TopicMatcher(Generic[V]):
    """Values under patterns, found by subject.

    Parameters
    ----------
    cache_entries : int
        Subjects whose answer is kept until the next change; 0 keeps none.

    Notes
    -----
    Threads: one. Waits: never. Cost of a match: a dictionary look-up for a subject met since the
    last change, otherwise the parts of the trie that fit, whatever else it holds.

    Examples
    --------
    >>> matcher = TopicMatcher()
    >>> matcher.add("review.*.request", "a"), matcher.add("review.>", "b")
    (True, True)
    >>> matcher.match("review.python.request")
    ('a', 'b')
    >>> matcher.match("review.python")
    ('b',)
    """

    def __init__(self, *, cache_entries: int = 1024) -> None:
        self._root: _Node[V] = _Node()
        self._cache: dict[str, tuple[V, ...]] = {}
        self._cache_entries = cache_entries
        self._added = 0
        self._entries = 0
        self._matches = self._cached = 0

    def __len__(self) -> int:
        return self._entries

    def add(self, pattern: str, value: V) -> bool:
        """Put a value under a pattern. False: it is there already.

        Raises
        ------
        SubjectError
            The pattern is none.
        """
        tokens = check_pattern(pattern).split(".")
        has_rest = tokens[-1] == ">"
        node = self._root
        for token in tokens[:-1] if has_rest else tokens:
            if token == "*":
                if node.any is None:
                    node.any = _Node()
                node = node.any
            else:
                below = node.children.get(token)
                if below is None:
                    below = node.children[token] = _Node()
                node = below
        values = node.rest if has_rest else node.values
        if value in values:
            return False
        values[value] = self._added
        self._added += 1
        self._entries += 1
        self._cache.clear()
        return True

    def remove(self, pattern: str, value: V) -> bool:
        """Take a value away from under a pattern. False: it was not there.

        Raises
        ------
        SubjectError
            The pattern is none.
        """
        tokens = check_pattern(pattern).split(".")
        has_rest = tokens[-1] == ">"
        if has_rest:
            tokens.pop()
        path = [self._root]
        for token in tokens:
            node = path[-1]
            below = node.any if token == "*" else node.children.get(token)
            if below is None:
                return False
            path.append(below)
        values = path[-1].rest if has_rest else path[-1].values
        if values.pop(value, None) is None:
            return False
        self._entries -= 1
        self._cache.clear()
        self._prune(path, tokens)
        return True

    def match(self, subject: str) -> tuple[V, ...]:
        """The values under every pattern that the subject falls under, the oldest first.

        A value that was put under several of them comes once for each.

        Raises
        ------
        SubjectError
            The subject is none.
        """
        self._matches += 1
        found = self._cache.get(subject)
        if found is not None:
            self._cached += 1
            return found
        found = self._search(check_subject(subject).split("."))
        if self._cache_entries > 0:
            if len(self._cache) >= self._cache_entries:
                del self._cache[next(iter(self._cache))]  # the one kept longest
            self._cache[subject] = found
        return found

    def statistics(self) -> TopicStatistics:
        """Counts so far."""
        return TopicStatistics(entries=self._entries, matches=self._matches, cached=self._cached)

    def _search(self, tokens: list[str]) -> tuple[V, ...]:
        found: list[tuple[int, V]] = []
        here = [self._root]
        for token in tokens:
            following: list[_Node[V]] = []
            for node in here:
                if node.rest:
                    found += [(age, value) for value, age in node.rest.items()]
                below = node.children.get(token)
                if below is not None:
                    following.append(below)
                if node.any is not None:
                    following.append(node.any)
            if not following:
                break
            here = following
        else:
            for node in here:
                found += [(age, value) for value, age in node.values.items()]
        found.sort(key=_age)
        return tuple([value for _, value in found])

    @staticmethod
    def _prune(path: list[_Node[V]], tokens: list[str]) -> None:
        """Drop the nodes at the end of a path that hold nothing any more."""
        for above, token, node in zip(path[-2::-1], tokens[::-1], path[:0:-1], strict=True):
            if not node.is_empty():
                return
            if token == "*":
                above.any = None
            else:
                del above.children[token]


def _age(entry: tuple[int, object]) -> int:
    return entry[0]
