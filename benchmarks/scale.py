"""Searches of models of real size: candidates measured, wall-clock over budget, peak memory.

    python benchmarks/scale.py [resnet50 bert …] [--budget 15m] [--recovery] [--folder DIR] [--cores 0,1]

Architectures of `transformers` with random weights (nothing is downloaded): `mobilenet` (MobileNetV2, 3.5 M
parameters), `vit` (ViT-S, 22 M), `resnet50` (25.6 M), `bert` (BERT-base at 128 tokens, 109 M). Normalizations
have the statistics of the inputs and the head is scaled so that the original answers with many classes; the
labels are its own answers. So a candidate's quality is how often it agrees with the original. That says
nothing of trained networks: time and memory are what is looked at here.

Each takes its budget and some minutes. Weights and labels are made once, in --folder, and do not count. Memory is
what the search takes with all its processes, looked at twice a second; pages that processes share count once.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from autocompress.explore.session.memory import MemoryPeak
from autocompress.profiles.units import parse_duration
from autocompress.results.records.run import Run
from autocompress.results.run_directory import read_run
from autocompress.tasks.task import Metric, Task, accuracy
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

FOLDER = Path("/tmp/autocompress-scale")
COUNTS = {"train": 256, "validation": 100, "test": 50}
HEAD: dict[str, Any] = {"num_labels": 10}
TOKENS = 128
_BATCH = 25
_NORM_SAMPLES = 75


class Answers(nn.Module):
    """A model of transformers that answers with its logits alone, N × classes."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """`x` are images or tokens."""
        logits: Tensor = self.model(x).logits
        return logits


def _resnet50() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(ResNetConfig(**HEAD))


def _mobilenet() -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(**HEAD, tf_padding=False, classifier_dropout_prob=0.0)
    return MobileNetV2ForImageClassification(config)


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, **HEAD)
    return ViTForImageClassification(config)


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(**HEAD))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How a model is made, and what it reads."""

    make: Callable[[], nn.Module]
    tokens: bool = False

    def inputs(self, count: int, seed: int) -> Tensor:
        """Blurred images, or texts in which few words are frequent."""
        draw = torch.Generator().manual_seed(seed)
        if self.tokens:
            ranks = torch.rand(count, TOKENS, generator=draw)
            return (30_000**ranks).long() + 100  # about as frequent as words of a text
        coarse, fine = (torch.randn(count, 3, size, size, generator=draw) for size in (8, 56))
        return F.interpolate(coarse, size=224, mode="bilinear") + 0.3 * F.interpolate(fine, size=224)


ARCHITECTURES = {
    "mobilenet": Architecture(make=_mobilenet),
    "vit": Architecture(make=_vit),
    "resnet50": Architecture(make=_resnet50),
    "bert": Architecture(make=_bert, tokens=True),
}


def make(name: str, folder: str = str(FOLDER)) -> Task:
    """The task of an architecture, its weights and labels those of `folder`, where they are made first."""
    architecture, file = ARCHITECTURES[name], Path(folder) / f"{name}.safetensors"
    torch.manual_seed(0)
    model = Answers(architecture.make()).eval()
    if not file.is_file():
        _prepare(model, architecture, file)
    tensors = load_file(file)
    labels = {split: tensors.pop(f"labels.{split}") for split in COUNTS}
    model.load_state_dict(tensors)
    train, validation, test = (
        TensorDataset(architecture.inputs(count, seed), labels[split])
        for seed, (split, count) in enumerate(COUNTS.items())
    )
    return Task(
        name=f"scale-{name}",
        model=model,
        loss=F.cross_entropy,
        metric=Metric(name="agreement", function=accuracy),
        example_inputs=(architecture.inputs(2, 9),),
        train=train,
        validation=validation,
        test=test,
    )


@torch.no_grad()
def _prepare(model: nn.Module, architecture: Architecture, file: Path) -> None:
    """Statistics of normalizations, a head that tells inputs apart, and the labels."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None  # the mean of all batches
            norm.reset_running_stats()
        model.train()
        _answers(model, architecture.inputs(_NORM_SAMPLES, 0))
        model.eval()
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    logits = {
        split: _answers(model, architecture.inputs(count, seed))
        for seed, (split, count) in enumerate(COUNTS.items())
    }
    mean, spread = logits["train"].mean(0), logits["train"].std(0).mean() / 3
    head.weight /= spread
    head.bias.copy_((head.bias - mean) / spread)
    tensors = dict(model.state_dict())
    tensors |= {f"labels.{split}": (each - mean).argmax(1) for split, each in logits.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, file)


def _answers(model: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([model(part) for part in torch.split(inputs, _BATCH)])


class Memory:
    """The largest resident set of a process and what it started, in bytes, looked at while it runs."""

    def __init__(self, process: int):
        self._peak = MemoryPeak(process)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            self._peak.look()

    def stop(self) -> int:
        """The peak."""
        self._stop.set()
        self._thread.join()
        return self._peak.bytes


def search(name: str, arguments: argparse.Namespace) -> str:
    """The row of one search."""
    out = arguments.folder / "runs" / name
    command = [sys.executable, "-m", "autocompress", "search", f"{Path(__file__).resolve()}:make"]
    command += ["--task-arg", f"name={name}", "--task-arg", f"folder={arguments.folder}", "--fresh"]
    command += ["--budget", arguments.budget, "--out", str(out), "--quiet"]
    command += [] if arguments.recovery else ["--no-recovery"]
    start = time.monotonic()
    with (arguments.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        memory = Memory(process.pid)
        code = process.wait()
    seconds, peak = time.monotonic() - start, memory.stop()
    run = read_run(out) if (out / "front.json").is_file() else None
    return row(name, run, seconds / parse_duration(arguments.budget), peak, code)


def row(name: str, run: Run | None, share: float, peak: int, code: int) -> str:
    """Candidates measured, seconds over budget (all of the process), peak memory."""
    counted: Any = "-" if run is None else len(run.points) - 1  # the original is no candidate
    inside = "-" if run is None else f"{run.elapsed_s:.0f} s"
    text = f"{name:<10} {counted:>10} {inside:>12} {share:>12.2f} {peak / 2**30:>11.2f} GB"
    return text if code == 0 else f"{text}   exit code {code}, see the log"


def main() -> None:
    """Makes the models, searches, and prints a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--budget", default="15m")
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--cores", default="0,1", help="the cores that the searches may use")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {int(core) for core in arguments.cores.split(",")})
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"{'model':<10} {'candidates':>10} {'search':>12} {'wall/budget':>12} {'peak memory':>14}")
    for name in arguments.names:
        make(name, str(arguments.folder))
        print(search(name, arguments), flush=True)


if __name__ == "__main__":
    main()
