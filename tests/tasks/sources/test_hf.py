"""The built-in tasks `hf:DIRECTORY`: a directory of transformers, tables of texts, folders of images."""

import csv
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.compress.graph.tracing.trace import trace
from autocompress.errors import TaskError
from autocompress.tasks import Metric, Task, check_task, load_task
from autocompress.tasks.sources.hf.directory import library
from autocompress.tasks.sources.hf.token_measures import PERPLEXITY, tag_f1
from autocompress.tests.present import present
from PIL import Image

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'autocompress[hf]'",
)
WORDS = "the cat dog sat ran on mat a good bad film".split()
NOISE = np.random.default_rng(0)


def sentences(count: int) -> list[str]:
    return [" ".join(NOISE.choice(WORDS, 5)) for _ in range(count)]


# --- directories as save_pretrained writes them

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def save_tokenizer(folder: Path) -> None:
    tokenizers: Any = importlib.import_module("tokenizers")
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "</s>", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        eos_token="</s>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def save_bert(folder: Path, kind: str, labels: list[str]) -> None:
    names = dict(enumerate(labels))
    config = library().BertConfig(
        vocab_size=20,
        max_position_embeddings=32,
        id2label=names,
        label2id={b: a for a, b in names.items()},
        **SIZES,
    )
    getattr(library(), f"BertFor{kind}")(config).save_pretrained(folder)
    save_tokenizer(folder)


def save_llama(folder: Path) -> None:
    config = library().LlamaConfig(vocab_size=20, max_position_embeddings=32, pad_token_id=0, **SIZES)
    library().LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)


def save_vit(folder: Path) -> None:
    names = {0: "cat", 1: "dog"}
    config = library().ViTConfig(
        image_size=32, patch_size=16, id2label=names, label2id={b: a for a, b in names.items()}, **SIZES
    )
    library().ViTForImageClassification(config).save_pretrained(folder)
    library().ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


