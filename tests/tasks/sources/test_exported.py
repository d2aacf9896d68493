"""The built-in task `exported`: a .pt2 file, an .npz file, loss and metric by name."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.cli.commands import app
from autocompress.compress.graph.tracing.trace import trace
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task, load_task
from autocompress.tests.present import present
from torch import Tensor, nn
from typer.testing import CliRunner

FREE = {0: torch.export.Dim.AUTO}
NOISE = np.random.default_rng(0)


class Masked(nn.Module):
    """Two inputs, one by keyword, and an output in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"scores": self.linear(features * mask)}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)).eval()


def write_program(path: Path, model: nn.Module, *, batch: int = 2, free: bool = True) -> None:
    shapes = (FREE,) if free else None
    torch.export.save(torch.export.export(model, (torch.randn(batch, 4),), dynamic_shapes=shapes), path)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path, allow_pickle=True, **arrays)


def features(count: int) -> np.ndarray:
    return NOISE.normal(size=(count, 4))


def labels(count: int) -> np.ndarray:
    return np.arange(count) % 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network with its data as one set."""
    write_program(tmp_path / "net.pt2", network())
    write_arrays(tmp_path / "data.npz", x=features(60), y=labels(60))
    return tmp_path


def load(folder: Path, **changed: str) -> Task:
    arguments = {"model": "net.pt2", "data": "data.npz", "metric": "accuracy"} | changed
    paths = {name: str(folder / arguments[name]) for name in ("model", "data")}
    return load_task("exported", arguments | paths)


def test_a_program_with_one_set_of_arrays_becomes_a_valid_task(folder: Path) -> None:
    task = check_task(load(folder)).task
    assert [len(split) for split in (task.train, task.validation, task.test)] == [36, 12, 12]  # type: ignore[arg-type]


def test_the_template_of_init_gives_it_a_metric_of_the_user(folder: Path) -> None:
    CliRunner().invoke(app, ["init", "file", str(folder / "mine.py")])
    arguments = {"model": str(folder / "net.pt2"), "data": str(folder / "data.npz")}
    result = check_task(load_task(f"{folder / 'mine.py'}:task", arguments))
    assert result.task.metric.name == "top-2 accuracy" and 0.3 < result.baseline <= 1.0


def test_the_program_answers_and_names_its_weights_like_the_model(folder: Path) -> None:
    inputs, model = torch.randn(5, 4), network()
    loaded = load(folder).model
    assert (
        torch.equal(loaded(inputs)[0], model(inputs))
        and loaded.state_dict().keys() == model.state_dict().keys()
    )


def test_the_program_is_traced_like_any_other_model(folder: Path) -> None:
    task, inputs = load(folder), torch.randn(5, 4)
    traced = trace(task.model, task.example_inputs)
    torch.testing.assert_close(traced(inputs)[0], network()(inputs))
    assert "0.weight" in traced.state_dict()


def test_splits_by_name_are_taken_as_they_are(folder: Path) -> None:
    arrays = {"train": features(30), "validation": features(20), "test": features(10)}
    named = {f"{name}_x": x for name, x in arrays.items()}
    write_arrays(folder / "data.npz", **named, **{f"{name}_y": labels(len(x)) for name, x in arrays.items()})
    first, label = load(folder).validation[3]  # type: ignore[index]
    np.testing.assert_allclose(first, arrays["validation"][3], rtol=1e-6)
    assert first.dtype == torch.float32 and label == 0


def test_the_inputs_of_a_program_with_two_have_its_names(folder: Path) -> None:
    program = torch.export.export(
        Masked(),
        (torch.randn(2, 4),),
        {"mask": torch.ones(2, 1)},
        dynamic_shapes={"features": FREE, "mask": FREE},
    )
    torch.export.save(program, folder / "net.pt2")
    write_arrays(folder / "data.npz", features=features(40), mask=np.ones((40, 1), np.float32), y=labels(40))
    task = check_task(load(folder)).task
    assert list(load(folder).example_inputs) == ["features", "mask"] and len(task.inputs) == 2


@pytest.mark.parametrize("metric", ["mse", "rmse", "mae"])
def test_targets_of_n_and_of_n_by_1_mean_the_same(folder: Path, metric: str) -> None:
    write_program(folder / "net.pt2", nn.Linear(4, 1))
    x, y = features(40), NOISE.normal(size=40)
    values = []
    for targets in (y, y[:, None]):
        write_arrays(folder / "data.npz", x=x, y=targets)
        values.append(check_task(load(folder, metric=metric)).baseline)
    assert values[0] == values[1] > 0


def test_binary_accuracy_counts_signs_of_logits(folder: Path) -> None:
    write_program(folder / "net.pt2", nn.Linear(4, 1))
    write_arrays(folder / "data.npz", x=features(40), y=np.arange(40) % 2 == 0)
    task = load(folder, metric="binary-accuracy")
    logits, targets = torch.tensor([[2.0], [-1.0], [3.0], [-2.0]]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert present(task.metric.function)(logits, targets) == 0.75 and 0 <= check_task(task).baseline <= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "f1"}, "no metric 'f1' by name: give metric=accuracy or"),
        ({"loss": "hinge"}, "no loss 'hinge' by name: give loss=cross-entropy or"),
        ({"model": "nowhere.pt2"}, "no model .*give a .pt2 file"),
        ({"model": "data.txt"}, "is no .pt2 file: write one with torch.export.save"),
        ({"model": "data.npz"}, "Loading .*data.npz failed.*Write it with torch.export.save of torch"),
        ({"data": "nowhere.npz"}, "no data file"),
        ({"data": "data.txt"}, "is no .npz file"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(folder: Path, changed: dict[str, str], message: str) -> None:
    (folder / "data.txt").write_text("x,y")
    with pytest.raises(TaskError, match=message):
        load(folder, **changed)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": features(20)}, r"no array 'train_x' \(it has x\): store train_x, train_y and the same for"),
        ({"x": features(20), "y": labels(19)}, "x has 20 samples and y 19"),
        ({"x": features(9), "y": labels(9)}, "9 samples, too few to split"),
        ({"x": features(20)[:, :3], "y": labels(20)}, r"x in .* is 12×3, but the model takes N×4"),
        (
            {"x": features(20) * 1j, "y": labels(20)},
            "x is torch.complex128, but the model takes torch.float32",
        ),
        ({"x": features(20) * np.nan, "y": labels(20)}, "x has NaN or infinite values"),
        ({"x": np.array(["a"] * 20), "y": labels(20)}, "x has the type <U1: store numbers"),
        ({"x": np.array([{}] * 20), "y": labels(20)}, "damaged or hold objects"),
        ({"x": np.array(1.0), "y": labels(20)}, "x is a single value"),
    ],
)
def test_arrays_that_do_not_fit_are_named(folder: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    write_arrays(folder / "data.npz", **arrays)
    with pytest.raises(TaskError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("targets", "metric", "message"),
    [
        (labels(60) * 0.5, "accuracy", "torch.float32, but .*indices: store integers"),
        (labels(60)[:, None] * [[1, 1]], "accuracy", "choose another metric"),
        (labels(60), "mse", "store targets of the outputs' shape"),
    ],
)
def test_targets_that_do_not_fit_the_metric_are_told(
    folder: Path, targets: np.ndarray, metric: str, message: str
) -> None:
    write_arrays(folder / "data.npz", x=features(60), y=targets)
    with pytest.raises(TaskError, match=message):
        check_task(load(folder, metric=metric))


def test_a_program_for_one_batch_size_is_refused(folder: Path) -> None:
    write_program(folder / "net.pt2", network(), batch=1, free=False)
    with pytest.raises(TaskError, match=r"exported for one batch size: .*dynamic_shapes"):
        load(folder)


def test_a_program_in_training_form_is_refused(folder: Path) -> None:
    write_program(folder / "net.pt2", network().train())
    with pytest.raises(TaskError, match=r"training form \(batch_norm\): export it after model.eval"):
        load(folder)


def test_a_program_with_two_outputs_is_refused(folder: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x + 2

    write_program(folder / "net.pt2", Two())
    with pytest.raises(TaskError, match="has 2 outputs, and a loss by name takes one"):
        load(folder)


def test_a_damaged_program_is_refused(folder: Path) -> None:
    path = folder / "net.pt2"
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("net/data/weights/weight_0").header_offset
    content = bytearray(path.read_bytes())
    start = content.index(b"weight_0", offset) + 100
    content[start] ^= 1
    path.write_bytes(content)
    assert zipfile.ZipFile(io.BytesIO(bytes(content))).testzip() == "net/data/weights/weight_0"
    with pytest.raises(TaskError, match="damaged"):
        load(folder)
