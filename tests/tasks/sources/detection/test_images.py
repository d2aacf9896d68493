"""Images and their objects in a square of pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.tasks.sources.detection.annotations import AnnotatedImage, Box
from autocompress.tasks.sources.detection.geometry import letterboxed
from autocompress.tasks.sources.detection.images import GREY, ObjectImages, mirrored
from PIL import Image


@pytest.fixture
def annotated(tmp_path: Path) -> AnnotatedImage:
    """A black image of 40 × 20 pixels with a white object at (10, 4) to (20, 12)."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[4:12, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "0.png")
    box = Box(label=2, x=15 / 40, y=8 / 20, width=10 / 40, height=8 / 20)
    return AnnotatedImage(path=tmp_path / "0.png", boxes=(box,))


@pytest.mark.parametrize("size", [40, 80, 32])
def test_an_object_is_where_its_pixels_are(annotated: AnnotatedImage, size: int) -> None:
    image, ((label, x, y, width, height),) = ObjectImages([annotated], size=size)[0]
    assert (
        image.shape == (3, size, size) and float(image[0, 0, 0]) == pytest.approx(GREY / 255) and label == 2
    )
    rows, columns = torch.nonzero(image[0] > 0.9, as_tuple=True)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    assert [float(one) for one in found] == pytest.approx([float(one) for one in sides], abs=1)


def test_all_images_have_as_many_rows_as_the_one_with_most_objects(annotated: AnnotatedImage) -> None:
    empty = AnnotatedImage(path=annotated.path, boxes=())
    twice = AnnotatedImage(path=annotated.path, boxes=annotated.boxes * 2)
    tables = [ObjectImages([empty, twice], size=32)[index][1] for index in (0, 1)]
    assert [table.shape for table in tables] == [(2, 5)] * 2
    assert tables[0][:, 0].tolist() == [-1, -1] and tables[1][:, 0].tolist() == [2, 2]


def test_a_grey_image_and_one_with_an_alpha_channel_become_rgb() -> None:
    for mode in ("L", "RGBA", "P"):
        assert letterboxed(Image.new(mode, (8, 6)), 16, GREY).shape == (16, 16, 3)


def test_mirrored_images_have_mirrored_objects(annotated: AnnotatedImage) -> None:
    image, table = ObjectImages([annotated], size=40)[0]
    torch.manual_seed(0)
    images, objects = mirrored(image.expand(20, -1, -1, -1), table.expand(20, -1, -1))
    turned = (images == image.flip(2)).flatten(1).all(1)
    assert 0 < turned.sum() < 20
    assert torch.equal(objects[turned][0, 0, 1], 40 - table[0, 1])
    assert torch.equal(objects[~turned][0], table)
