"""The latency table keeps what was measured on a device, shares it between processes, and starts again when
damaged.
"""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autocompress.profiles.latency_table import MOST_OBSERVATIONS, Coefficient, LatencyTable, Observation
from autocompress.profiles.regression import Posterior, PredictionError, Prior, kendall_tau
from autocompress.tests.profiles.records import ENVIRONMENT

OTHER = replace(ENVIRONMENT, cpu_model="another")


def table_in(folder) -> LatencyTable:
    return LatencyTable.of_device(folder, profile_fingerprint="p", environment=ENVIRONMENT)


def path_of(table: LatencyTable) -> Path:
    assert table.path is not None
    return table.path


def test_what_is_observed_is_there_for_the_next_run(tmp_path):
    seen = table_in(tmp_path).observe("model", {"keep": {}}, 0.5, 0.01)
    assert table_in(tmp_path).observations("model") == (seen,)
    assert table_in(tmp_path).observations("another model") == ()


def test_another_device_has_a_table_of_its_own(tmp_path):
    table_in(tmp_path).observe("model", {}, 0.5, 0.01)
    other = LatencyTable.of_device(tmp_path, profile_fingerprint="p", environment=OTHER)
    assert other.observations("model") == ()


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    tables = [table_in(tmp_path) for _ in range(4)]

    def observe(table: LatencyTable, number: int) -> None:
        for index in range(10):
            table.observe("model", [number, index], 0.5, 0.01)

    threads = [threading.Thread(target=observe, args=(table, number)) for number, table in enumerate(tables)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(item.candidate) for item in table_in(tmp_path).observations("model")}) == 40


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{", id="no-json"),
        pytest.param("[]", id="no-object"),
        pytest.param('{"schema_version": 99, "structures": {}}', id="other-version"),
        pytest.param(
            '{"schema_version": 1, "structures": {"m": {"observations": [{"ratio": -1}]}}}',
            id="bad-observation",
        ),
    ],
)
def test_a_damaged_file_is_started_again_with_a_note(tmp_path, content):
    path = path_of(table_in(tmp_path))
    path.write_text(content)
    table = table_in(tmp_path)
    assert "is started again" in table.note and table.observations("model") == ()
    table.observe("model", {}, 0.5, 0.01)
    assert json.loads(path.read_text())["structures"]["model"]["observations"][0]["ratio"] == 0.5


def test_a_changed_number_is_noticed(tmp_path):
    path = path_of(table_in(tmp_path))
    table_in(tmp_path).observe("model", {}, 0.5, 0.01)
    path.write_text(path.read_text().replace("0.5", "0.7"))
    assert "its digest does not match" in table_in(tmp_path).note
    assert not LatencyTable.of_profile(tmp_path, profile_fingerprint="p")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"schema_version": ' + "9" * 5000 + "}"])
def test_a_table_of_absurd_content_is_started_again(tmp_path, content):
    path_of(table_in(tmp_path)).write_text(content)
    assert "is started again" in table_in(tmp_path).note
    assert not LatencyTable.of_profile(tmp_path, profile_fingerprint="p")


def test_a_table_that_cannot_be_written_serves_this_process(tmp_path):
    (tmp_path / "file").write_text("")
    table = table_in(tmp_path / "file")
    table.observe("model", {}, 0.5, 0.01)
    assert len(table.observations("model")) == 1 and "cannot be kept" in table.note
    assert table.describe() == "1 measurement of 1 model in memory only"


def test_the_oldest_observations_go_first(tmp_path):
    table = table_in(tmp_path)
    content = [
        {"candidate": index, "ratio": 0.5, "half_width": 0.0, "at": float(index)}
        for index in range(MOST_OBSERVATIONS)
    ]
    structures = {"model": {"observations": content, "coefficients": {}}}
    path_of(table).write_text(json.dumps({"schema_version": 1, "structures": structures}))
    table.observe("model", "new", 0.5, 0.01)
    kept = table_in(tmp_path).observations("model")
    assert len(kept) == MOST_OBSERVATIONS and kept[0].candidate == 1 and kept[-1].candidate == "new"


