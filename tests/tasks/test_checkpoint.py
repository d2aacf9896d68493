"""Weights come from files that hold data only, and fit."""

from pathlib import Path

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import load_weights
from safetensors.torch import save_file
from torch import nn


class Code:
    """Pickles as a call of `print`."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("this must never run",)


FORMS = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"state_dict": state, "epoch": 3},
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
}


@pytest.mark.parametrize("wrap", FORMS.values(), ids=FORMS.keys())
def test_the_usual_forms_of_checkpoints_are_loaded(tmp_path: Path, wrap: object) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2).train()
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pt")  # type: ignore[operator]
    loaded = load_weights(target, tmp_path / "weights.pt")
    assert torch.equal(target.weight, source.weight) and loaded is target and not target.training


def test_safetensors_are_loaded(tmp_path: Path) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    load_weights(target, tmp_path / "weights.safetensors")
    assert torch.equal(target.weight, source.weight)


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": Code()}, tmp_path / "weights.pt")
    with pytest.raises(TaskError, match=r"can run code.*torch.save"):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")
    assert capsys.readouterr().out == ""


def test_keys_and_shapes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(5, 3), "extra": torch.zeros(1)}, tmp_path / "weights.pt")
    expected = (
        r"1 missing \(bias\); 1 unexpected \(extra\); 1 of another shape \(weight is 5×3 instead of 2×3\)"
    )
    with pytest.raises(TaskError, match=expected):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"], ids=["empty", "text", "cut"]
)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=name) as caught:
        load_weights(nn.Linear(3, 2), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_other_content_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(TaskError, match="holds no state dictionary"):
        load_weights(nn.Linear(3, 2), tmp_path / "list.pt")
    with pytest.raises(TaskError, match="no checkpoint"):
        load_weights(nn.Linear(3, 2), tmp_path / "none.pt")
