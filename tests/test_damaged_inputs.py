"""A damaged file is refused in one sentence or made again; it never ends in a traceback or a wrong result.

A few seeds of each kind; `benchmarks/damage.py` runs as many as one likes.
"""

import pytest
from autocompress.tests.damaging.kinds import KINDS, Kind
from autocompress.tests.damaging.trial import trials

SLOW = ("ONNX file", "level database")  # seconds for each input


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damage_is_told_or_mended(kind: Kind) -> None:
    done = list(trials(kind, range(1000, 1002 if kind.name in SLOW else 1012)))
    wrong = [each for each in done if each.outcome in ("traceback", "silently wrong")]
    assert not wrong, wrong[0]
