"""The distance of answers: 0 only for equal ones, in units of the output, weighted like the task's loss."""

import pytest
import torch
import torch.nn.functional as F
from autocompress.compress.student.distance import Distance
from autocompress.tasks import boxes, classes, custom, embeddings, independent, values

torch.manual_seed(0)
ANSWERS = torch.randn(32, 6)


def per_sample(outputs, expected):
    return (outputs - expected).abs().flatten(1).sum(1)


KINDS = {
    "classes": classes(),
    "probabilities": classes(probabilities=True),
    "independent": independent(),
    "independent probabilities": independent(probabilities=True),
    "values": values(),
    "boxes": boxes(coordinates=4),
    "boxes and probabilities": boxes(coordinates=4, probabilities=True),
    "embeddings": embeddings(),
    "custom": custom(per_sample),
}


def answers_of(name):
    if name == "probabilities":
        return ANSWERS.softmax(1)
    if name == "boxes and probabilities":
        return torch.cat([ANSWERS[:, :4], ANSWERS[:, 4:].sigmoid()], dim=1)
    return ANSWERS.sigmoid() if name == "independent probabilities" else ANSWERS


@pytest.mark.parametrize("name", KINDS)
def test_only_equal_answers_have_no_distance(name):
    answers = answers_of(name)
    distance = Distance.of((KINDS[name],), answers)
    assert distance.value(answers, answers) == pytest.approx(0, abs=1e-6)
    for entry in range(6):
        other = answers.clone()
        other[:, entry] *= 0.5
        assert distance.value(other, answers) > 1e-4, entry


def test_values_that_are_shifted_are_apart():
    distance = Distance.of((values(),), ANSWERS)
    assert distance.value(ANSWERS + 100, ANSWERS) == pytest.approx(100**2 / float(ANSWERS.var(correction=0)))


def test_a_shift_of_one_word_at_all_times_is_a_distance():
    tokens = torch.randn(8, 16, 50)
    ruined = tokens + 5 * torch.randn(1, 1, 50)
    expected = F.kl_div(
        ruined.log_softmax(-1), tokens.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    distance = Distance.of((classes(dim=2),), tokens)
    assert distance.value(ruined, tokens) == pytest.approx(float(expected.mean()), rel=1e-4)


def test_more_pixels_do_not_count_more():
    image = torch.randn(2, 5, 8, 8)
    larger, distance = image.repeat(1, 1, 3, 3), Distance.of((classes(),), image)
    changed = image + 0.3 * torch.randn_like(image)
    expected = distance.value(changed, image)
    assert distance.value(changed.repeat(1, 1, 3, 3), larger) == pytest.approx(expected, rel=1e-4)


def test_outputs_of_other_units_count_alike():
    answers = (ANSWERS, 1000 * ANSWERS)
    distance = Distance.of((values(), values()), answers)
    first = distance.value((1.1 * ANSWERS, 1000 * ANSWERS), answers)
    second = distance.value((ANSWERS, 1100 * ANSWERS), answers)
    assert first == pytest.approx(second, rel=1e-3)


def weight_of(kind, answers, loss, targets):
    (one,) = Distance.of((kind,), answers).weighted(loss, answers, targets).outputs
    return one.weight


def test_the_distance_of_classes_weighs_what_a_cross_entropy_weighs():
    labels = torch.randint(0, 6, (32,))
    assert weight_of(classes(), ANSWERS, F.cross_entropy, labels) == pytest.approx(1, rel=0.05)


def test_a_squared_error_weighs_as_much_as_its_units():
    far = 1000 * ANSWERS
    assert weight_of(values(), far, F.mse_loss, far) == pytest.approx(float(far.var(correction=0)), rel=1e-3)


def test_a_sum_over_pixels_weighs_as_many_pixels():
    image, labels = torch.randn(4, 5, 6, 6), torch.randint(0, 5, (4, 6, 6))

    def total(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="sum") / len(outputs)

    assert weight_of(classes(), image, total, labels) == pytest.approx(36, rel=0.05)


def test_an_output_that_the_loss_does_not_read_weighs_like_the_others():
    answers, labels = (ANSWERS, ANSWERS), torch.randint(0, 6, (32,))
    distance = Distance.of((classes(), values()), answers)
    weighted = distance.weighted(lambda o, t: 3 * F.cross_entropy(o[0], t), answers, labels)
    first, second = (one.weight for one in weighted.outputs)
    assert first == second == pytest.approx(3, rel=0.05)


def test_the_temperature_ends_where_the_teacher_is_unsure():
    sure, unsure = 20 * F.one_hot(torch.arange(10), 10).float(), torch.randn(10, 10)
    hottest = [Distance.of((classes(),), answers).outputs[0].hottest for answers in (sure, unsure)]
    assert hottest[0] > 4 and hottest[1] == 1


def test_hard_samples_count_more():
    answers = torch.tensor([[0.1, 0.0, 0.0], [3.0, 0.0, 0.0]])
    distance, outputs = Distance.of((classes(),), answers), torch.zeros(2, 3)
    plain, hard = (
        float(distance.loss(outputs, answers, temperature=1.0, hardness=hardness)) for hardness in (0.0, 1.0)
    )
    largest = float(distance.loss(outputs[1:], answers[1:], temperature=1.0))
    assert plain < hard <= largest * 1.001


def detector(probabilities):
    """Answers at 2 × 5 positions of which only the first of each sample sees something."""
    answers = torch.rand(2, 4 + 3, 5) * 50
    answers[:, 4:] = -8
    answers[:, 5, 0] = 3
    answers[:, 4:] = answers[:, 4:].sigmoid() if probabilities else answers[:, 4:]
    return answers


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_box_counts_where_there_is_an_object(probabilities):
    answers = detector(probabilities)
    distance = Distance.of((boxes(scale=1.0, probabilities=probabilities),), answers)
    here, elsewhere = answers.clone(), answers.clone()
    here[:, :4, 0] += 1
    elsewhere[:, :4, 1:] += 1
    assert distance.value(here, answers) == pytest.approx(0.95, abs=0.01)  # the probability of the object
    assert 0 < distance.value(elsewhere, answers) < 0.01


def test_a_loss_of_boxes_and_probabilities_weighs_what_it_adds_up():
    answers = detector(probabilities=True)
    kind, seen = boxes(scale=1.0, probabilities=True), answers[:, 4:].clone()
    there = seen.amax(1, keepdim=True)

    def loss(outputs, targets):
        places = ((outputs[:, :4] - targets[:, :4]).square().mean(1, keepdim=True) * there).sum((1, 2))
        scores = F.binary_cross_entropy(outputs[:, 4:], seen, reduction="none").sum((1, 2))
        return (3 * (places + scores)).mean()

    assert weight_of(kind, answers, loss, answers) == pytest.approx(3, rel=0.05)
