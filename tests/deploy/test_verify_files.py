"""verify.json and verify-unfinished.json: read as they were written, older versions too; damage is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.deploy.unfinished import FILE, STORE, FileNow, TargetNow, Unfinished
from autocompress.errors import RunDirectoryError
from autocompress.files import seal
from autocompress.results.records.reading import Fields, Unfit
from autocompress.results.records.verification import (
    AwayTarget,
    TargetVerification,
    Verification,
    VerifiedPoint,
)
from autocompress.results.records.verification_versions import json_for_scripts, read_verification
from autocompress.results.run_directory import read_run, write_run, write_verification
from autocompress.tests.deploy.damage import damaged, text_of, without_nulls
from autocompress.tests.deploy.small_run import ENVIRONMENT, PREDICTION, latency, small_run
from typer.testing import CliRunner

MEASURED = VerifiedPoint(
    trial=1,
    label="uniform int8",
    earlier_s=0.5e-3,
    earlier_ratio=0.5,
    earlier_interval=(0.49, 0.51),
    earlier_quality=0.89,
    earlier_quality_interval=(0.88, 0.90),
    latency=latency(0.6),
    quality=0.87,
    breaks=("drop",),
    regressed=("slower than was measured", "loses quality"),
)
FAILED = replace(MEASURED, trial=2, label="trial 2", latency=None, quality=None, breaks=())
PREDICTED = replace(MEASURED, trial=3, label="trial 3", earlier_interval=None, regressed=())


def verification(*points: VerifiedPoint, away: bool = True) -> Verification:
    target = TargetVerification(
        at="2026-11-28T20:00:00Z",
        target="cpu",
        address="cpu",
        profile_fingerprint="c0" * 32,
        environment=ENVIRONMENT,
        earlier_target="cpu",
        prediction=PREDICTION if PREDICTED in points else None,
        batch=1,
        points=points,
        quality_not_verified=None,
    )
    missing = AwayTarget(name="edge", address="edge@me@board", reason="No route to host.")
    return Verification(at="2026-11-28T20:01:00Z", targets=(target,), away=(missing,) if away else ())


ALL = verification(MEASURED, FAILED, PREDICTED)


def value_of(record: Verification) -> dict:
    return json.loads(json.dumps(seal(record.to_json())))


def test_a_verification_is_read_as_it_was_written():
    assert read_verification(Fields(value_of(ALL))) == ALL


def test_what_scripts_get_is_version_2_of_the_file_and_read_again():
    value = json.loads(json.dumps(json_for_scripts(ALL)))
    assert value["schema_version"] == 2 and read_verification(Fields(value)) == ALL
    (target,) = value["targets"]
    assert (target["count"], target["regressed"], value["regressed"]) == (2, True, True)
    assert target["points"][0]["error"] == pytest.approx(0.5 / 0.6 - 1)


def test_version_1_of_the_file_knew_one_target():
    alone = verification(MEASURED, away=False)
    (target,) = json.loads(json.dumps(json_for_scripts(alone)))["targets"]
    read = read_verification(Fields({**target, "schema_version": 1}))
    assert read.targets == alone.targets and read.at == alone.targets[0].at


@pytest.mark.parametrize("change", [{"regressed": False}, {"regressed": 1}, {"extra": 1}])
def test_version_2_of_the_file_must_not_contradict_itself(change):
    value = json.loads(json.dumps(json_for_scripts(ALL))) | change
    with pytest.raises(Unfit):
        read_verification(Fields(value))


def test_a_newer_version_of_the_file_is_known_by_its_number_alone():
    read = read_verification(Fields({"schema_version": 4, "new": []}))
    assert read.unread_version == 4 and not read.targets


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_verify_json_is_one_sentence(seed, version, tmp_path):
    run = small_run(tmp_path)
    write_run(tmp_path, run)
    value = value_of(ALL) if version == 3 else json.loads(json.dumps(json_for_scripts(ALL)))
    value = damaged(value, seed=seed)
    if version == 3 and seed % 2:  # changed on purpose
        value = seal({key: inner for key, inner in value.items() if key != "digest"})
    (tmp_path / "verify.json").write_text(text_of(value))
    ended = CliRunner().invoke(app, ["front", str(tmp_path)])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    if ended.exit_code == 2:
        assert "verify.json: " in ended.output and "remove it" in ended.output
        return
    read = read_run(tmp_path).verification
    assert ended.exit_code == 0 and read is not None
    if read.unread_version is None:
        again = json_for_scripts(read) if version == 2 else seal(read.to_json())
        names = without_nulls(json.loads(json.dumps(again)))
        assert _without_errors(names) == _without_errors(without_nulls(value))


def _without_errors(value: dict) -> dict:
    """Without the numbers that version 2 derives and nobody reads, and what may be left out."""
    value.pop("digest", None), value.pop("skipped", None)
    for target in value["targets"]:
        for name in ("median_error", "p90_error", "kendall_tau"):
            target.pop(name, None)
        for point in target["points"]:
            point.pop("error", None)
    return value


# --- verify-unfinished.json


def test_an_interrupted_call_goes_on_with_what_it_has(tmp_path):
    unfinished = Unfinished.open(tmp_path, ["cpu cpu"])
    files = {"a" * 64: FileNow(latency=latency(0.5), quality=0.9), "b" * 64: FileNow(failure="build: no")}
    measured = TargetNow(key="k", environment=ENVIRONMENT, at="now", files=files)
    unfinished.keep("cpu", measured)
    again = Unfinished.open(tmp_path, ["cpu cpu"])
    assert again.target("cpu", "k", ENVIRONMENT) == measured
    assert again.complete("cpu", "k", files) == measured
    assert again.complete("cpu", "k", ["c" * 64]) is None and again.complete("cpu", "other", files) is None
    assert not again.target("cpu", "other", ENVIRONMENT).files
    assert not again.target("cpu", "k", replace(ENVIRONMENT, os="another")).files


@pytest.mark.parametrize("content", [None, '{"asked": ["cpu cpu"], "targets": {}}'], ids=["others", "older"])
def test_what_other_targets_or_an_older_format_left_is_removed(content, tmp_path):
    Unfinished.open(tmp_path, ["cpu cpu"]).keep("cpu", TargetNow(key="k", environment=ENVIRONMENT, at=""))
    (tmp_path / STORE).write_text("measurements that would answer for new ones")
    if content:
        (tmp_path / FILE).write_text(content)
    again = Unfinished.open(tmp_path, ["cpu cpu"] if content else ["cpu cpu", "cpu-2t cpu-2t"])
    assert again.complete("cpu", "k", []) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_unfinished_file_is_one_sentence(seed, tmp_path: Path):
    unfinished = Unfinished.open(tmp_path, ["cpu cpu"])
    files = {"a" * 64: FileNow(latency=latency(0.5), quality=0.9), "b" * 64: FileNow(failure="build: no")}
    unfinished.keep("cpu", TargetNow(key="k", environment=ENVIRONMENT, at="now", files=files))
    value = damaged(json.loads((tmp_path / FILE).read_text()), seed=seed)
    if seed % 2:  # changed on purpose
        value = seal({key: inner for key, inner in value.items() if key != "digest"})
    (tmp_path / FILE).write_text(text_of(value))
    try:
        read = Unfinished.open(tmp_path, ["cpu cpu"])
    except RunDirectoryError as error:
        assert f"{FILE}: " in str(error) and str(error).endswith("`verify` measures everything again.")
        return
    if (tmp_path / FILE).exists():
        measured = read.complete("cpu", "k", [])
        assert measured is None or without_nulls(json.loads(json.dumps(measured.to_json()))) == without_nulls(
            value["targets"]["cpu"]
        )


def test_a_damaged_verify_json_names_its_remedy(tmp_path):
    run = small_run(tmp_path)
    write_run(tmp_path, run)
    write_verification(tmp_path, ALL)
    text = (tmp_path / "verify.json").read_text()
    assert read_run(tmp_path).verification == ALL
    (tmp_path / "verify.json").write_text(text.replace('"batch": 1', '"batch": 2'))
    with pytest.raises(RunDirectoryError, match=r"verify\.json: is damaged: its digest .* remove it"):
        read_run(tmp_path)
