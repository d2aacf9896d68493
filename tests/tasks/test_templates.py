"""The task files of `autocompress init`: each is a task that passes the check, on small data in its format.

That for a model in a file is in sources/test_exported.py.
"""

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import autocompress.tasks
import numpy as np
import pytest
import torch
from autocompress.cli.commands import app
from autocompress.cli.init import Kind
from autocompress.tasks import CheckedTask, check_task, load_task
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

TEMPLATES = Path(autocompress.tasks.__file__).parent / "templates"
NOISE = np.random.default_rng(0)


def init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def checked(kind: str, folder: Path, **arguments: str) -> CheckedTask:
    """The task of the written file, with these files of the folder as arguments."""
    file = folder / "my_task.py"
    if not file.exists():
        assert init(kind, file).exit_code == 0
    return check_task(load_task(f"{file}:task", {key: str(folder / name) for key, name in arguments.items()}))


def weights_of(folder: Path, name: str, *arguments: object) -> None:
    """Saves untrained weights of the model in the task file as model.pt."""
    torch.manual_seed(0)
    scope: dict[str, object] = {"__name__": "stand_in"}
    exec((folder / "my_task.py").read_text(), scope)
    model = scope[name](*arguments)  # type: ignore[operator]
    torch.save(model.state_dict(), folder / "model.pt")


def test_the_classifier(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = NOISE.integers(0, 255, (80, 70, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    init("classifier", tmp_path / "my_task.py")
    weights_of(tmp_path, "network", 2)
    task = checked("classifier", tmp_path, data="images", weights="model.pt").task
    assert task.preprocessing["classes"] == ["cat", "dog"] and task.inputs[0].shape == (2, 3, 64, 64)


def test_the_detector(tmp_path: Path) -> None:
    objects = np.full((40, 2, 5), -1.0, np.float32)
    objects[:, 0] = np.array([1, 20, 12, 9, 7])
    objects[::2, 1] = np.array([0, 5, 28, 6, 6])
    images = NOISE.integers(0, 255, (40, 3, 32, 32)).astype(np.uint8)
    np.savez(tmp_path / "boxes.npz", images=images, objects=objects)
    init("detector", tmp_path / "my_task.py")
    weights_of(tmp_path, "Detector")
    result = checked("detector", tmp_path, data="boxes.npz", weights="model.pt")
    assert "boxes" in result.output_texts[0] and result.baseline == 0.0


def test_the_detectors_metric_counts_objects_with_their_class_and_box(tmp_path: Path) -> None:
    init("detector", tmp_path / "my_task.py")
    scope: dict[str, object] = {"__name__": "stand_in"}
    exec((tmp_path / "my_task.py").read_text(), scope)
    objects = torch.tensor([[[1.0, 20, 12, 9, 7], [0, 5, 28, 6, 6], [-1, -1, -1, -1, -1]]])
    outputs = torch.zeros(1, 7, 16)
    outputs[0, :4, 6], outputs[0, 5, 6] = torch.tensor([20.0, 12, 9, 7]), 1  # its cell: column 2 of row 1
    outputs[0, :4, 12], outputs[0, 6, 12] = torch.tensor([5.0, 28, 6, 6]), 1  # the wrong class
    assert scope["share_found"](outputs, objects) == 0.5  # type: ignore[operator]


class Model(nn.Module):
    """A stand-in for a model of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Logits of two classes."""
        mask = attention_mask[..., None].float()
        return {"logits": self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1))}


def tokenizer(texts: Sequence[str], *, max_length: int, **options: object) -> dict[str, Tensor]:
    """As a tokenizer of transformers with these options; a token for each character."""
    assert options == {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    tokens, mask = (torch.zeros(len(texts), max_length, dtype=torch.long) for _ in range(2))
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor([ord(character) % 50 for character in text])
        mask[row, : len(text)] = 1
    return {"input_ids": tokens, "attention_mask": mask, "token_type_ids": 0 * tokens}


def test_the_text_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        """Loads the stand-ins."""

        from_pretrained = staticmethod(lambda path: Model() if path.name == "model" else tokenizer)

    class Tokens(Loaded):
        """Loads the tokenizer."""

        from_pretrained = staticmethod(lambda path: tokenizer)

    fake = ModuleType("transformers")
    vars(fake).update(AutoModelForSequenceClassification=Loaded, AutoTokenizer=Tokens)
    monkeypatch.setitem(sys.modules, "transformers", fake)
    (tmp_path / "texts").mkdir()
    for split, word in (("train", "a"), ("validation", "b"), ("test", "c")):
        rows = [{"text": f"{word} sentence {index}", "label": index % 2} for index in range(8)]
        (tmp_path / "texts" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = checked("text", tmp_path, model="model", data="texts").task
    assert [tuple(tensor.shape) for tensor in task.inputs] == [(2, 128), (2, 128)]


@pytest.mark.parametrize("kind", Kind)
def test_each_says_how_it_is_used_and_what_to_change(kind: Kind, tmp_path: Path) -> None:
    ended = init(kind, tmp_path / "mine.py")
    text = (tmp_path / "mine.py").read_text()
    assert ended.exit_code == 0 and ended.stdout.strip() == str(tmp_path / "mine.py")
    assert f"autocompress search {tmp_path / 'mine.py'}:task --task-arg" in (
        ast.get_docstring(ast.parse(text)) or ""
    )
    assert "yours" in text.lower() and "FILE" not in text


def test_templates_have_short_lines() -> None:
    lines = [line for file in TEMPLATES.iterdir() for line in file.read_text().splitlines()]
    assert [line for line in lines if len(line) > 115] == [] and len(list(TEMPLATES.iterdir())) == len(Kind)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my_task.py").write_text("mine")
    ended = init("classifier", tmp_path / "my_task.py")
    assert ended.exit_code == 2 and "exists, and is not overwritten" in ended.stderr
    assert (tmp_path / "my_task.py").read_text() == "mine"
    assert "must end in .py" in init("classifier", tmp_path / "task").stderr
    assert init("segmenter", tmp_path / "other.py").exit_code == 2
