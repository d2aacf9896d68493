"""`drift`: what moved is found, what did not is left alone, and logs are read strictly."""

import json
from pathlib import Path

import numpy as np
import pytest
from autocompress.cli.commands import app
from autocompress.deploy.bundled import monitor
from autocompress.deploy.drift import logs
from autocompress.deploy.drift.distances import chance, ks, psi
from autocompress.deploy.drift.judge import drift_of
from autocompress.deploy.read_bundle import read_manifest
from autocompress.tests.deploy.drift.used import bundle_of, claim, normal, used
from autocompress.tests.deploy.strangers import require_sentence
from scipy import stats
from typer.testing import CliRunner, Result


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its latency claim is 1 s on this processor, so that no machine is too busy for it."""
    made = bundle_of(tmp_path_factory.mktemp("bundle"))
    claim(made, lambda value: value["environment"].update(cpu_model=monitor._cpu_model()))
    claim(made, lambda value: value["metrics"]["latency"].update(p50_s=1.0, p90_s=1.0, p99_s=1.0))
    return made


@pytest.fixture(scope="module")
def log(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of inputs as in calibration."""
    file = tmp_path_factory.mktemp("logs") / "log.jsonl"
    used(bundle, file)
    return file


def drift(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["drift", *map(str, arguments)])


def test_inputs_as_in_calibration_move_nothing(bundle, log):
    seen = drift(bundle, log)
    assert seen.exit_code == 0, seen.output
    assert seen.stdout.splitlines()[-1] == "What linear-cpu-trial-1 claims still holds."
    assert "inputs     as in calibration" in seen.stdout and "1,500 inferences" in seen.stdout


def shifted(random: np.random.Generator) -> np.ndarray:
    return normal(random) + np.array([[0, 0.7, 0, 0]], np.float32)


def wider(random: np.random.Generator) -> np.ndarray:
    return normal(random) * np.array([[1, 1, 3, 1]], np.float32)


def dark(random: np.random.Generator) -> np.ndarray:
    return normal(random) * np.array([[0, 1, 1, 1]], np.float32)


def rarely_far(random: np.random.Generator) -> np.ndarray:
    return normal(random) + np.float32(100 if random.random() < 0.05 else 0)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (shifted, "x, channel 1 moved"),
        (wider, "x, channel 2 moved"),
        (dark, "x, channel 0 moved"),
        (rarely_far, "of the values are beyond what calibration saw"),
    ],
    ids=["shifted", "wider", "constant", "beyond"],
)
def test_inputs_that_moved_are_found_and_the_metric_no_longer_holds(bundle, tmp_path, inputs, words):
    used(bundle, tmp_path / "log.jsonl", inputs)
    seen = drift(bundle, tmp_path)
    assert seen.exit_code == 4 and words in seen.stdout, seen.output
    assert seen.stdout.splitlines()[-1] == "What linear-cpu-trial-1 claims no longer holds: accuracy."


def test_only_what_was_logged_since_a_time_counts(bundle, log, tmp_path):
    used(bundle, tmp_path / "log.jsonl", lambda random: normal(random) + 3)
    (tmp_path / "log.jsonl").write_text(at(tmp_path / "log.jsonl", 1e9) + at(log, 2e9))
    whole, later = drift(bundle, tmp_path), drift(bundle, tmp_path, "--since", "2030-01-01")
    assert (whole.exit_code, later.exit_code) == (4, 0), later.output
    assert "since 2030-01-01" in later.stdout and "1 earlier line left out" in later.stdout
    nothing = drift(bundle, tmp_path, "--since", "2099-01-01")
    assert nothing.exit_code == 2 and "All 2 lines" in nothing.output
    wrong = drift(bundle, tmp_path, "--since", "yesterday")
    assert wrong.exit_code == 2 and "such as 24h" in wrong.output


def at(log: Path, start: float) -> str:
    """The one line of a log as of another time."""
    return json.dumps(json.loads(log.read_text()) | {"start": start, "end": start + 60}) + "\n"