# --- data in the formats that people have


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_images(folder: Path) -> None:
    for split in ("train", "validation", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(3):
                pixels = NOISE.integers(0, 255, (20, 30, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")


def reviews(count: int) -> list[dict[str, Any]]:
    return [
        {"text": text, "label": ["bad", "good"][index % 2]} for index, text in enumerate(sentences(count))
    ]


def load(model: Path, rows: Path, /, **changed: str) -> Task:
    return load_task(f"hf:{model}", {"data": str(rows), "length": "8"} | changed)


def answers_like_torch(task: Task) -> bool:
    """Whether the task is valid, and its traced model answers like the library's."""
    checked = check_task(task).task
    with torch.inference_mode():
        traced = trace(task.model, task.example_inputs)(*checked.inputs)
        torch.testing.assert_close(traced, checked.model(*checked.inputs), rtol=1e-4, atol=1e-5)
    return True


@needs_transformers
def test_a_text_classifier_with_a_csv_file_becomes_a_valid_task(tmp_path: Path) -> None:
    save_bert(tmp_path / "model", "SequenceClassification", ["bad", "good"])
    write_csv(tmp_path / "reviews.csv", reviews(60))
    task = load(tmp_path / "model", tmp_path / "reviews.csv")
    assert [len(split) for split in (task.train, task.validation, task.test)] == [36, 12, 12]  # type: ignore[arg-type]
    assert {name: tuple(x.shape) for name, x in task.example_inputs.items()} == {  # type: ignore[union-attr]
        "input_ids": (2, 8),
        "attention_mask": (2, 8),
    }
    assert str(task.outputs[0]) == "classes along dimension 1"  # type: ignore[index]
    assert answers_like_torch(task)


@needs_transformers
def test_tokens_that_no_training_text_has_are_not_among_the_used_ones(tmp_path: Path) -> None:
    save_bert(tmp_path, "SequenceClassification", ["bad", "good"])
    rows = [f"{text},{index % 2}" for index, text in enumerate(["the cat sat", "a dog ran"] * 20)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    arguments = {"data": str(tmp_path / "rows.csv"), "length": "8", "seen_tokens": "true"}
    checked = check_task(load_task(f"hf:{tmp_path}", arguments))
    words = [3 + WORDS.index(word) for word in "the cat sat a dog ran".split()]
    tokens = checked.task.used_tokens[0]
    assert sorted(tokens) == sorted([0, 1, 2, *words])
    assert tokens[0] == 1  # the unknown word: all others are read as it


@needs_transformers
def test_a_token_classifier_with_jsonl_files_in_a_folder(tmp_path: Path) -> None:
    save_bert(tmp_path / "model", "TokenClassification", ["O", "THING", "DOING"])
    for split in ("train", "validation", "test"):
        lines = [{"tokens": text.split(), "tags": ["O", "THING", 2, 0, "O"]} for text in sentences(12)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = load(tmp_path / "model", tmp_path)
    _, targets = task.validation[0]  # type: ignore[index]
    assert targets.tolist() == [0, 1, 2, 0, 0, -100, -100, -100] and task.metric.name == "token F1"
    assert answers_like_torch(task)


@needs_transformers
def test_a_language_model_with_plain_text_predicts_the_next_tokens(tmp_path: Path) -> None:
    save_llama(tmp_path / "model")
    (tmp_path / "story.txt").write_text("\n".join(sentences(200)))
    task = load(tmp_path / "model", tmp_path / "story.txt")
    inputs, targets = task.train[0]  # type: ignore[index]
    assert torch.equal(inputs["input_ids"][1:], targets[:-1]) and task.metric.direction == "lower"
    assert 1 < check_task(task).baseline < 40 and answers_like_torch(task)


@needs_transformers
def test_an_image_classifier_with_class_folders(tmp_path: Path) -> None:
    save_vit(tmp_path / "model")
    write_images(tmp_path / "images")
    task = load(tmp_path / "model", tmp_path / "images")
    assert tuple(task.inputs[0].shape) == (2, 3, 32, 32) and task.preprocessing["classes"] == ["cat", "dog"]
    assert answers_like_torch(task)


@needs_transformers
def test_pairs_of_texts_have_types_of_tokens(tmp_path: Path) -> None:
    save_bert(tmp_path / "model", "SequenceClassification", ["no", "yes"])
    rows = [{"a": one, "b": one, "label": index % 2} for index, one in enumerate(sentences(20))]
    write_csv(tmp_path / "pairs.csv", rows)
    task = load(tmp_path / "model", tmp_path / "pairs.csv", text="a,b")
    assert "token_type_ids" in task.example_inputs


@needs_transformers
@pytest.mark.parametrize(
    ("rows", "changed", "message"),
    [
        (reviews(9), {}, "9 rows, too few to split"),
        (
            [{"words": "a", "label": 0}] * 20,
            {},
            r"Row 1 of .* has no 'text' \(it has words, label\): name the",
        ),
        (
            [{"text": "a", "label": "ugly"}] * 20,
            {},
            "label='ugly' is no class of the model: it has bad, good",
        ),
        (reviews(20), {"metric": "f1"}, "no metric 'f1' for this model: give metric=accuracy"),
        (reviews(20), {"length": "64"}, "length=64, but the model has 32 positions"),
        (reviews(20), {"length": "1"}, "a length above 1"),
        (reviews(20), {"text": "a,b,c"}, "name one column, or two"),
        (reviews(20), {"data": "nowhere.csv"}, "no data 'nowhere.csv'"),
    ],
)
def test_a_wrong_table_or_argument_is_one_clear_error(
    tmp_path: Path, rows: list[dict[str, Any]], changed: dict[str, str], message: str
) -> None:
    save_bert(tmp_path / "model", "SequenceClassification", ["bad", "good"])
    write_csv(tmp_path / "reviews.csv", rows)
    with pytest.raises(TaskError, match=message):
        load(tmp_path / "model", tmp_path / "reviews.csv", **changed)


@needs_transformers
def test_weights_without_the_head_are_refused(tmp_path: Path) -> None:
    save_bert(tmp_path / "model", "TokenClassification", ["O", "THING"])
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace("BertForTokenClassification", "BertForSequenceClassification"))
    write_csv(tmp_path / "reviews.csv", reviews(20))
    with pytest.raises(TaskError, match=r"lack bert\.pooler.*give the directory of the fine-tuned"):
        load(tmp_path / "model", tmp_path / "reviews.csv")


# --- what is refused before transformers is imported


@pytest.fixture
def directory(tmp_path: Path) -> Callable[..., Path]:
    """A directory with a config.json of the given entries, and an empty file of weights."""

    def make(weights: str = "model.safetensors", **entries: Any) -> Path:
        (tmp_path / weights).write_bytes(b"")
        given = {"architectures": ["BertForSequenceClassification"]} | entries
        (tmp_path / "config.json").write_text(json.dumps(given))
        write_csv(tmp_path / "reviews.csv", reviews(20))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"auto_map": {"AutoModel": "code.Model"}},
            "config.json has an auto_map: the model brings Python code",
        ),
        (
            {"architectures": ["T5ForConditionalGeneration"]},
            "architecture T5ForConditionalGeneration, but the",
        ),
        ({"architectures": None}, "architecture nothing"),
        ({"quantization_config": {"bits": 4}}, "is quantized: give the one in floats"),
        ({"problem_type": "regression"}, "is for regression: write a task in Python"),
        (
            {"weights": "pytorch_model.bin"},
            "no .safetensors file: .*save_pretrained.*Pickled weights are not loaded",
        ),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused(
    directory: Callable[..., Path], entries: dict[str, Any], message: str
) -> None:
    folder = directory(**entries)
    with pytest.raises(TaskError, match=message):
        load(folder, folder / "reviews.csv")


def test_a_tokenizer_with_code_of_its_own_is_refused(directory: Callable[..., Path]) -> None:
    folder = directory()
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["code.Mine", null]}}')
    with pytest.raises(TaskError, match=r"tokenizer_config\.json has an auto_map"):
        load(folder, folder / "reviews.csv")


