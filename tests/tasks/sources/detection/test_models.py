"""The built-in tasks `ultralytics:MODEL`: what is refused without the library, and what it makes of models."""

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.compress.graph.tracing.trace import trace
from autocompress.errors import TaskError
from autocompress.examples.own_objects import NAMES, write_data
from autocompress.tasks import Task, check_task, load_task
from autocompress.tasks.data import read
from autocompress.tasks.quality import score
from autocompress.tasks.sources.detection import models
from autocompress.tasks.sources.detection.images import GREY
from autocompress.tasks.sources.detection.library import keep_grid, library, network_of
from safetensors.torch import save_file

needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="ultralytics is not installed: pip install 'autocompress[ultralytics]'",
)
# torchvision beside another torch, numpy and matplotlib of ultralytics' imports
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of shapes in the form of YOLO and of COCO, and files in place of models."""
    root = tmp_path_factory.mktemp("shapes")
    write_data(root, coco=True, counts={"train": 6, "val": 3, "test": 3})
    torch.save({}, root / "empty.pt")
    (root / "net.safetensors").touch()
    (root / "all.csv").touch()
    return root


@pytest.fixture
def narrow() -> Any:
    """The architecture of a YOLOv8n with a quarter of its channels, as its .yaml has it."""
    described = library().nn.tasks.yaml_model_load("yolov8n.yaml")
    return {**described, "nc": 3, "scales": {"n": [0.33, 0.0625, 256]}}


def checkpoint(path: Path, architecture: Any, **changed: Any) -> torch.nn.Module:
    """Writes what a training writes; returns the model as ultralytics knows it."""
    torch.manual_seed(0)
    model = library().nn.tasks.DetectionModel(dict(architecture), nc=3, verbose=False)
    model.names = dict(enumerate(NAMES))
    torch.save({"model": model, "ema": None, "train_args": {"imgsz": 64}, **changed}, path)
    return model.eval()


def load(root: Path, model: str = "empty.pt", /, **changed: str) -> Task:
    return load_task(f"ultralytics:{root / model}", {"data": str(root / "data.yaml")} | changed)


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        ("nowhere.pt", {}, "There is no model .*nothing is downloaded"),
        ("empty.pt", {}, "holds no model of ultralytics"),
        ("empty.pt", {"metric": "f1"}, "no metric 'f1': give metric=map or map50"),
        ("empty.pt", {"limit": "0"}, "a limit above 0"),
        ("empty.pt", {"weights": "w.safetensors"}, "leave out weights"),
        ("yolov8n.yaml", {}, "without weights: give --task-arg weights=FILE.safetensors"),
        ("yolov8n.yaml", {"weights": "nowhere"}, "no weights 'nowhere'"),
        ("net.onnx", {}, "there is the task onnx"),
        ("net", {}, "write ultralytics:FILE.pt"),
        ("yolov8n.yaml", {"weights": "net.safetensors", "data": "nowhere"}, "There is no data 'nowhere'"),
        ("yolov8n.yaml", {"weights": "net.safetensors", "data": "all.csv"}, "has the ending '.csv'"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(
    data: Path, model: str, changed: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    with pytest.raises(TaskError, match=message):
        load_task(f"ultralytics:{model}", {"data": "data.yaml"} | changed)


def test_without_ultralytics_the_error_says_what_to_install(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    arguments = {"data": str(data / "data.yaml"), "weights": str(data / "net.safetensors")}
    with pytest.raises(TaskError, match=r"needs ultralytics.*pip install 'autocompress\[ultralytics\]'"):
        load_task("ultralytics:yolov8n.yaml", arguments)


def test_images_that_do_not_fit_into_the_memory_are_counted_before(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 100 if "PHYS" in name else 4096)
    with pytest.raises(TaskError, match=r"3 images to score.*--task-arg limit=1 or less"):
        models._require_memory([[], [None], [None] * 3], 150_000)  # type: ignore[list-item]


@needs_ultralytics
def test_a_checkpoint_becomes_a_valid_task(data: Path, narrow: Any) -> None:
    model = checkpoint(data / "net.pt", narrow)
    task = check_task(load(data, "net.pt")).task
    (image,) = task.inputs
    assert image.shape == (2, 3, 64, 64) and task.preprocessing["classes"] == list(NAMES)
    assert task.preprocessing["fill"] == GREY and task.metric.name == "mAP50-95"
    with torch.no_grad():
        torch.testing.assert_close(task.model(image), model(image)[0])


@needs_ultralytics
def test_nothing_but_the_call_remains_of_ultralytics(data: Path, narrow: Any, tmp_path: Path) -> None:
    before, saving = dict(os.environ), torch.save
    library()
    assert dict(os.environ) == before and torch.save is saving


@needs_ultralytics
@pytest.mark.parametrize("form", ["data.yaml", ".", "annotations/val.json"])
def test_all_forms_of_the_data_give_the_same_objects(data: Path, narrow: Any, form: str) -> None:
    checkpoint(data / "net.pt", narrow)
    one_file = form.endswith("json")
    if one_file:  # a set that is split
        whole = json.loads((data / "annotations/train.json").read_text())
        write_data(data / "more", coco=True, counts={"train": 20})
        form = "more/annotations/train.json"
        assert whole["categories"]
    task = load(data, "net.pt", data=str(data / form))
    counts = [len(split) for split in (task.train, task.validation, task.test)]  # type: ignore[arg-type]
    assert counts == ([12, 4, 4] if one_file else [6, 3, 3])


@needs_ultralytics
def test_an_architecture_with_weights_is_the_same(data: Path, narrow: Any) -> None:
    import yaml

    model = checkpoint(data / "net.pt", narrow)
    save_file(model.state_dict(), data / "own.safetensors")
    (data / "yolov8n-narrow.yaml").write_text(yaml.safe_dump(narrow))
    task = load(data, "yolov8n-narrow.yaml", weights=str(data / "own.safetensors"), size="64")
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(task.model(image), model(image)[0])
    with pytest.raises(TaskError, match="does not fit the model"):
        load(data, "yolov8n-narrow.yaml", weights=str(wrong_weights(data)), size="64")


def wrong_weights(data: Path) -> Path:
    save_file({"model.0.conv.weight": torch.zeros(1)}, data / "wrong.safetensors")
    return data / "wrong.safetensors"


@needs_ultralytics
def test_a_size_that_is_no_multiple_of_the_stride_is_told(data: Path, narrow: Any) -> None:
    checkpoint(data / "net.pt", narrow)
    with pytest.raises(TaskError, match="size=100 is no multiple of 32: give --task-arg size=96"):
        load(data, "net.pt", size="100")


@needs_ultralytics
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation": "__import__('os').mkdir('ran')"}, "is code, not run"),
        ({"backbone": [[-1, 1, "torch_safe_load", ["x.pt"]]]}, "no layer of a detector"),
        ({"backbone": [[-1, 1, "TorchVision", [3, "resnet18"]]]}, "no layer of a detector"),
        ({"backbone": [[-1, 1, "Conv", [1 << 40, 3, 2]]]}, "no layer of a detector"),
        ({"backbone": [["Conv"]]}, "no layer of a detector"),
        ({"head": [[-1, 1, "Classify", [3]]]}, "ends in Classify, but only detectors"),
        ({"backbone": None, "head": None}, "ends in nothing"),
    ],
)
def test_an_architecture_that_would_do_something_is_refused(
    narrow: Any, changed: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=message):
        network_of(library(), narrow | changed, classes=3)
    assert not list(tmp_path.iterdir())


@needs_ultralytics
def test_labels_mean_the_classes_of_the_model_by_name(data: Path, narrow: Any, tmp_path: Path) -> None:
    model = checkpoint(data / "net.pt", narrow)
    model.names = {0: "triangle", 1: "circle", 2: "square"}  # type: ignore[assignment]
    torch.save({"model": model, "train_args": {"imgsz": 64}}, tmp_path / "turned.pt")
    plain = load(data, "net.pt")
    turned = load_task(f"ultralytics:{tmp_path / 'turned.pt'}", {"data": str(data / "data.yaml")})
    before, after = (torch.cat([batch[1] for batch in read(one.validation)]) for one in (plain, turned))
    present = before[..., 0] >= 0
    assert present.any() and torch.equal((before[present][:, 0] + 1) % 3, after[present][:, 0])


@needs_ultralytics
def test_the_loss_is_that_of_ultralytics_but_for_distributions(data: Path, narrow: Any) -> None:
    model: Any = checkpoint(data / "net.pt", narrow)
    task = load(data, "net.pt")
    (images,), objects = next(read(task.train, batch_size=4))
    rows, columns = torch.nonzero(objects[..., 0] >= 0, as_tuple=True)
    present = objects[rows, columns]
    batch = {"batch_idx": rows, "cls": present[:, 0], "bboxes": present[:, 1:] / 64}
    model.args = library().utils.DEFAULT_CFG
    ours = task.loss(task.model(images), objects)
    box, classes, _ = library().utils.loss.v8DetectionLoss(model)(model(images), batch)[0] / 4
    distances = task.loss(task.model(images), objects) - box - classes
    assert ours.requires_grad and 0 <= distances.item() < 0.2 * ours.item()


@needs_ultralytics
def test_the_precision_is_that_of_ultralytics_but_for_the_last_recall() -> None:
    from autocompress.tasks.sources.detection.average_precision import METRICS, matched_boxes
    from ultralytics.utils.metrics import ap_per_class

    torch.manual_seed(0)
    wanted = torch.cat([torch.randint(0, 3, (8, 6, 1)).float(), torch.rand(8, 6, 4) * 30 + 10], dim=2)
    near = wanted[..., 1:] + torch.randn(8, 6, 4)
    outputs = torch.cat([near.repeat(1, 3, 1), torch.rand(8, 18, 3)], dim=2).transpose(1, 2)
    table = matched_boxes(outputs, wanted).flatten(0, 1)
    rows = table[table[:, 0] > 0].numpy()
    theirs = ap_per_class(rows[:, 2:], rows[:, 0], rows[:, 1], wanted[..., 0].flatten().numpy())[5]
    assert score(METRICS["map"], [outputs], wanted) == pytest.approx(np.mean(theirs), abs=0.01)


@needs_ultralytics
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n"]
)
def test_the_families_of_ultralytics_are_traced_with_one_output(name: str) -> None:
    network = network_of(library(), library().nn.tasks.yaml_model_load(f"{name}.yaml"), classes=3)
    image = torch.rand(2, 3, 64, 64)
    keep_grid(network, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = trace(network, (image,))
    with torch.no_grad():
        output = graph(image)
    output = output[0] if isinstance(output, tuple) else output
    assert output.shape == (2, 7, 84)
    torch.testing.assert_close(output, network(image), rtol=1e-3, atol=1e-3)