def test_the_page_says_what_moved_and_has_no_script(bundle, tmp_path):
    used(bundle, tmp_path / "log.jsonl", shifted)
    seen = drift(bundle, tmp_path / "log.jsonl", "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert seen.exit_code == 4 and seen.stdout.splitlines()[-1] == str(tmp_path / "page.html")
    assert "claims no longer holds: accuracy." in page and "<script" not in page
    assert page.index("input x, channel 1: PSI") < page.index("input x, channel 0: PSI")
    assert page.count("<svg") == 6 and page.count("<tr>") == 1 + 4 + 3 + 1


def test_classes_that_come_more_often_are_found(bundle, tmp_path):
    used(bundle, tmp_path / "log.jsonl", lambda random: np.abs(normal(random)))
    value = json.loads(drift(bundle, tmp_path, "--json").stdout)
    (classes,) = [one for one in value["comparisons"] if one["kind"] == "class"]
    assert classes["moved"] and classes["ks"] > 0.3 and value["broken"] == ["accuracy"]


def test_a_hundred_logs_of_the_same_distribution_give_no_false_alarm(bundle):
    manifest = read_manifest(bundle)
    assert not isinstance(manifest.statistics, str)
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        observed = logs.Observed(calls=10, looks=int(random.integers(100, 3000)))
        values = random.standard_normal((observed.looks, 4))
        channels = manifest.statistics.inputs[0].channels
        observed.inputs["x"] = [
            np.histogram(values[:, index], [-np.inf, *channel.edges, np.inf])[0]
            for index, channel in enumerate(channels)
        ]
        alarms += len(_drift(manifest, observed).moved)
    assert alarms == 0


def test_pixels_of_few_images_are_no_more_than_these_images(bundle, tmp_path):
    """256 values of each of 20 samples are 20 samples: too few to say anything."""
    used(bundle, tmp_path / "log.jsonl", shifted, count=20)
    seen = drift(bundle, tmp_path)
    assert seen.exit_code == 0 and "20 of the inferences were looked at, 100 are needed" in seen.stdout


def _drift(manifest, observed):
    from autocompress.deploy.drift.judge import Drift, _comparisons

    made = tuple(_comparisons(manifest, observed))
    return Drift(manifest=manifest, observed=observed, comparisons=made, latency=None, not_compared=None)


def test_a_latency_above_the_claim_or_the_limit_is_found(bundle, log, tmp_path):
    slow = bundle_of(tmp_path)
    claim(slow, lambda value: value["environment"].update(cpu_model=monitor._cpu_model()))
    claim(slow, lambda value: value["metrics"]["latency"].update(p50_s=1e-9))
    used(slow, tmp_path / "log.jsonl", count=200)
    assert drift_of(slow, [tmp_path / "log.jsonl"]).broken == ("latency",)
    limited = drift(bundle, log, "--max-latency", "1ns")
    assert limited.exit_code == 4 and "p99 is above the limit of" in limited.stdout
    assert drift(bundle, log, "--max-latency", "1000s").exit_code == 0


def test_the_latency_of_another_processor_is_not_compared(tmp_path):
    made = bundle_of(tmp_path)
    used(made, tmp_path / "log.jsonl", count=150)
    seen = drift_of(made, [tmp_path / "log.jsonl"])
    assert seen.latency is not None and not seen.latency.slower
    assert "was measured on Xeon, and used on" in (seen.latency.not_compared or "")


def test_a_bundle_without_statistics_is_read_and_says_so(tmp_path):
    made = bundle_of(tmp_path, statistics=False)
    used(made, tmp_path / "log.jsonl", count=120)
    seen = drift(made, tmp_path / "log.jsonl")
    assert seen.exit_code == 0 and "the manifest has no statistics of samples" in seen.stdout
    assert "Not compared" in seen.stdout or "Nothing that" in seen.stdout


def test_manifests_of_earlier_versions_are_read(bundle, tmp_path):
    made = bundle_of(tmp_path)

    def older(value):
        value["schema_version"] = 2
        del value["statistics"]

    claim(made, older)
    assert "wrote none" in str(read_manifest(made).statistics)
    assert used(made, tmp_path / "log.jsonl", count=5)[0]["inputs"] == {}


def test_older_logs_of_a_folder_count_and_a_cut_line_is_left_out(bundle, log, tmp_path):
    (tmp_path / "log.jsonl.1").write_text(log.read_text())
    (tmp_path / "log.jsonl").write_text(log.read_text() + log.read_text()[:100])
    value = json.loads(drift(bundle, tmp_path, "--json").stdout)
    assert (value["calls"], value["lines"], value["torn_lines"]) == (3000, 2, 1)


def changed(log: Path, **changes: object) -> str:
    return json.dumps(json.loads(log.read_text()) | changes) + "\n"


def test_of_a_folder_the_logs_of_other_models_are_left_out(bundle, log, tmp_path):
    (tmp_path / "now.jsonl").write_bytes(log.read_bytes())
    (tmp_path / "before.jsonl").write_text(changed(log, model="0" * 64))
    seen = drift(bundle, tmp_path)
    assert seen.exit_code == 0 and "1,500 inferences" in seen.stdout
    assert "1 log of other models left out" in seen.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "0" * 64}, "it is of another model than the bundle's"),
        ({"schema_version": 2}, "schema_version is 2"),
        ({"calls": -1}, "calls is -1"),
        ({"inputs": {"x": [[1]]}}, "another number of channels"),
        ({"inputs": {"x": [[1] * 22] * 3 + [[1] * 21 + [1 << 60]]}}, "must be 22 whole numbers"),
        ({"top": {"y": [1, 2]}}, "top.y must be 3 whole numbers"),
        ({"latency_s": {"p50": 1, "p90": 1, "p99": 1, "max": 1, "bins": [[10**9, 1]]}}, "latency_s.bins"),
        ({"start": "\x1b[2J"}, "start is"),
        ({"more": 1}, "more is unknown"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_line_that_does_not_fit_is_refused_in_a_sentence(bundle, log, tmp_path, changes, words):
    (tmp_path / "log.jsonl").write_text(changed(log, **changes))
    require_sentence(drift(bundle, tmp_path / "log.jsonl"), "line 1", words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "There is no inference"),
        (b"\x00\x01", "no line of a monitor"),
        (b"[1]\n", "no line of a monitor"),
    ],
)
def test_a_file_that_is_no_log_is_refused(bundle, tmp_path, content, words):
    (tmp_path / "log.jsonl").write_bytes(content)
    require_sentence(drift(bundle, tmp_path / "log.jsonl"), words)


def test_distances_are_those_of_scipy_and_the_definition():
    calibrated, used_ = np.array([0.1, 0.4, 0.5]), np.array([0.3, 0.3, 0.4])
    expected = 0.2 * np.log(3) - 0.1 * np.log(0.75) - 0.1 * np.log(0.8)
    assert psi(calibrated, used_, samples=1000) == pytest.approx(expected)
    draws = [np.random.default_rng(seed).choice(3, 4000, p=p) for seed, p in enumerate((calibrated, used_))]
    assert ks(calibrated, used_) == pytest.approx(stats.ks_2samp(*draws).statistic, abs=0.04)
    assert chance(calibrated, calibrated, samples=(500, 500)) == pytest.approx(1)
    assert chance(calibrated, used_, samples=(500, 500)) < 1e-6
    assert chance(calibrated, used_, samples=(8, 8)) == 1
