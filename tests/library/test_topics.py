"""Subjects and patterns: the trie answers as a plain matcher does, whatever else it holds."""

import random
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ultrafast.bus.topics import SUBJECT_CHARS_MAX, TopicMatcher, check_pattern, check_subject
from ultrafast.errors import SubjectError

TOKEN = st.sampled_from(["a", "b", "c", "A", "aa", "ä"])
SUBJECTS = st.lists(TOKEN, min_size=1, max_size=5).map(".".join)
PATTERNS = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]) or ">",
    st.lists(TOKEN | st.just("*"), max_size=4),
    st.sampled_from([[], [">"]]),
)


def falls_under(subject: str, pattern: str) -> bool:
    """The grammar in its plainest form."""
    words, wanted = subject.split("."), pattern.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(words) == len(wanted) and all(
        want in ("*", word) for word, want in zip(words, wanted, strict=True)
    )


class MatcherAgainstList(RuleBasedStateMachine):
    """Adds, removals and matches in any order; the model is a list of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.matcher: TopicMatcher[int] = TopicMatcher(cache_entries=3)
        self.pairs: list[tuple[str, int]] = []

    @rule(pattern=PATTERNS, value=st.integers(0, 3))
    def add(self, pattern: str, value: int) -> None:
        assert self.matcher.add(pattern, value) is ((pattern, value) not in self.pairs)
        if (pattern, value) not in self.pairs:
            self.pairs.append((pattern, value))

    @rule(pattern=PATTERNS, value=st.integers(0, 3))
    def remove(self, pattern: str, value: int) -> None:
        assert self.matcher.remove(pattern, value) is ((pattern, value) in self.pairs)
        if (pattern, value) in self.pairs:
            self.pairs.remove((pattern, value))

    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        if self.pairs:
            self.remove(*data.draw(st.sampled_from(self.pairs)))

    @rule(subject=SUBJECTS)
    def match(self, subject: str) -> None:
        wanted = tuple(value for pattern, value in self.pairs if falls_under(subject, pattern))
        assert self.matcher.match(subject) == wanted
        assert self.matcher.match(subject) == wanted  # from the cache

    @invariant()
    def counted(self) -> None:
        assert len(self.matcher) == self.matcher.statistics().entries == len(self.pairs)
        assert len(self.matcher._cache) <= 3
        if not self.pairs:
            assert self.matcher._root.is_empty()  # nothing is kept for patterns that went


TestMatcherAgainstList = MatcherAgainstList.TestCase


@pytest.mark.parametrize(
    ("pattern", "subject", "falls"),
    [
        ("a", "a", True),
        ("a", "a.b", False),
        ("*", "a", True),
        ("*", "a.b", False),
        (">", "a", True),
        (">", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.b", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("*.*.>", "a.b", False),
        ("*.*.>", "a.b.c", True),
        ("review.*.request", "review.python.request", True),
        ("A", "a", False),
    ],
)
def test_what_falls_under_what(pattern: str, subject: str, falls: bool) -> None:
    matcher: TopicMatcher[str] = TopicMatcher()
    matcher.add(pattern, "x")
    assert matcher.match(subject) == (("x",) if falls else ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; it is tokens"),
        (".", "token 1, is empty"),
        ("a.", "token 2, is empty"),
        (".a", "token 1, is empty"),
        ("a..b", "token 2, is empty"),
        ("a b", "token 1, 'a b', holds a space"),
        ("a.b\n", "token 2, 'b\\n', holds a space"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("a*", "holds a space, a control character, '*' or '>'"),
        ("a.>b", "holds a space, a control character, '*' or '>'"),
        ("x" * (SUBJECT_CHARS_MAX + 1), f"has {SUBJECT_CHARS_MAX + 1} characters"),
    ],
)
def test_what_is_neither_subject_nor_pattern(text: str, said: str) -> None:
    matcher: TopicMatcher[int] = TopicMatcher()
    for refuse in (
        check_subject,
        check_pattern,
        matcher.match,
        lambda text: matcher.add(text, 1),
        lambda text: matcher.remove(text, 1),
    ):
        with pytest.raises(SubjectError) as caught:
            refuse(text)
        assert said in str(caught.value) and len(str(caught.value)) < 250
    assert isinstance(caught.value, ValueError)
    assert len(matcher) == 0


@pytest.mark.parametrize("text", ["*", ">", "a.*", "a.>", "*.b"])
def test_wildcards_are_for_patterns(text: str) -> None:
    assert check_pattern(text) == text
    with pytest.raises(SubjectError, match="is a wildcard; only patterns have them"):
        check_subject(text)


@pytest.mark.parametrize("text", [">.a", "a.>.b", "*.>.>"])
def test_the_rest_comes_last(text: str) -> None:
    with pytest.raises(SubjectError, match="can only be the last"):
        check_pattern(text)


@given(st.text(max_size=12, alphabet="a.*> \n\x00é") | st.text())
def test_every_text_is_accepted_or_explained(text: str) -> None:
    for check in (check_subject, check_pattern):
        try:
            assert check(text) == text
        except SubjectError as error:
            assert str(error)


@given(SUBJECTS)
def test_every_subject_is_a_pattern_that_it_falls_under(subject: str) -> None:
    matcher: TopicMatcher[int] = TopicMatcher()
    assert check_subject(subject) == check_pattern(subject) == subject
    matcher.add(subject, 7)
    assert matcher.match(subject) == (7,)


def test_a_value_under_several_patterns_comes_once_for_each() -> None:
    matcher: TopicMatcher[str] = TopicMatcher()
    assert [matcher.add(each, "x") for each in ("a.b", "a.*", "a.>", "a.b")] == [True] * 3 + [False]
    assert matcher.match("a.b") == ("x", "x", "x")


def test_the_cache_is_used_and_forgotten_on_every_change() -> None:
    matcher: TopicMatcher[int] = TopicMatcher()
    matcher.add("a.*", 1)
    for _ in range(3):
        assert matcher.match("a.b") == (1,)
    assert (matcher.statistics().matches, matcher.statistics().cached) == (3, 2)
    matcher.add("a.b", 2)
    assert matcher.match("a.b") == (1, 2)
    matcher.remove("a.*", 1)
    assert matcher.match("a.b") == (2,)
    assert matcher.statistics().cached == 2


def test_without_a_cache() -> None:
    matcher: TopicMatcher[int] = TopicMatcher(cache_entries=0)
    matcher.add(">", 1)
    assert matcher.match("a") == matcher.match("a") == (1,)
    assert matcher.statistics().cached == 0


def lines_run(call: Any) -> int:
    """How many lines of topics.py a call runs: its cost, on any machine."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith("topics.py"):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_a_hundred_thousand_patterns_do_not_slow_a_match_of_ten() -> None:
    ten = [f"shop.{kind}" for kind in ("berlin.till.4.sold", "*.till.4.sold", "berlin.*.4.sold")]
    ten += ["shop.>", ">", "*.berlin.>", "shop.berlin.till.*.sold", "shop.*.*.4.sold"]
    ten += ["shop.berlin.till.4.*", "*.*.*.*.*"]
    subject = "shop.berlin.till.4.sold"
    costs = []
    for others in (100, 100_000):
        matcher: TopicMatcher[str] = TopicMatcher(cache_entries=0)
        for number in range(others):
            matcher.add(f"other{number % 97}.*.city{number}.>", f"o{number}")
        for pattern in ten:
            matcher.add(pattern, pattern)
        assert matcher.match(subject) == tuple(ten)
        costs.append(lines_run(lambda matcher=matcher: matcher.match(subject)))
    assert costs[0] == costs[1] > 0


def test_patterns_come_and_go_and_leave_nothing() -> None:
    random.seed(7)
    matcher: TopicMatcher[int] = TopicMatcher()
    patterns = [
        ".".join(random.choices(["a", "b", "*"], k=random.randint(1, 5)))
        + random.choice(["", ".>"])
        for _ in range(2000)
    ]
    added = Counter(matcher.add(pattern, number) for number, pattern in enumerate(patterns))
    assert added == {True: 2000} and len(matcher) == 2000
    for number, pattern in random.sample(list(enumerate(patterns)), 2000):
        assert matcher.remove(pattern, number)
    assert len(matcher) == 0 and matcher._root.is_empty()
    assert matcher.match("a.b") == ()
