"""A namespace is held to CPython's own tests of mappings, on a real region.

What those tests ask of a dict alone is left out, with its reason; where a case uses integers as
keys, which a namespace refuses, the same is asked with texts.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from library.storing import CONFIG
from ultrafast.core import Region, Table
from ultrafast.errors import InvalidArgument
from ultrafast.sizing import region_sizes
from ultrafast.store import Namespace, UltraFastMemoryStore

mapping_tests = pytest.importorskip(
    "test.mapping_tests", reason="this interpreter was installed without CPython's tests"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UltraFastMemoryStore]:
    path = tmp_path_factory.mktemp("store") / "ultrafast-store"
    with Region.create(path, region_sizes(CONFIG)) as region:
        yield UltraFastMemoryStore(Table(region))


class NamespaceMapping(mapping_tests.TestMappingProtocol):  # type: ignore[misc]  # untyped
    """Every mapping that a case asks for is a namespace of its own in one store."""

    numbers = itertools.count()

    # A namespace is a place in a store: not made of pairs or keys, and `dict(namespace)` copies it.
    test_constructor = None
    test_fromkeys = None
    test_copy = None

    @pytest.fixture(autouse=True)
    def _in_one_store(self, store: UltraFastMemoryStore) -> None:
        self.store = store

    def _reference(self) -> dict[str, Any]:
        return {"1": "2", "key1": "value1", "key2": [1, 2, 3]}

    def _empty_mapping(self) -> Namespace:
        return self.store.namespace(f"mapping-{next(self.numbers)}")

    def test_values(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_values(self)
        assert list(self._full_mapping({"one": 2}).values()) == [2]

    def test_items(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_items(self)
        assert list(self._full_mapping({"one": 2}).items()) == [("one", 2)]

    def test_clear(self) -> None:
        mapping = self._full_mapping({"one": 1, "two": 2, "three": 3})
        mapping.clear()
        assert mapping == {}
        with pytest.raises(TypeError):
            mapping.clear(None)

    def test_update(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_update(self)
        mapping = self._empty_mapping()
        mapping.update({"x": 100})
        mapping.update(self._full_mapping({"x": 1, "y": 2}))
        mapping.update([("z", 3)], y=20)
        mapping.update(self._full_mapping({"w": 4}).items())
        assert mapping == {"x": 1, "y": 20, "z": 3, "w": 4}

    def test_setdefault(self) -> None:
        """What is read is a copy: to append to it changes nothing that is kept."""
        mapping_tests.BasicTestMappingProtocol.test_setdefault(self)
        mapping = self._empty_mapping()
        assert mapping.setdefault("key") is None and mapping.setdefault("key", []) is None
        mapping.setdefault("list", []).append(3)
        assert mapping["list"] == []

    def test_popitem(self) -> None:
        mapping_tests.BasicTestMappingProtocol.test_popitem(self)
        for size in (1, 2, 3, 64, 256):
            mapping = self._full_mapping({repr(number): number for number in range(size)})
            taken = [mapping.popitem() for _ in range(size)]
            assert sorted(taken) == sorted((repr(number), number) for number in range(size))
            assert not mapping


def test_keys_are_texts(store: UltraFastMemoryStore) -> None:
    mapping: Any = store.namespace("texts")
    assert 5 not in mapping
    with pytest.raises(KeyError):
        mapping[5]
    with pytest.raises(KeyError):
        del mapping[5]
    with pytest.raises((TypeError, InvalidArgument)):
        mapping[5] = 1
