"""A wrong input ends with exit code 2 and one sentence; `benchmarks/wrong_inputs.py` prints them all."""

from pathlib import Path

import pytest
from autocompress.tests.wrong.inputs import WRONG, Wrong, complaint


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Lazy modules", "ignore::UserWarning")
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_input_is_one_sentence_and_exit_code_2(wrong: Wrong, tmp_path: Path) -> None:
    assert complaint(wrong.ended(tmp_path), wrong.words) == ""
    assert not (tmp_path / "runs").exists() and not (tmp_path / "bundle" / "model.onnx").exists()
