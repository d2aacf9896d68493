"""JSON files as COCO's, for each split or one that is split."""

import json
from pathlib import Path
from typing import Any

import pytest
from autocompress.errors import TaskError
from autocompress.tasks.sources.detection.annotations import Box
from autocompress.tasks.sources.detection.coco_format import coco_annotations

BOX = Box(label=1, x=0.5, y=0.5, width=0.5, height=0.5)


def described(count: int = 2, **changed: Any) -> dict[str, Any]:
    """Images of 40 × 20 pixels; the first has an object of the second category, and a crowd of it."""
    annotation = {"id": 7, "image_id": 1, "category_id": 9, "bbox": [10, 5, 20, 10], "iscrowd": 0}
    return {
        "images": [{"id": n + 1, "file_name": f"{n}.jpg", "width": 40, "height": 20} for n in range(count)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [annotation, {**annotation, "iscrowd": 1}],
        **changed,
    }


def write(file: Path, content: object, images: Path, count: int = 2) -> None:
    for folder in (file.parent, images):
        folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    for number in range(count):
        (images / f"{number}.jpg").touch()


LAYOUTS = {
    "COCO": ("annotations/instances_{}2017.json", "{}2017", ("train", "val")),
    "Roboflow": ("{}/_annotations.coco.json", "{}", ("train", "valid", "test")),
    "beside": ("{}.json", "images/{}", ("train", "validation", "test")),
    "ours": ("annotations/{}.json", "images/{}", ("train", "val", "test")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_in_use_are_read(tmp_path: Path, layout: str) -> None:
    file, images, splits = LAYOUTS[layout]
    for split in splits:
        write(tmp_path / file.format(split), described(), tmp_path / images.format(split))
    read = coco_annotations(tmp_path, None, 0)
    first = read.splits[0][0]
    assert read.names == ("cat", "dog") and first.boxes == (BOX,) and not read.splits[0][1].boxes
    assert first.path == tmp_path / images.format("train") / "0.jpg"
    assert [len(split) for split in read.splits] == ([2, 2, 2] if "test" in splits else [2, 1, 1])


def test_one_file_is_split(tmp_path: Path) -> None:
    write(tmp_path / "all.json", described(20), tmp_path / "pictures", 20)
    read = coco_annotations(tmp_path / "all.json", tmp_path / "pictures", 0)
    assert [len(split) for split in read.splits] == [12, 4, 4]
    assert len({one.path for split in read.splits for one in split}) == 20


ANNOTATION = {"id": 7, "image_id": 1, "category_id": 9, "bbox": [10, 5, 20, 10]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": None}, "no list of 'annotations'"),
        ({"categories": []}, "has no categories"),
        ({"annotations": [{**ANNOTATION, "category_id": 5}]}, "annotation 7, is of an image or a category"),
        ({"annotations": [{**ANNOTATION, "bbox": [1, 2, 3]}]}, "no bbox of four numbers"),
        ({"annotations": [{**ANNOTATION, "bbox": [50, 2, 3, 3]}]}, "without an area in the image"),
        ({"annotations": [{**ANNOTATION, "image_id": "1"}]}, "whose image_id is '1'"),
        ({"images": [{"id": 1, "file_name": "0.jpg"}]}, "whose width is 'None'"),
        ({"images": [{"id": 1, "width": 40, "height": 20}]}, "without file_name"),
    ],
)
def test_a_wrong_entry_is_one_sentence(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write(tmp_path / "all.json", described(20, **changed), tmp_path, 20)
    with pytest.raises(TaskError, match=message):
        coco_annotations(tmp_path / "all.json", None, 0)


def test_a_missing_image_says_which_argument_names_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "all.json", described(20), tmp_path, 19)
    with pytest.raises(TaskError, match=r"no image '19\.jpg'.*--task-arg images=DIR"):
        coco_annotations(tmp_path / "all.json", None, 0)


def test_a_missing_split_and_other_categories_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train.json", described(), tmp_path)
    with pytest.raises(TaskError, match="has no file for validation"):
        coco_annotations(tmp_path, None, 0)
    write(tmp_path / "val.json", described(categories=[{"id": 9, "name": "ox"}]), tmp_path)
    with pytest.raises(TaskError, match="other categories"):
        coco_annotations(tmp_path, None, 0)
