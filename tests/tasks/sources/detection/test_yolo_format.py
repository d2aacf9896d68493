"""data.yaml with folders of images and labels, as ultralytics reads it."""

from pathlib import Path

import pytest
import yaml
from autocompress.errors import TaskError
from autocompress.tasks.sources.detection.annotations import AnnotatedImage, Box
from autocompress.tasks.sources.detection.yolo_format import yolo_annotations
from PIL import Image


def image(path: Path, labels: str | None = None, folder: str = "labels") -> Path:
    """An image of 40 × 20 pixels, and its file of labels where ultralytics looks for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path)
    if labels is not None:
        beside = Path(str(path).replace("/images/", f"/{folder}/")).with_suffix(".txt")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(labels)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images in each split, one of them without objects."""
    for split in ("train", "val", "test"):
        image(tmp_path / f"images/{split}/0.jpg", "1 0.5 0.5 0.25 0.5\n")
        image(tmp_path / f"images/{split}/1.png")
    describe(tmp_path)
    return tmp_path


def describe(root: Path, **changed: object) -> Path:
    """data.yaml with other entries; None leaves one out."""
    splits = {split: f"images/{split}" for split in ("train", "val", "test")}
    described = {**splits, "names": ["cat", "dog"], **changed}
    given = {key: value for key, value in described.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(given))
    return root / "data.yaml"


def test_images_have_the_objects_of_their_label_files(root: Path) -> None:
    read = yolo_annotations(root / "data.yaml", 0)
    box = Box(label=1, x=0.5, y=0.5, width=0.25, height=0.5)
    assert read.names == ("cat", "dog")
    assert read.splits[1] == [
        AnnotatedImage(path=root / "images/val/0.jpg", boxes=(box,)),
        AnnotatedImage(path=root / "images/val/1.png", boxes=()),
    ]


def test_a_polygon_is_its_box_and_a_box_is_cut_to_the_image(root: Path) -> None:
    image(root / "images/train/0.jpg", "0 0.1 0.2 0.5 0.2 0.3 0.6\n1 0.0 0.5 0.4 0.5\n")
    polygon, cut = yolo_annotations(root / "data.yaml", 0).splits[0][0].boxes
    assert (polygon.x, polygon.y, polygon.width, polygon.height) == pytest.approx((0.3, 0.4, 0.4, 0.4))
    assert (cut.x, cut.width) == pytest.approx((0.1, 0.2))


def test_without_a_test_split_half_of_val_is_for_it(root: Path) -> None:
    train, validation, test = yolo_annotations(describe(root, test=None), 0).splits
    assert len(train) == 2 and len(validation) == len(test) == 1
    assert {one.path.name for one in (*validation, *test)} == {"0.jpg", "1.png"}


@pytest.mark.parametrize(
    "changed",
    [
        {"path": ".", "names": {0: "cat", 1: "dog"}},
        {"train": "../images/train"},  # as Roboflow writes it
        {"train": ["images/train"], "download": "https://example.org/data.zip"},
        {"path": "elsewhere"},
    ],
    ids=["names by number", "Roboflow", "a list", "a path that is not here"],
)
def test_the_forms_in_use_are_read(root: Path, changed: dict[str, object]) -> None:
    read = yolo_annotations(describe(root, **changed), 0)
    assert read.names == ("cat", "dog") and [len(split) for split in read.splits] == [2, 2, 2]


def test_a_list_of_images_is_read_from_its_own_folder_on(root: Path) -> None:
    (root / "val.txt").write_text("./images/val/0.jpg\n\n")
    (only,) = yolo_annotations(describe(root, val="val.txt"), 0).splits[1]
    assert only.path.samefile(root / "images/val/0.jpg") and len(only.boxes) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val": None}, "has no 'val'"),
        ({"names": None}, "has no 'names'"),
        ({"names": {1: "cat", 2: "dog"}}, "not numbered 0 to 1"),
        ({"names": "cat"}, "names is no list"),
        ({"train": "nowhere"}, "there is no train 'nowhere'"),
        ({"train": "labels/train"}, "has no images"),
    ],
)
def test_a_wrong_description_is_one_sentence(root: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        yolo_annotations(describe(root, **changed), 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", r"line 1, has the class 2, but the names are those of 0 to 1"),
        ("\n0.5 0.5 0.5 0.1 0.1", "line 2, has no whole number as its class"),
        ("0 0.5 0.5 0.1", "3 numbers behind the class"),
        ("0 0.5 0.5 0 0.1", "a box without an area in the image"),
        ("0 nan 0.5 0.1 0.1", "no finite numbers"),
        ("cat 0.5 0.5 0.1 0.1", "is no list of numbers"),
    ],
)
def test_a_wrong_label_is_named_with_its_line(root: Path, labels: str, message: str) -> None:
    image(root / "images/train/0.jpg", labels)
    with pytest.raises(TaskError, match=message):
        yolo_annotations(root / "data.yaml", 0)


@pytest.mark.parametrize("content", ["[1, 2", "- a", "!!python/object/apply:os.system ['touch ran']"])
def test_what_is_no_description_is_refused_and_runs_nothing(
    root: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    (root / "data.yaml").write_text(content)
    with pytest.raises(TaskError, match=r"cannot be read as YAML|describes no data"):
        yolo_annotations(root / "data.yaml", 0)
    assert not (root / "ran").exists()
