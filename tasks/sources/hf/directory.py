"""A directory as `save_pretrained` writes it: config.json, safetensors, a tokenizer. No code, no network."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ....errors import TaskError
from ...boundary import user_code
from ..extra_library import extra_library

Kind = Literal["text", "tokens", "language", "images"]

_AUTO: Mapping[Kind, str] = {
    "text": "AutoModelForSequenceClassification",
    "tokens": "AutoModelForTokenClassification",
    "language": "AutoModelForCausalLM",
    "images": "AutoModelForImageClassification",
}
_ENDINGS: Mapping[str, Kind] = {
    "ForSequenceClassification": "text",
    "ForTokenClassification": "tokens",
    "ForCausalLM": "language",
    "LMHeadModel": "language",
    "ForImageClassification": "images",
}
_REMOTE = "auto_map"
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
_SAVED = "give a directory as model.save_pretrained and tokenizer.save_pretrained write it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A directory that passed the checks; `labels` are the names of its classes in their order."""

    path: Path
    kind: Kind
    labels: tuple[str, ...]


def pretrained(path: Path) -> Pretrained:
    """What is in the directory. TaskError if it is no such directory, or needs code, pickles or adapters."""
    if not path.is_dir():
        raise TaskError(f"There is no directory {str(path)!r}: {_SAVED}; models are not downloaded.")
    config = _json(path / "config.json")
    for name in _CONFIGS:
        if (path / name).is_file() and _REMOTE in _json(path / name):
            raise TaskError(
                f"{path / name} has an {_REMOTE}: the model brings Python code, which is not run. Give one "
                "of an architecture of transformers, or write a task in Python (docs/tasks.md)."
            )
    if (path / "adapter_config.json").exists():
        raise TaskError(
            f"{path} has an adapter: merge it with merge_and_unload() of peft, and save the result."
        )
    if config.get("quantization_config"):
        raise TaskError(f"The model in {path} is quantized: give the one in floats that it was made from.")
    if not any(path.glob("*.safetensors")):
        raise TaskError(f"{path} has no .safetensors file: {_SAVED}. Pickled weights are not loaded.")
    names = config.get("architectures") or ["nothing"]
    kinds = [kind for ending, kind in _ENDINGS.items() if str(names[0]).endswith(ending)]
    if not kinds:
        raise TaskError(
            f"config.json of {path} names the architecture {names[0]}, but the task takes those that end in "
            f"{', '.join(_ENDINGS)}: write a task in Python for others (docs/tasks.md)."
        )
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise TaskError(
            f"The model in {path} is for {config['problem_type']}: write a task in Python (docs/tasks.md)."
        )
    given = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return Pretrained(path=path, kind=kinds[0], labels=tuple(given[key] for key in sorted(given, key=int)))


def _json(path: Path) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TaskError(f"There is no {path}: {_SAVED}.") from None
    except (OSError, ValueError) as error:
        raise TaskError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(value, dict):
        raise TaskError(f"{path} is no JSON object: {_SAVED}.")
    return value


def library() -> Any:
    """The module transformers, which must not ask the network; TaskError if it is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = extra_library("transformers", task="A task hf:DIRECTORY", extra="hf")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_model(transformers: Any, given: Pretrained) -> nn.Module:
    """The model in float32, with all weights from the directory. Raises TaskError."""
    auto = getattr(transformers, _AUTO[given.kind])
    with user_code(f"Loading the model in {given.path}", remedy=f"Perhaps it is damaged; {_SAVED}"):
        model, info = auto.from_pretrained(
            given.path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    missing = sorted({*info["missing_keys"], *(str(one[0]) for one in info["mismatched_keys"])})
    if missing:
        raise TaskError(
            f"The weights in {given.path} lack {missing[0]} and {len(missing) - 1} others of the model: "
            "give the directory of the fine-tuned model."
        )
    model.config.use_cache = False
    network: nn.Module = model.float().eval()
    return network


def load_tokenizer(transformers: Any, given: Pretrained, model: nn.Module) -> Any:
    """The tokenizer beside the model; without a padding token it pads with its last one."""
    tokenizer = _loaded(transformers.AutoTokenizer, given, "tokenizer")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    config: Any = model.config
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def load_processor(transformers: Any, given: Pretrained) -> Callable[..., Any]:
    """What prepares images for the model, as preprocessor_config.json says. Raises TaskError."""
    processor: Callable[..., Any] = _loaded(transformers.AutoImageProcessor, given, "image processor")
    return processor


def _loaded(auto: Any, given: Pretrained, what: str) -> Any:
    with user_code(f"Loading the {what} in {given.path}", remedy=_SAVED[0].upper() + _SAVED[1:]):
        return auto.from_pretrained(given.path, local_files_only=True, trust_remote_code=False)
