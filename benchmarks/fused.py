"""What fusing is worth: the latency of a fused file relative to the same file as exported, nothing compressed.

    python benchmarks/fused.py [NAME ...] [--data ../shared/data]

`stories` is the language model of the test material; the others are small models of transformers with random
weights (only the time counts). Thread CPU time of one thread, the median of pairs in turns, how far the
answers are apart (relative root mean square), and the time to open a session. Takes about 20 seconds for each.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from autocompress.compress import Network
from autocompress.compress.onnx_file.check import relative_error
from autocompress.compress.onnx_file.export import export_template
from autocompress.compress.onnx_file.fusing.fuse import fuse
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
PAIRS = 60
ROOT = Path(__file__).resolve().parent.parent
WIDTHS: dict[str, Any] = {
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "intermediate_size": 512,
}
TOKENS = (128, 1000)  # how many, of how many


class Logits(nn.Module):
    """A model of transformers with a tensor as its output."""

    def __init__(self, model: nn.Module, **arguments: object):
        super().__init__()
        self.model, self.arguments = model, arguments

    def forward(self, x: Tensor) -> Tensor:
        """The scores of a batch."""
        logits: Tensor = self.model(x, **self.arguments).logits
        return logits


def made(name: str, data: Path) -> tuple[nn.Module, Tensor]:
    """A model and two inputs."""
    if name == "stories":
        task = importlib.import_module("edge_nets").stories(data)
        return task.model, task.example_inputs[0]
    import transformers as t

    torch.manual_seed(0)
    text = torch.randint(0, TOKENS[1], (2, TOKENS[0]))
    decoder: dict[str, Any] = {**WIDTHS, "vocab_size": TOKENS[1]}
    match name:
        case "bert":
            return Logits(t.BertForSequenceClassification(t.BertConfig(**decoder))), text
        case "vit":
            model = t.ViTForImageClassification(t.ViTConfig(**WIDTHS, image_size=96, patch_size=8))
            return Logits(model), torch.randn(2, 3, 96, 96)
        case "llama":
            llama = t.LlamaForCausalLM(t.LlamaConfig(**decoder, num_key_value_heads=2))
            return Logits(llama, use_cache=False), text
        case "gpt2":
            sizes: dict[str, Any] = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": TOKENS[0]}
            gpt2 = t.GPT2LMHeadModel(
                t.GPT2Config(**sizes, vocab_size=TOKENS[1], bos_token_id=1, eos_token_id=1)
            )
            return Logits(gpt2, use_cache=False), text
    raise SystemExit(f"there is no model {name!r}: choose from stories, bert, vit, llama, gpt2")


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def loading_ms(model: onnx.ModelProto) -> float:
    """Thread CPU time of opening a session, the median of five."""
    times = []
    for _ in range(5):
        start = time.thread_time()
        session(model)
        times.append(1e3 * (time.thread_time() - start))
    return statistics.median(times)


def seconds(run: onnxruntime.InferenceSession, x: np.ndarray) -> float:
    """Thread CPU time of one inference."""
    start = time.thread_time()
    run.run(None, {run.get_inputs()[0].name: x})
    return time.thread_time() - start


def main() -> None:
    """Prints a line for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["stories", "bert", "vit", "llama", "gpt2"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    for name in arguments.names:
        model, inputs = made(name, arguments.data)
        exported = export_template(Network.trace(model.eval(), (inputs,)).module, (inputs[:1],), 21).model
        joined = onnx.ModelProto()
        joined.CopyFrom(exported)
        fuse(joined)
        before, after = session(exported), session(joined)
        x = inputs[:1].numpy()
        (expected,), (answer,) = (one.run(None, {one.get_inputs()[0].name: x}) for one in (before, after))
        ratios = [seconds(after, x) / seconds(before, x) for _ in range(PAIRS)]
        kinds = Counter(node.op_type for node in joined.graph.node)
        counts = [
            f"{kinds[kind]} {kind}"
            for kind in ("Attention", "RMSNormalization", "RotaryEmbedding")
            if kinds[kind]
        ]
        print(
            f"{name:8} {statistics.median(ratios):.2f} × of the time, {len(exported.graph.node)} nodes become "
            f"{len(joined.graph.node)} ({', '.join(counts)}), answers differ by {relative_error(answer, expected):.1g}, "
            f"loads in {loading_ms(joined):.0f} instead of {loading_ms(exported):.0f} ms"
        )


if __name__ == "__main__":
    main()
