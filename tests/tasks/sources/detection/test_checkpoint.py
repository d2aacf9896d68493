"""A .pt file of ultralytics is read as data: nothing in it runs, whatever it names."""

import builtins
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks.sources.detection.checkpoint import stored_model
from torch import nn


class Model(nn.Module):
    """What ultralytics pickles: a module with its architecture and names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.model = nn.Sequential(self.first, nn.BatchNorm2d(4))
        self.yaml = {"nc": 2, "backbone": [], "head": []}
        self.names: Any = {0: "cat", 1: "dog"}


class Calling:
    """Pickled, it calls a function with an argument when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_a_pickled_module_becomes_its_weights_names_and_architecture(tmp_path: Path) -> None:
    model = Model()
    torch.save({"model": model.half(), "ema": None, "train_args": {"imgsz": 320}}, tmp_path / "net.pt")
    stored = stored_model(tmp_path / "net.pt")
    assert stored.names == ("cat", "dog") and stored.architecture == model.yaml and stored.size == 320
    wanted = model.float().state_dict()
    assert stored.state.keys() == wanted.keys()
    assert all(torch.equal(stored.state[name], tensor) for name, tensor in wanted.items())


def test_averaged_weights_come_first(tmp_path: Path) -> None:
    averaged = Model()
    torch.save({"model": Model(), "ema": averaged}, tmp_path / "net.pt")
    weight = stored_model(tmp_path / "net.pt").state["model.0.weight"]
    assert torch.equal(weight, averaged.first.weight)


@pytest.mark.parametrize("function", [os.system, subprocess.check_call, builtins.eval, builtins.exec])
def test_a_file_that_calls_something_does_not(
    tmp_path: Path, function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "__import__('os').mkdir('ran')" if function in (builtins.eval, builtins.exec) else "touch ran"
    model = Model()
    model.names = Calling(function, *([["touch", "ran"]] if function is subprocess.check_call else [code]))
    torch.save({"model": model}, "net.pt")
    with pytest.raises(TaskError):
        stored_model(Path("net.pt"))
    assert not Path("ran").exists()
    torch.load("net.pt", weights_only=False)  # what anybody else does
    assert Path("ran").exists()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"weight": torch.zeros(2)}, "holds no model of ultralytics"),
        ({"model": nn.Linear(2, 2)}, "holds no model of ultralytics"),
        ([1, 2], "holds no model of ultralytics"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, saved: object, message: str) -> None:
    torch.save(saved, tmp_path / "net.pt")
    with pytest.raises(TaskError, match=message):
        stored_model(tmp_path / "net.pt")


def test_a_missing_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"There is no model 'nowhere\.pt'.*nothing is downloaded"):
        stored_model(Path("nowhere.pt"))
    model = Model()
    torch.save({"model": model}, tmp_path / "net.pt")
    content = bytearray((tmp_path / "net.pt").read_bytes())
    at = content.index(model.first.weight.detach().numpy().tobytes())
    content[at + 8] ^= 255
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(TaskError, match="is damaged"):
        stored_model(tmp_path / "net.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(TaskError, match="cannot be read as a checkpoint"):
        stored_model(tmp_path / "text.pt")
