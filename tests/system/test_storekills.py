"""Writers and keepers of a store killed; the long form is `storekills.py` beside this file."""

import random

import pytest

from system import storekills


@pytest.mark.timeout(300)
def test_a_store_outlives_its_writers_and_its_keeper() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    report = storekills.run(6, seed)
    assert (report.restored, report.adopted) == (3, 3)
    assert report.passed, f"seed {seed}: {report}"
