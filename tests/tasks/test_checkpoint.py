"""Weights come from files that hold data only, and fit."""

import random
import zipfile
from pathlib import Path

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.files import digest_of_file
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
    "torch.compile": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "both": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    "average of weights": lambda state: {
        "n_averaged": torch.tensor(3),
        **{f"module.{key}": value for key, value in state.items()},
    },
}


@pytest.mark.parametrize("wrap", FORMS.values(), ids=FORMS.keys())
def test_the_usual_forms_of_checkpoints_are_loaded(tmp_path: Path, wrap: object) -> None:
    source, target = nn.Linear(3, 2), nn.Linear(3, 2).train()
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pt")  # type: ignore[operator]
    loaded = load_weights(target, tmp_path / "weights.pt")
    assert torch.equal(target.weight, source.weight) and loaded is target and not target.training


def test_a_checkpoint_of_a_wrapped_part_and_a_wrapped_model_are_loaded(tmp_path: Path) -> None:
    source = nn.Sequential(nn.DataParallel(nn.Linear(3, 2)), nn.ReLU())
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    for target in (nn.Sequential(nn.Linear(3, 2)), nn.DataParallel(nn.Sequential(nn.Linear(3, 2)))):
        load_weights(target, tmp_path / "weights.pt")
        (weight, _) = target.parameters()
        assert torch.equal(weight, next(source.parameters()))


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


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """The bytes with one bit turned over."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    source, draw = nn.Linear(40, 30), random.Random(0)
    torch.save(source.state_dict(), tmp_path / "good.pt")
    data = (tmp_path / "good.pt").read_bytes()
    refused = 0
    for _ in range(120):
        (tmp_path / "bad.pt").write_bytes(flipped(data, draw.randrange(len(data)), draw.randrange(8)))
        target = nn.Linear(40, 30)
        try:
            load_weights(target, tmp_path / "bad.pt")
        except TaskError as error:
            assert "bad.pt" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert torch.equal(target.weight, source.weight) and torch.equal(target.bias, source.bias)
    assert refused > 90


def test_a_checkpoint_that_expands_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(TaskError, match="parts are larger than the file"):
        load_weights(nn.Linear(3, 2), tmp_path / "bomb.pt")


def test_the_old_format_is_loaded_only_under_its_digest(tmp_path: Path) -> None:
    source, target, file = nn.Linear(3, 2), nn.Linear(3, 2), tmp_path / "weights.pt"
    torch.save(source.state_dict(), file, _use_new_zipfile_serialization=False)
    with pytest.raises(TaskError, match=r"torch before 1\.6.*save it again"):
        load_weights(target, file)
    named = tmp_path / f"weights-{digest_of_file(file)[:8]}.pth"
    named.write_bytes(file.read_bytes())
    load_weights(target, named)
    assert torch.equal(target.weight, source.weight)
    named.write_bytes(flipped(named.read_bytes(), -5))
    with pytest.raises(TaskError, match="not that in its name"):
        load_weights(target, named)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (torch.zeros(2, 3, dtype=torch.int8), "weight is int8 instead of float32"),
        (torch.zeros(2, 3, dtype=torch.complex64), "weight is complex64 instead of float32"),
        (torch.zeros(2, 3, dtype=torch.bool), "weight is bool instead of float32"),
        (torch.full((2, 3), 0.1, dtype=torch.float64), r"more precise than the model \(weight is float64"),
        (torch.zeros(2, 3).to_sparse(), "without an array of values"),
        (torch.zeros(2, 3, device="meta"), "without an array of values"),
        (torch.tensor([[1.0, 2.0, torch.nan]] * 2), "no numbers"),
        (torch.tensor([[1.0, 2.0, torch.inf]] * 2), "no numbers"),
    ],
    ids=["int8", "complex", "bool", "float64", "sparse", "meta", "nan", "infinite"],
)
def test_a_tensor_of_another_type_is_refused(tmp_path: Path, weight: torch.Tensor, reason: str) -> None:
    torch.save({"weight": weight, "bias": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(TaskError, match=reason):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_floats_that_lose_nothing_are_converted_and_named(
    tmp_path: Path, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = nn.Linear(3, 2).to(dtype if dtype != torch.float64 else torch.float32), nn.Linear(3, 2)
    torch.save(source.to(dtype).state_dict(), tmp_path / "weights.pt")
    load_weights(target, tmp_path / "weights.pt")
    assert torch.equal(target.weight.double(), source.weight.double())
    assert f"2 tensors are {str(dtype).removeprefix('torch.')} (weight, bias)" in caplog.text


def test_a_mask_of_infinities_may_be_a_buffer(tmp_path: Path) -> None:
    model = nn.BatchNorm1d(2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    assert load_weights(model, tmp_path / "weights.pt") is model


def test_keys_that_are_no_names_are_refused(tmp_path: Path) -> None:
    torch.save({1: torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(TaskError, match="holds no state dictionary"):
        load_weights(nn.Linear(3, 2), tmp_path / "weights.pt")
