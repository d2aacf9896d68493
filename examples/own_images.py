"""An image classifier of one's own, small enough to try: 1,797 scans of digits as PNG files, and a network.

    python examples/own_images.py mine

writes mine/train/CLASS/*.png, mine/validation, mine/test and the trained weights, mine/net.safetensors, in
less than a minute: what people have who want to compress a model. With `--timm NAME` the network is one of
timm's. The command that searches it is printed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

SIZE = 32
SPLITS = {"train": slice(0, 1077), "validation": slice(1077, 1437), "test": slice(1437, 1797)}
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class Block(nn.Module):
    """Two 3×3 convolutions that halve the picture, beside a 1×1 shortcut."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, 2, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """N × c_in × H × W to N × c_out × H/2 × W/2."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def network() -> nn.Module:
    """Takes N × 3 × 32 × 32, returns scores of ten classes. `image-folder` calls it without arguments."""
    stem = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
    blocks = nn.Sequential(Block(32, 64), Block(64, 128), Block(128, 128))
    return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def write_images(root: Path) -> tuple[Tensor, Tensor]:
    """Writes all images into class folders. Returns those for training, N × 3 × 32 × 32, and labels."""
    scans, labels = load_digits(return_X_y=True)
    pictures = (scans.reshape(-1, 8, 8) * 15.9375).astype(np.uint8)
    for split, rows in SPLITS.items():
        for index, (picture, label) in enumerate(zip(pictures[rows], labels[rows], strict=True)):
            folder = root / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BILINEAR).save(
                folder / f"{index}.png"
            )
    rows = SPLITS["train"]
    enlarged = F.interpolate(torch.from_numpy(pictures[rows])[:, None].float(), SIZE, mode="bilinear")
    return (enlarged / 255 - MEAN) / STD, torch.from_numpy(labels[rows])


def train(model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int) -> None:
    """Trains with Adam, one cycle of the learning rate, images moved by up to two pixels."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = epochs * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64)[: len(images) // 64]:
            shift = torch.randint(-2, 3, (2,)).tolist()
            loss = F.cross_entropy(model(images[rows].roll(shift, (2, 3))), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def main() -> None:
    """Writes images and weights, and prints the command that goes on with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where images and weights are written")
    parser.add_argument("--timm", metavar="NAME", help="a model of timm, such as resnet10t, instead of ours")
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    model = network()
    if given.timm:
        import timm

        model = timm.create_model(given.timm, num_classes=10)
    train(model, *write_images(given.folder), epochs=given.epochs)
    save_file(model.state_dict(), given.folder / "net.safetensors")
    task = f"timm:{given.timm}" if given.timm else f"image-folder --task-arg model={Path(__file__)}:network"
    values = (
        f"root={given.folder}",
        f"checkpoint={given.folder}/net.safetensors",
        f"size={SIZE}",
        "flip=false",
    )
    print("autocompress search", task, *(f"--task-arg {value}" for value in values))


if __name__ == "__main__":
    main()