def test_a_name_of_the_hub_is_refused_as_no_directory(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no directory 'someone/model': .*models are not downloaded"):
        load_task("hf:someone/model", {"data": str(tmp_path)})


def test_a_config_that_is_no_json_is_told(directory: Callable[..., Path]) -> None:
    folder = directory()
    (folder / "config.json").write_text("{")
    with pytest.raises(TaskError, match=r"config\.json cannot be read as JSON"):
        load(folder, folder / "reviews.csv")


def test_without_transformers_the_error_says_what_to_install(
    directory: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = directory()
    with pytest.raises(TaskError, match=r"hf:DIRECTORY needs transformers.*pip install 'autocompress\[hf\]'"):
        load(folder, folder / "reviews.csv")


def test_a_spec_without_a_directory_says_what_to_write() -> None:
    with pytest.raises(TaskError, match=r"needs a directory: write hf:DIRECTORY"):
        load_task("hf", {})


# --- metrics


def summed(metric: Metric, logits: torch.Tensor, targets: torch.Tensor) -> float:
    return present(metric.compute)(present(metric.update)({"logits": logits}, targets).sum(0))


def test_perplexity_is_the_exponential_of_the_mean_loss_over_tokens_that_count() -> None:
    logits = torch.zeros(2, 3, 5)
    targets = torch.tensor([[0, 1, -100], [2, -100, -100]])
    assert summed(PERPLEXITY, logits, targets) == pytest.approx(5.0)


def test_token_f1_counts_tags_and_not_the_tokens_outside() -> None:
    targets = torch.tensor([[0, 1, 2, 1, -100]])
    logits = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 0, 2]]), 3).float()
    assert summed(tag_f1(0), logits, targets) == pytest.approx(2 * 1 / (2 + 3))
