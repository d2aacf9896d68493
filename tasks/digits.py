"""The built-in task `digits`: scikit-learn's 1,797 scans of handwritten digits and a small residual network.

The network is trained once, in less than a minute. Its weights are kept in the user's cache folder, and so
are the scans: to import scikit-learn takes longer than all the rest of the task.
"""

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ..errors import TaskError
from ..files import cache_folder, write_bytes
from ..scratch import sweep_parts
from .checkpoint import load_weights, save_checkpoint
from .data import batches
from .task import Metric, Task, accuracy

log = logging.getLogger(__name__)

_WEIGHTS = "digits-2.pt"  # a new number whenever the network or its training changes
_SCANS = "digits-scans.npz"
_EPOCHS, _BATCH, _LEARNING_RATE = 16, 64, 0.03
_VALIDATION, _TEST = 360, 360
_PREPROCESSING = {
    "layout": "NCHW",
    "size": [8, 8],
    "channels": "gray",
    "input": "0..16",
    "scale": 1 / 8,
    "offset": -1,
}


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut, projected by a 1×1 convolution where the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """N × c_in × H × W to N × c_out × H/stride × W/stride."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class DigitsNet(nn.Module):
    """A residual network of three blocks (32, 64, 128 channels) for N × 1 × 8 × 8 scans; output N × 10
    logits.

    It is wider than the scans need: compression has no visible effect on a network of a few microseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2))
        self.linear = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def digits(seed: int = 0, cache: Path | None = None) -> Task:
    """The task: 1,077 scans for training, 360 for validation, 360 for test, and the trained network.

    `seed` is that of the search; the data and the network are always the same. `cache` is the folder for
    scans and weights, by default `cache_folder()`; if it cannot be written, the network is trained each time.
    """
    folder = cache or cache_folder()
    train, validation, test = _splits(*_scans(folder / _SCANS))
    return Task(
        name="digits",
        model=_trained(train, folder / _WEIGHTS),
        train=train,
        validation=validation,
        test=test,
        loss=F.cross_entropy,
        metric=Metric(name="top-1 accuracy", function=accuracy),
        example_inputs=(validation.tensors[0][:2],),
        augment=shifted,
        preprocessing=_PREPROCESSING,
        seed=seed,
    )


def shifted(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with each scan shifted by up to one pixel in each direction; blank pixels fill the gap."""
    padded = F.pad(inputs, (1, 1, 1, 1), value=-1.0)
    corners = torch.randint(0, 3, (len(inputs), 2)).tolist()
    moved = [scan[:, y : y + 8, x : x + 8] for scan, (y, x) in zip(padded, corners, strict=True)]
    return torch.stack(moved), targets


def _splits(scans: np.ndarray, digits: np.ndarray) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Train, validation and test by a fixed permutation; pixels 0..16 become -1..1."""
    images = torch.from_numpy(scans).float().div(8).sub(1).unsqueeze(1)
    labels = torch.from_numpy(digits).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    parts = torch.split(order, [len(labels) - _VALIDATION - _TEST, _VALIDATION, _TEST])
    train, validation, test = (TensorDataset(images[part], labels[part]) for part in parts)
    return train, validation, test


def _scans(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1,797 × 8 × 8) and digits, both uint8; scikit-learn's are kept at `path`."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            scans, digits = kept["scans"], kept["digits"]
        shapes = scans.shape, digits.shape
        if shapes == ((1797, 8, 8), (1797,)) and scans.dtype == digits.dtype == np.uint8:
            return scans, digits
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # there are none yet, or the file is damaged
    from sklearn.datasets import load_digits

    bunch, content = load_digits(), io.BytesIO()
    scans, digits = bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)
    np.savez_compressed(content, scans=scans, digits=digits)
    _kept(path, lambda: write_bytes(path, content.getvalue()), "scans")
    return scans, digits


def _kept(path: Path, write: Callable[[], None], what: str) -> None:
    """Writes a file of the cache folder; a folder that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_parts(path.parent)
        write()
    except OSError as error:
        log.warning("The %s of 'digits' are not kept, %s cannot be written: %s", what, path, error)


def _trained(train: TensorDataset, path: Path) -> nn.Module:
    """The network with the weights at `path`; trains and stores them if they are missing or damaged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DigitsNet()
    if path.is_file():
        try:
            return load_weights(model, path)
        except TaskError as error:
            log.warning("The kept network of 'digits' cannot be used: %s", error)
    log.info("Training the network of the task 'digits', once, in less than a minute …")
    _fit(model, train)
    _kept(path, lambda: save_checkpoint(path, model.state_dict()), "trained weights")
    return model


def _fit(model: nn.Module, train: TensorDataset) -> None:
    """Trains with SGD and one cycle of the learning rate, on one thread; ends in eval mode.

    The tensors are tiny: two threads, of which one waits for a busy core, took ten times as long. One thread
    also gives the same weights everywhere.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _descend(model, train)
    finally:
        torch.set_num_threads(threads)
    model.eval()


def _descend(model: nn.Module, train: TensorDataset) -> None:
    steps = _EPOCHS * (len(train) // _BATCH)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4 * _LEARNING_RATE, total_steps=steps)
    source = batches(train, batch_size=_BATCH, seed=0, augment=shifted)
    model.train()
    for _ in range(steps):
        inputs, targets = next(source)
        loss = F.cross_entropy(model(*inputs), targets, label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
