"""Statuses: the list in C, the numbers in Python, the classes, and their sentences agree."""

import inspect
import pickle

import pytest

from ultrafast import errors
from ultrafast.core import _status

CLASSES = {
    each.status: each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if isinstance(each.__dict__.get("status"), int)
}
NAMES = {
    name: value for name, value in vars(_status).items() if name.isupper() and type(value) is int
}


def test_every_status_has_a_number_a_name_and_a_sentence() -> None:
    assert len(NAMES) == 26 and sorted(NAMES.values()) == list(range(-25, 1))
    for name, value in NAMES.items():
        assert _status.name(value) == name
        assert len(_status.sentence(value)) > 3
    assert (_status.name(-99), _status.sentence(-99)) == ("UNKNOWN", "unknown status")


def test_every_status_but_ok_becomes_its_class() -> None:
    assert sorted(CLASSES) == sorted(value for value in NAMES.values() if value != 0)
    for value, each in CLASSES.items():
        error = _status.error(value, "queue 7")
        assert type(error) is each
        assert str(error) == f"queue 7: {_status.sentence(value)}"
        assert str(_status.error(value)) == _status.sentence(value)


def test_a_status_that_is_none_of_ours_is_corruption() -> None:
    assert isinstance(_status.error(-99, "x"), errors.RegionCorrupt)


@pytest.mark.parametrize("name", sorted(errors.__all__))
def test_errors_travel_between_processes(name: str) -> None:
    error = getattr(errors, name)("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) == "what happened"


def test_what_people_already_catch() -> None:
    for name, builtin in {
        "RegionMissing": FileNotFoundError,
        "RegionExists": FileExistsError,
        "RegionDenied": PermissionError,
        "RegionReadOnly": PermissionError,
        "RegionNoSpace": OSError,
        "RegionClosed": OSError,
        "ForkedRegion": errors.RegionClosed,
        "QueueFull": BlockingIOError,
        "PoolExhausted": MemoryError,
        "EntryMissing": LookupError,
        "MessageTooBig": ValueError,
        "ValueTooBig": errors.PayloadTooBig,
        "InvalidArgument": ValueError,
        "Timeout": TimeoutError,
    }.items():
        assert issubclass(getattr(errors, name), builtin), name
        assert issubclass(getattr(errors, name), errors.UltrafastError), name