def test_another_model_is_told_what_the_device_costs(tmp_path):
    told = {"int8 conv macs": Coefficient(mean=0.1, deviation=0.01)}
    table_in(tmp_path).tell("model", told)
    assert table_in(tmp_path).coefficients("another") == told
    assert table_in(tmp_path).coefficients("model") is None


@pytest.mark.parametrize(
    ("ratio", "half_width"), [(0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1.0, -0.1), (1.0, float("inf"))]
)
def test_an_observation_is_a_positive_finite_ratio(ratio, half_width):
    with pytest.raises(ValueError, match="A ratio is positive"):
        Observation(candidate={}, ratio=ratio, half_width=half_width, at=0.0)


def test_the_regression_recovers_the_truth_and_knows_how_sure_it_is():
    rng = np.random.default_rng(0)
    truth, features = rng.normal(size=8), rng.normal(size=(60, 8))
    prior = Prior(mean=np.zeros(8), variance=np.ones(8))
    values = features @ truth + 0.01 * rng.normal(size=60)
    posterior = Posterior.of(prior, features, values, np.full(60, 0.01))
    assert np.allclose(posterior.weights, truth, atol=0.02)
    fresh = rng.normal(size=(200, 8))
    predicted, deviation = posterior.predict(fresh)
    assert 0.5 < np.mean(np.abs(predicted - fresh @ truth) < deviation) < 0.9
    assert (posterior.deviation() < 0.01).all()


def test_the_regression_equals_the_primal_solution():
    rng = np.random.default_rng(1)
    prior = Prior(mean=rng.normal(size=5), variance=rng.uniform(0.5, 2, size=5))
    features, values, noise = rng.normal(size=(7, 5)), rng.normal(size=7), rng.uniform(0.1, 1, size=7)
    precision = np.diag(1 / prior.variance) + features.T @ np.diag(noise**-2) @ features
    expected = np.linalg.solve(precision, prior.mean / prior.variance + features.T @ (values / noise**2))
    posterior = Posterior.of(prior, features, values, noise)
    assert np.allclose(posterior.weights, expected)
    assert np.allclose(posterior.deviation() ** 2, np.diag(np.linalg.inv(precision)))


def test_without_observations_the_prior_is_the_answer():
    prior = Prior(mean=np.array([1.0, 2.0]), variance=np.array([0.25, 0.0]))
    posterior = Posterior.of(prior, np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    mean, deviation = posterior.predict(np.array([[1.0, 1.0]]))
    assert mean == pytest.approx([3.0]) and deviation == pytest.approx([0.5])


def test_kendalls_tau_equals_scipys():
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 6, size=(2, 40))
    assert kendall_tau(left, right) == pytest.approx(kendalltau(left, right).statistic)
    assert kendall_tau([1, 1], [1, 2]) is None


def test_the_prediction_error_is_told_for_people():
    error = PredictionError.of([1.1, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert str(error) == "Kendall tau 1.000, median error 10.0 %, 90 % within 22.0 % (3 candidates)"
    assert str(PredictionError.of([], [])) == "not known yet"


def test_the_tables_of_a_profile_are_found_without_its_devices(tmp_path):
    table_in(tmp_path).observe("model", {}, 0.5, 0.01, reference_s=2e-3)
    LatencyTable.of_device(tmp_path, profile_fingerprint="another", environment=ENVIRONMENT).observe(
        "model", {}, 0.9, 0.01
    )
    (tmp_path / "damaged.json").write_text("{")
    (found,) = LatencyTable.of_profile(tmp_path, profile_fingerprint="p")
    assert found.device["environment"]["cpu_model"] == ENVIRONMENT.cpu_model
    assert [item.reference_s for item in found.observations("model")] == [2e-3]


def test_what_a_copy_observes_never_reaches_the_device(tmp_path):
    table_in(tmp_path).observe("model", {}, 0.5, 0.01)
    copy = table_in(tmp_path).copy()
    copy.observe("model", {"keep": {}}, 0.1, 0.01)
    assert len(copy.observations("model")) == 2
    assert len(table_in(tmp_path).observations("model")) == 1
