"""`hf`: the task of a directory, by the kind of its model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....errors import TaskError
from ...boundary import user_code
from ...image_folder import class_names, image_splits, image_task
from ...outputs.kinds import classes
from ...task import Metric, Task
from ..array_splits import ArraySplit
from . import token_measures as measured
from .directory import Pretrained, library, load_model, load_processor, load_tokenizer, pretrained
from .tables import Splits, table_splits
from .texts import Encode, next_token_encoder, tag_encoder, text_encoder

if TYPE_CHECKING:
    from PIL.Image import Image

_PREPROCESSING = {"layout": "NCHW", "channels": "RGB", "input": "uint8", "by": "preprocessor_config.json"}
# The columns of text and labels where the task does not name them.
_COLUMNS: Mapping[str, tuple[str, str]] = {
    "text": ("text", "label"),
    "tokens": ("tokens", "tags"),
    "language": ("text", ""),
}


def hf(
    directory: str,
    data: Path,
    *,
    length: int = 128,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
    metric: str | None = None,
    limit: int | None = None,
    seen_tokens: bool = False,
    seed: int = 0,
) -> Task:
    """The task: a model of transformers in a local directory, by the `architectures` of its config.json.

    `data` is a folder with class folders of images in each split; for texts a file (.csv, .tsv, .jsonl,
    .json, .parquet, .txt), which is split 60 : 20 : 20, or a folder with train, validation and test. Texts
    get `length` tokens. `text` and `label` name columns. `limit` cuts each split. With
    `seen_tokens` the search may remove the rows of tokens that no training text has. Raises TaskError.
    """
    given = pretrained(Path(directory))
    chosen = _metric(given, metric)
    if length < 2 or (limit is not None and limit < 1):
        raise TaskError(f"length={length}, limit={limit}: a length above 1 and a limit above 0 are needed.")
    if given.kind == "images":
        return _image_task(given, data, chosen, seed)
    usual, other = _COLUMNS[given.kind]
    columns, label = text or (usual,), label or other
    if len(columns) > (2 if given.kind == "text" else 1):
        raise TaskError(f"text={','.join(columns)}: name one column, or two for the classification of pairs.")
    rows = table_splits(data, (*columns, label) if label else columns, seed)
    rows = rows[0][:limit], rows[1][:limit], rows[2][:limit]
    return _text_task(given, rows, Columns(columns, label, length, seen_tokens), chosen, seed)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where texts and labels are in the rows, and how many tokens a text has; `label` may be empty.
    `seen_tokens`: those that no training text has may go.
    """

    text: tuple[str, ...]
    label: str
    length: int
    seen_tokens: bool


def _text_task(given: Pretrained, rows: Splits, columns: Columns, metric: Metric, seed: int) -> Task:
    transformers = library()
    model = load_model(transformers, given)
    tokenizer = load_tokenizer(transformers, given, model)
    _require_length(model, columns.length)
    encode = _encoder(given, tokenizer, columns)
    train, validation, test = map(encode, rows)
    token_wise = given.kind != "text"
    labels = {} if given.kind == "language" else {"classes": list(given.labels)}
    return Task(
        name=f"hf-{given.path.resolve().name}",
        model=model,
        train=train,
        validation=validation,
        test=test,
        loss=measured.token_loss if token_wise else measured.class_loss,
        metric=metric,
        example_inputs=validation.rows(slice(2)),
        outputs=(classes(dim=2 if token_wise else 1),),
        preprocessing={"tokenizer": type(tokenizer).__name__, "length": columns.length, **labels},
        used_tokens={"input_ids": _seen(tokenizer, train)} if columns.seen_tokens else {},
        seed=seed,
    )


def _seen(tokenizer: Any, train: ArraySplit) -> list[int]:
    """The token of unknown words (else of padding) first, the other special ones, those of the training
    texts.
    """
    unknown = tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    texts = torch.unique(train.inputs["input_ids"]).tolist()
    tokens = [unknown, *tokenizer.all_special_ids, *texts]
    return list(dict.fromkeys(tokens))


def _metric(given: Pretrained, name: str | None) -> Metric:
    """The metric with this name, or the usual one of the kind."""
    choices: Mapping[str, Metric] = {"accuracy": measured.CLASS_ACCURACY}
    if given.kind == "language":
        choices = {"perplexity": measured.PERPLEXITY, "accuracy": measured.NEXT_TOKEN_ACCURACY}
    elif given.kind == "tokens":
        choices = {"accuracy": measured.TAG_ACCURACY}
        if "O" in given.labels:
            choices = {"f1": measured.tag_f1(given.labels.index("O")), **choices}
    if name is not None and name not in choices:
        raise TaskError(f"There is no metric {name!r} for this model: give metric={' or '.join(choices)}.")
    return choices[name or next(iter(choices))]


def _require_length(model: torch.nn.Module, length: int) -> None:
    most = getattr(model.config, "max_position_embeddings", None)
    if isinstance(most, int) and length > most:
        raise TaskError(
            f"length={length}, but the model has {most} positions: give --task-arg length={most}."
        )


def _encoder(given: Pretrained, tokenizer: Any, columns: Columns) -> Encode:
    text, label, length = columns.text, columns.label, columns.length
    if given.kind == "text":
        return text_encoder(tokenizer, text, label, given.labels, length=length)
    if given.kind == "tokens":
        return tag_encoder(tokenizer, text[0], label, given.labels, length=length)
    return next_token_encoder(tokenizer, text[0], length=length)


def _image_task(given: Pretrained, data: Path, metric: Metric, seed: int) -> Task:
    folders, names = class_names(data), list(given.labels)
    strange = sorted(set(folders) - set(names))
    if strange and len(folders) == len(names):  # the order is the only hint
        names, strange = folders, []
    if strange:
        raise TaskError(
            f"The folder {strange[0]} in {data / 'train'} is no class of the model: name the folders like "
            f"its classes ({', '.join(names[:5])}, …), or give as many as it has ({len(names)})."
        )
    transformers = library()
    model = load_model(transformers, given)
    processor = load_processor(transformers, given)

    def prepare(image: "Image") -> Tensor:
        with user_code(f"Preparing an image as {given.path} says"):
            pixels: Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    task = image_task(f"hf-{given.path.resolve().name}", model, image_splits(data, names, prepare), seed=seed)
    (example,) = task.inputs
    return replace(
        task,
        loss=measured.class_loss,
        metric=metric,
        outputs=(classes(dim=1),),
        preprocessing={**_PREPROCESSING, "size": list(example.shape[2:]), "classes": names},
    )
