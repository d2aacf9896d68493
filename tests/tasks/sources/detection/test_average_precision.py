"""mAP from raw outputs, against curves that were computed by hand."""

import numpy as np
import pytest
import torch
from autocompress.tasks.metrics.accumulate import prepared
from autocompress.tasks.quality import score
from autocompress.tasks.sources.detection.average_precision import METRICS, matched_boxes
from autocompress.tasks.sources.detection.geometry import kept_boxes, overlaps
from torch import Tensor

MAP, MAP50 = METRICS["map"], METRICS["map50"]


def answer(*boxes: tuple[float, ...], classes: int = 2) -> Tensor:
    """1 × (4 + classes) × positions: boxes of (class, center x, center y, width, height, probability)."""
    output = torch.zeros(4 + classes, max(1, len(boxes)))
    for position, (label, x, y, width, height, probability) in enumerate(boxes):
        output[:4, position] = torch.tensor((x, y, width, height))
        output[4 + int(label), position] = probability
    return output[None]


def objects(*rows: tuple[float, ...]) -> Tensor:
    """1 × 4 × 5, the rows that are left over without an object."""
    table = torch.full((1, 4, 5), -1.0)
    for index, row in enumerate(rows):
        table[0, index] = torch.tensor(row)
    return table


FIRST, SECOND, OTHER = (0, 20, 20, 10, 10), (0, 60, 60, 20, 20), (1, 20, 60, 10, 20)


def test_right_boxes_are_1_and_none_are_0():
    wanted = objects(FIRST, SECOND, OTHER)
    right = answer((*FIRST, 0.9), (*SECOND, 0.8), (*OTHER, 0.7))
    assert score(MAP, [right], wanted) == pytest.approx(1) and score(MAP, [answer()], wanted) == 0


def test_a_false_box_between_two_right_ones_costs_a_sixth():
    false = (0, 80, 20, 10, 10, 0.8)
    given = answer((*FIRST, 0.9), false, (*SECOND, 0.7))
    value = score(MAP, [given], objects(FIRST, SECOND))
    assert value == pytest.approx(0.5 + 0.5 * 2 / 3, abs=0.005)  # precision 1 up to recall 0.5, then 2 / 3


def test_a_box_of_another_class_is_no_hit():
    assert score(MAP, [answer((1, *FIRST[1:], 0.9))], objects(FIRST)) == 0


def test_an_object_is_hit_once():
    near = (0, 24, 20, 10, 10, 0.8)  # overlaps by 6 / 14
    once = score(MAP50, [answer((*FIRST, 0.9), near)], objects(FIRST, SECOND))
    assert once == pytest.approx(0.5, abs=0.01)


def test_a_loose_box_counts_at_the_overlaps_that_it_has():
    loose = (0, 20, 20, 10, 12.9, 0.9)  # overlap 0.775: 6 of 10
    assert score(MAP, [answer(loose)], objects(FIRST)) == pytest.approx(0.6, abs=0.001)
    assert score(MAP50, [answer(loose)], objects(FIRST)) == pytest.approx(1)


def test_boxes_that_overlap_are_suppressed_within_their_class():
    double = (0, 20.5, 20, 10, 10, 0.8)
    of_both = (1, 20, 20, 10, 10, 0.7)
    boxes, scores, classes = kept_boxes(answer((*FIRST, 0.9), double, of_both)[0].numpy())
    assert scores == pytest.approx([0.9, 0.7]) and classes.tolist() == [0, 1]
    assert boxes[0] == pytest.approx([15, 15, 25, 25])


def naive(outputs: Tensor, wanted: Tensor, overlap: float) -> float:
    """The mean over classes of the average precision at one overlap, one step after the other."""
    results = []
    for label in sorted({int(one) for one in wanted[..., 0].flatten() if one >= 0}):
        found = []
        for image, output in enumerate(outputs):
            boxes, scores, classes = kept_boxes(output.numpy())
            free = [row[1:] for row in wanted[image].tolist() if row[0] == label]
            for box, probability in zip(boxes[classes == label], scores[classes == label], strict=True):
                x, y, w, h = np.array(free).reshape(-1, 4).T
                true = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
                shared = overlaps(box[None], true)[0]
                hit = len(free) > 0 and shared.max() >= overlap
                if hit:
                    del free[int(shared.argmax())]
                found.append((float(probability), hit))
        found.sort(key=lambda one: -one[0])
        count = int((wanted[..., 0] == label).sum())
        curve = []
        for number in range(1, len(found) + 1):
            right = sum(hit for _, hit in found[:number])
            curve.append((right / count, right / number))
        best = [max((p for r, p in curve if r >= level / 100 - 1e-12), default=0.0) for level in range(101)]
        results.append(float(np.mean(best)))
    return float(np.mean(results))


def test_random_answers_score_as_by_a_naive_count():
    torch.manual_seed(0)
    wanted = torch.cat([torch.randint(0, 3, (6, 5, 1)).float(), torch.rand(6, 5, 4) * 30 + 10], dim=2)
    wanted[::2, 3:, 0] = -1
    near = wanted[..., 1:] + torch.randn(6, 5, 4) * 2
    outputs = torch.cat([near.repeat(1, 4, 1), torch.rand(6, 20, 3)], dim=2).transpose(1, 2)
    assert score(MAP50, [outputs], wanted) == pytest.approx(naive(outputs, wanted, 0.5))
    levels = [naive(outputs, wanted, level) for level in np.linspace(0.5, 0.95, 10)]
    assert score(MAP, [outputs], wanted) == pytest.approx(np.mean(levels))


def test_overlaps_are_those_of_pixels_that_are_counted():
    random = np.random.default_rng(0)
    low = random.integers(0, 20, (12, 2))
    boxes = np.concatenate([low, low + random.integers(1, 20, (12, 2))], axis=1)
    grids = np.zeros((12, 40, 40), bool)
    for grid, (left, top, right, bottom) in zip(grids, boxes, strict=True):
        grid[top:bottom, left:right] = True
    common = np.einsum("ixy,jxy->ij", grids.astype(int), grids.astype(int))
    union = (grids[:, None] | grids[None]).sum((2, 3))
    assert overlaps(boxes, boxes) == pytest.approx(common / union)


def test_classes_without_objects_do_not_count_and_without_any_there_is_no_number():
    false = answer((1, 80, 20, 10, 10, 0.99), (*FIRST, 0.9))
    assert score(MAP, [false], objects(FIRST)) == pytest.approx(1)
    assert np.isnan(score(MAP, [false], objects()))


def test_samples_are_prepared_on_their_own():
    first, second = answer((*FIRST, 0.9), (*OTHER, 0.4)), answer((*SECOND, 0.9), (*FIRST, 0.8))
    wanted = torch.cat([objects(FIRST), objects(SECOND, OTHER)])
    (both,) = prepared(MAP, [torch.cat([first, second])], wanted)
    alone = torch.cat([matched_boxes(first, wanted[:1]), matched_boxes(second, wanted[1:])])
    assert isinstance(both, Tensor) and both.shape == (2, 300, 12) and torch.equal(both, alone)
