"""A detector of one's own, small enough to try: coloured shapes with boxes, and a trained narrow YOLOv8n.

    python examples/own_objects.py shapes [--coco] [--epochs 40]

writes shapes/data.yaml, images and labels in the form of YOLO (with --coco also as COCO's JSON files): what
people have who want to compress a detector. With --epochs, ultralytics trains shapes/shapes.pt, some seconds
for each epoch (pip install 'autocompress[ultralytics]'). The command that searches it is printed.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

NAMES = ("circle", "square", "triangle")
SIZE = 128
SIZES = ((128, 128), (128, 96), (96, 128))  # width and height: not all images are square
SPLITS = {"train": 400, "val": 100, "test": 100}


def picture(random: np.random.Generator) -> tuple[Image.Image, list[tuple[int, float, float, float, float]]]:
    """An image of one to four shapes on noise, and for each its class, left, top, width and height."""
    width, height = SIZES[random.integers(len(SIZES))]
    pixels = random.integers(60, 120, (height, width, 3)) + random.integers(-40, 40, 3)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw, objects = ImageDraw.Draw(image), []
    for _ in range(random.integers(1, 5)):
        kind, size = int(random.integers(len(NAMES))), int(random.integers(12, 44))
        x, y = int(random.integers(0, width - size)), int(random.integers(0, height - size))
        colour = tuple(int(value) for value in random.integers(100, 256, 3))
        corners = (x, y, x + size, y + size)
        if NAMES[kind] == "circle":
            draw.ellipse(corners, fill=colour)
        elif NAMES[kind] == "square":
            draw.rectangle(corners, fill=colour)
        else:
            draw.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill=colour)
        objects.append((kind, float(x), float(y), size + 1.0, size + 1.0))
    return image, objects


def write_data(root: Path, *, coco: bool, counts: dict[str, int] = SPLITS, seed: int = 0) -> None:
    """Writes data.yaml, images/SPLIT/N.jpg and labels/SPLIT/N.txt, and with `coco` annotations/SPLIT.json."""
    random = np.random.default_rng(seed)
    for split, count in counts.items():
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        listed = []
        for index in range(count):
            image, objects = picture(random)
            image.save(root / f"images/{split}/{index}.jpg", quality=95)
            listed.append((f"{index}.jpg", image.size, objects))
            lines = [yolo_line(image.size, one) for one in objects]
            (root / f"labels/{split}/{index}.txt").write_text("".join(lines))
        if coco:
            (root / "annotations").mkdir(exist_ok=True)
            (root / f"annotations/{split}.json").write_text(json.dumps(coco_json(listed)))
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(NAMES))
    splits = "".join(f"{split}: images/{split}\n" for split in counts)
    (root / "data.yaml").write_text(f"{splits}names:\n{names}")


def yolo_line(size: tuple[int, int], one: tuple[int, float, float, float, float]) -> str:
    """The class, the center and the size as shares of the image."""
    kind, x, y, width, height = one
    shares = (x + width / 2) / size[0], (y + height / 2) / size[1], width / size[0], height / size[1]
    return f"{kind} {' '.join(f'{share:.6f}' for share in shares)}\n"


def coco_json(
    listed: list[tuple[str, tuple[int, int], list[tuple[int, float, float, float, float]]]],
) -> dict[str, list[dict[str, object]]]:
    """Images, categories and annotations as COCO numbers them, from 1 on."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, (name, (width, height), objects) in enumerate(listed, 1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for kind, *box in objects:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": kind + 1, "bbox": box}
            annotations.append(entry)
    categories: list[dict[str, object]] = [{"id": index, "name": name} for index, name in enumerate(NAMES, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def train(root: Path, *, epochs: int) -> None:
    """Trains a YOLOv8n of half the width from random weights, and copies the best weights to shapes.pt."""
    import yaml
    from ultralytics import YOLO
    from ultralytics.nn.tasks import yaml_model_load

    described = yaml_model_load("yolov8n.yaml") | {"nc": len(NAMES), "scales": {"n": [0.33, 0.125, 512]}}
    (root / "yolov8n-narrow.yaml").write_text(yaml.safe_dump(described))
    model = YOLO(root / "yolov8n-narrow.yaml")
    options = {"imgsz": SIZE, "batch": 16, "device": "cpu", "workers": 0, "plots": False, "seed": 0}
    runs = {"project": str((root / "training").resolve()), "name": "run", "exist_ok": True}
    model.train(data=str((root / "data.yaml").resolve()), epochs=epochs, amp=False, **options, **runs)
    shutil.copy(root / "training/run/weights/best.pt", root / "shapes.pt")


def main() -> None:
    """Writes the data and trains, and prints the command that goes on with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where images, labels and weights are written")
    parser.add_argument("--coco", action="store_true", help="also write annotations as COCO does")
    parser.add_argument("--epochs", type=int, default=0, help="train for so long (default: not at all)")
    given = parser.parse_args()
    write_data(given.folder, coco=given.coco)
    if given.epochs:
        train(given.folder, epochs=given.epochs)
    data = f"--task-arg data={given.folder}/data.yaml --task-arg size={SIZE}"
    print(f"autocompress search ultralytics:{given.folder}/shapes.pt {data}")


if __name__ == "__main__":
    main()
