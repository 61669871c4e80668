"""A namespace is a dict, whichever of several processes does the next thing to it."""

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from library.storeworkers import Worker, workers
from library.storing import CONFIG
from ultrafast.core import Region
from ultrafast.sizing import region_sizes

EXAMPLES = int(os.environ.get("STORE_EXAMPLES", "12"))  # many more: docs/explanation/the-store.md
KEYS = st.sampled_from(["", "a", "b", "ä", "a.long.key" * 20, "c", "d"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=300),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3),
)
WHO = st.integers(0, 1)
TTL = st.sampled_from([None, 100.0])

_numbers = itertools.count()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    path = Path(tmp_path_factory.mktemp("store")) / "ultrafast-t"
    with (
        Region.create(path, region_sizes(CONFIG)) as region,
        workers(region.path, 2) as both,
    ):
        yield both


class Mapping(RuleBasedStateMachine):
    """The calls of a namespace and of the store, each by one of two processes, beside a dict."""

    pair: list[Worker]

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Any] = {}
        self.space = f"s{next(_numbers)}"

    def ask(self, who: int, call: str, *arguments: Any, **named: Any) -> Any:
        return self.pair[who](self.space, call, *arguments, **named)

    # --- one key

    @rule(who=WHO, key=KEYS, value=VALUES, ttl_s=TTL)
    def set(self, who: int, key: str, value: Any, ttl_s: float | None) -> None:
        assert self.ask(who, "store.set", key, value, ttl_s=ttl_s) is True
        self.model[key] = value

    @rule(who=WHO, key=KEYS, value=VALUES)
    def set_item(self, who: int, key: str, value: Any) -> None:
        assert self.ask(who, "__setitem__", key, value) is None
        self.model[key] = value

    @rule(who=WHO, key=KEYS, swept=st.booleans())
    def set_short(self, who: int, key: str, swept: bool) -> None:
        self.ask(who, "store.set", key, "short", ttl_s=0.001)
        time.sleep(0.002)
        self.model.pop(key, None)
        assert self.ask(1 - who, "get", key, "none") == "none"
        assert self.ask(who, "in", key) is False
        if not swept:  # by the next thing that is done to the key
            return
        assert self.ask(who, "store.delete", key) is False

    @rule(who=WHO, key=KEYS)
    def read(self, who: int, key: str) -> None:
        expected = self.model.get(key, ("KeyError",))
        assert self.ask(who, "__getitem__", key) == expected
        assert self.ask(1 - who, "get", key, "none") == self.model.get(key, "none")
        assert self.ask(who, "in", key) is (key in self.model)

    @rule(who=WHO, key=KEYS)
    def delete(self, who: int, key: str) -> None:
        assert self.ask(who, "store.delete", key) is (key in self.model)
        self.model.pop(key, None)

    @rule(who=WHO, key=KEYS)
    def delete_item(self, who: int, key: str) -> None:
        expected = None if key in self.model else ("KeyError",)
        assert self.ask(who, "__delitem__", key) == expected
        self.model.pop(key, None)

    @rule(who=WHO, key=KEYS)
    def pop(self, who: int, key: str) -> None:
        expected = self.model.pop(key) if key in self.model else ("KeyError",)
        assert self.ask(who, "pop", key) == expected
        assert self.ask(1 - who, "pop", key, "none") == "none"

    @rule(who=WHO)
    def popitem(self, who: int) -> None:
        found = self.ask(who, "popitem")
        if self.model:
            key, value = found
            assert self.model.pop(key) == value
        else:
            assert found == ("KeyError",)

    @rule(who=WHO, key=KEYS, value=VALUES, ttl_s=TTL)
    def set_default(self, who: int, key: str, value: Any, ttl_s: float | None) -> None:
        expected = self.model.setdefault(key, value)
        assert self.ask(who, "store.set_default", key, value, ttl_s=ttl_s) == expected
        assert self.ask(1 - who, "setdefault", key, "another") == expected

    # --- changes that depend on what is there

    @rule(who=WHO, key=KEYS, value=VALUES)
    def compare_and_set(self, who: int, key: str, value: Any) -> None:
        found, version = self.ask(who, "store.get_with_version", key, "none")
        assert found == self.model.get(key, "none")
        assert (version != 0) is (key in self.model)
        wrong = 0 if version else 12345
        assert self.ask(1 - who, "store.compare_and_set", key, value, wrong) == 0
        new = self.ask(1 - who, "store.compare_and_set", key, value, version)
        assert new not in (0, version)
        assert self.ask(who, "store.compare_and_set", key, "late", version) == 0
        assert self.ask(who, "store.get_with_version", key) == (value, new)
        self.model[key] = value

    @rule(who=WHO, key=KEYS, delta=st.one_of(st.integers(-5, 5), st.sampled_from([0.5, -0.25])))
    def incr(self, who: int, key: str, delta: float) -> None:
        before = self.model.get(key, 0)
        if type(before) in (int, float) and abs(before) > 1 << 62:
            return  # beyond what an int may be
        if type(before) not in (int, float):
            assert self.ask(who, "store.incr", key, delta) == ("InvalidArgument",)
            return
        self.model[key] = before + delta
        assert self.ask(who, "store.incr", key, delta) == before + delta

    @rule(who=WHO, key=KEYS, default=st.integers(0, 3))
    def update_by(self, who: int, key: str, default: int) -> None:
        self.model[key] = [self.model.get(key, default)]
        assert self.ask(who, "update_by", key, "wrap", default=default) == self.model[key]
        self.ask(1 - who, "__setitem__", key, 7)
        assert self.ask(who, "update_by", key, "double") == 14
        self.model[key] = 14

    # --- many at once

    @rule(who=WHO, items=st.dictionaries(KEYS, VALUES, max_size=5))
    def set_batch(self, who: int, items: dict[str, Any]) -> None:
        assert self.ask(who, "store.set_batch", items) == [True] * len(items)
        self.model.update(items)

    @rule(who=WHO, items=st.dictionaries(KEYS, VALUES, max_size=5))
    def update(self, who: int, items: dict[str, Any]) -> None:
        assert self.ask(who, "update", items) is None
        self.model.update(items)

    @rule(who=WHO, keys=st.lists(KEYS, max_size=5))
    def get_batch(self, who: int, keys: list[str]) -> None:
        expected = [self.model.get(key, "none") for key in keys]
        assert self.ask(who, "store.get_batch", keys, "none") == expected

    @rule(who=WHO, keys=st.lists(KEYS, max_size=3))
    def delete_batch(self, who: int, keys: list[str]) -> None:
        absent = object()
        expected = [self.model.pop(key, absent) is not absent for key in keys]
        assert self.ask(who, "store.delete_batch", keys) == expected

    @rule(who=WHO)
    def clear(self, who: int) -> None:
        assert self.ask(who, "clear") is None
        self.model.clear()

    @rule(who=WHO, prefix=st.sampled_from(["", "a", "ä", "x"]))
    def scan(self, who: int, prefix: str) -> None:
        cursor, keys = self.ask(who, "store.scan", prefix)
        assert cursor is None
        assert sorted(keys) == sorted(key for key in self.model if key.startswith(prefix))

    @invariant()
    def both_see_the_dict(self) -> None:
        assert self.ask(0, "dict") == self.ask(1, "dict") == self.model
        assert self.ask(0, "len") == len(self.model)

    def teardown(self) -> None:
        self.ask(0, "clear")


def test_a_namespace_is_a_dict_from_several_processes(pair: list[Worker]) -> None:
    machine = type("OfThePair", (Mapping,), {"pair": pair})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
