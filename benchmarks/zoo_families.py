"""Architectures of timm, torchvision and transformers for `zoo.py`: random weights, few layers, small inputs."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from autocompress.benchmarks import zoo_convolutions, zoo_own
from autocompress.benchmarks.zoo_convolutions import Made, of_timm
from torch import Tensor, nn

LIBRARIES = ("timm", "torchvision", "transformers")

# Transformers and mixers, by name: what `timm.create_model` gets beside the name.
_VIT = {"img_size": 64, "depth": 2, "embed_dim": 64, "num_heads": 4}
TIMM: dict[str, dict[str, Any]] = {
    "levit_128s": {"img_size": 64, "embed_dim": (32, 48, 64), "key_dim": 8, "depth": (1, 1, 1)},
    "vit_tiny_patch16_224": _VIT,
    "deit_tiny_distilled_patch16_224": _VIT,
    "eva02_tiny_patch14_224": _VIT | {"img_size": 56},
    "beit_base_patch16_224": _VIT,
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (2, 2)},
    "pvt_v2_b0": {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 40, 64)},
    "mixer_s16_224": {"img_size": 64},
    "resmlp_12_224": {"img_size": 64},
    "gmlp_ti16_224": {"img_size": 64},
}  # fmt: skip
_SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 200,
}
_MASKED = _SMALL | {"max_position_embeddings": 32}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "use_cache": False, "max_position_embeddings": 64}
_SPEECH = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "conv_dim": (32, 32), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 32,
}  # fmt: skip
_PICTURE = _SMALL | {"image_size": 32, "patch_size": 8, "num_labels": 10}
# Class, kind of input and configuration.
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", "masked", _MASKED),
    "distilbert": ("DistilBertForSequenceClassification", "masked",
                   {"max_position_embeddings": 32, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 200}),
    "roberta": ("RobertaForTokenClassification", "masked", _MASKED),
    "electra": ("ElectraForSequenceClassification", "masked", _MASKED | {"embedding_size": 32}),
    "albert": ("AlbertForSequenceClassification", "masked", _MASKED | {"embedding_size": 32}),
    "mobilebert": ("MobileBertForSequenceClassification", "masked",
                   _MASKED | {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32}),
    "deberta_v2": ("DebertaV2ForSequenceClassification", "masked", _MASKED),
    "deberta_v3": ("DebertaV2ForSequenceClassification", "masked",
                   _MASKED | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8,
                              "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}),
    "mpnet": ("MPNetForSequenceClassification", "masked", _MASKED),
    "t5_encoder": ("T5EncoderModel", "masked",
                   {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 200}),
    "gpt2": ("GPT2LMHeadModel", "tokens",
             {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 200, "n_positions": 64, "use_cache": False}),
    "gpt_neo": ("GPTNeoForCausalLM", "tokens",
                {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 200, "use_cache": False,
                 "max_position_embeddings": 64, "attention_types": [[["global", "local"], 1]], "window_size": 8}),
    "gpt_neox": ("GPTNeoXForCausalLM", "tokens", _SMALL | {"use_cache": False, "max_position_embeddings": 64}),
    "opt": ("OPTForCausalLM", "tokens",
            {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 128, "vocab_size": 200,
             "use_cache": False, "word_embed_proj_dim": 64, "max_position_embeddings": 64}),
    "llama": ("LlamaForCausalLM", "tokens", _GROUPED),
    "qwen2": ("Qwen2ForCausalLM", "tokens", _GROUPED),
    "mistral": ("MistralForCausalLM", "tokens", _GROUPED),
    "gemma": ("GemmaForCausalLM", "tokens", _GROUPED | {"head_dim": 16}),
    "phi": ("PhiForCausalLM", "tokens", _GROUPED),
    "vit": ("ViTForImageClassification", "image", _PICTURE),
    "deit": ("DeiTForImageClassification", "image", _PICTURE),
    "dinov2": ("Dinov2ForImageClassification", "image", _PICTURE),
    "swin": ("SwinForImageClassification", "image",
             {"image_size": 32, "patch_size": 2, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4],
              "window_size": 4, "num_labels": 10}),
    "convnext": ("ConvNextForImageClassification", "image",
                 {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_labels": 10}),
    "resnet": ("ResNetForImageClassification", "image",
               {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 2], "num_labels": 10}),
    "mobilevit": ("MobileViTForImageClassification", "image",
                  {"image_size": 32, "hidden_sizes": [32, 40, 48], "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 64],
                   "num_labels": 10}),
    "segformer": ("SegformerForSemanticSegmentation", "image",
                  {"hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32,
                   "num_attention_heads": [1, 2, 4, 4]}),
    "clip_vision": ("CLIPVisionModel", "image", _PICTURE),
    "wav2vec2": ("Wav2Vec2ForCTC", "sound", _SPEECH),
    "hubert": ("HubertForCTC", "sound", _SPEECH),
    "whisper_encoder": ("WhisperForAudioClassification", "mel",
                        {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 128,
                         "decoder_layers": 1, "max_source_positions": 32, "num_mel_bins": 16, "vocab_size": 200,
                         "pad_token_id": 0}),
}  # fmt: skip


def families() -> Iterator[tuple[str, Callable[[], Made]]]:
    """Names, and what makes the model and a batch of inputs, of the libraries that are installed."""
    for name, options in (TIMM | zoo_convolutions.TIMM).items() if _installed("timm") else ():
        yield f"timm {name}", lambda name=name, options=options: _trained_like(*of_timm(name, options))  # type: ignore[misc]
    for name, (build, shapes) in (zoo_convolutions.MADE | zoo_own.MADE).items():
        if name.startswith("own") or _installed(name.split()[0]):
            yield name, lambda build=build, shapes=shapes: _of_shapes(build, shapes)  # type: ignore[misc]
    for name, (kind, form, options) in TRANSFORMERS.items() if _installed("transformers") else ():
        make = lambda kind=kind, form=form, options=options: _of_transformers(kind, form, options)  # noqa: E731
        yield f"hf {name}", make


def versions() -> str:
    """The installed libraries with their versions."""
    names = ("torch", *(name for name in LIBRARIES if _installed(name)))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _of_transformers(kind: str, form: str, options: dict[str, Any]) -> Made:
    transformers: ModuleType = importlib.import_module("transformers")
    owner = getattr(transformers, kind)
    return _trained_like(owner(owner.config_class(**options)), _inputs(form))


def _of_shapes(build: Callable[[], nn.Module], shapes: zoo_own.Shapes) -> Made:
    return _trained_like(build(), tuple(torch.randn(2, *shape) for shape in shapes))


def _inputs(form: str) -> tuple[Tensor, ...]:
    tokens = torch.randint(5, 200, (2, 16))
    if form == "masked":
        mask = torch.ones_like(tokens)
        mask[1, 10:] = 0
        return tokens, mask
    shapes = {"image": (2, 3, 32, 32), "sound": (2, 800), "mel": (2, 16, 64)}
    return (tokens,) if form == "tokens" else (torch.randn(*shapes[form]),)


def _trained_like(model: nn.Module, inputs: tuple[Tensor, ...]) -> Made:
    """The model with no scale, bias or matrix that is still what it starts from: zeros hide what is wrong."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2 or not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, inputs
