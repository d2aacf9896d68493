"""Bundles in a real MLflow, whose server is a file of SQLite."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
from autocompress.cli.commands import app
from autocompress.deploy.read_bundle import read_manifest
from autocompress.deploy.registry import push_bundle
from autocompress.errors import InputError
from autocompress.results.run_directory import read_run, write_run
from autocompress.tests.deploy.registry.bundles import made_bundle
from typer.testing import CliRunner

pytest.importorskip("mlflow", reason="install the extra mlflow: pip install 'autocompress[mlflow]'")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database of MLflow with its tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        client(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def server(tmp_path, monkeypatch, empty_database):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = client(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.create_experiment("autocompress", artifact_location=(tmp_path / "store").as_uri())
    return uri


def client(uri):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def test_a_pushed_bundle_is_a_version_with_a_run(server, tmp_path):
    bundle = made_bundle(tmp_path)
    pushed = push_bundle(bundle, "mlflow:digits", alias="champion", run=tmp_path / "run", tracking_uri=server)
    version = client(server).get_model_version_by_alias("digits", "champion")
    run = client(server).get_run(version.run_id)
    assert (pushed.version, pushed.new, int(version.version)) == (1, True, 1)
    assert version.tags["autocompress.digest"] == pushed.digest
    assert run.info.status == "FINISHED" and run.data.params["trial"] == "1"
    assert run.data.metrics["latency_ratio"] == 0.5
    assert {one.path for one in client(server).list_artifacts(run.info.run_id)} == {"bundle", "report.html"}


def test_the_bundle_comes_back_from_its_alias(server, tmp_path):
    bundle = made_bundle(tmp_path)
    push_bundle(bundle, "mlflow:digits", alias="champion", tracking_uri=server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.artifacts import download_artifacts

        back = download_artifacts(
            "models:/digits@champion", dst_path=str(tmp_path / "back"), tracking_uri=server
        )
    assert read_manifest(tmp_path / "back") == read_manifest(bundle) and back.startswith(
        str(tmp_path / "back")
    )


def test_the_same_bundle_twice_is_one_version_of_one_run(server, tmp_path):
    bundle = made_bundle(tmp_path)
    push_bundle(bundle, "mlflow:digits", tracking_uri=server)
    again = push_bundle(bundle, "mlflow:digits", alias="champion", tracking_uri=server)
    made = client(server)
    assert (again.version, again.new) == (1, False)
    assert len(made.search_model_versions("name = 'digits'")) == 1
    assert len(made.search_runs([made.get_experiment_by_name("autocompress").experiment_id])) == 1
    assert made.get_model_version_by_alias("digits", "champion").version == 1


def test_another_bundle_is_another_version(server, tmp_path):
    push_bundle(made_bundle(tmp_path, trial=0), "mlflow:digits", alias="champion", tracking_uri=server)
    second = push_bundle(
        made_bundle(tmp_path, trial=1), "mlflow:digits", alias="champion", tracking_uri=server
    )
    assert second.version == 2
    assert client(server).get_model_version_by_alias("digits", "champion").version == 2


def test_a_push_that_was_cut_off_is_continued(server, tmp_path, monkeypatch):
    bundle = made_bundle(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("autocompress.deploy.registry.tracking._created", interrupt)
        with pytest.raises(KeyboardInterrupt):
            push_bundle(bundle, "mlflow:digits", tracking_uri=server)
    pushed = push_bundle(bundle, "mlflow:digits", tracking_uri=server)
    made = client(server)
    assert pushed.new
    assert len(made.search_runs([made.get_experiment_by_name("autocompress").experiment_id])) == 1


def interrupt(*_):
    raise KeyboardInterrupt


def test_the_address_comes_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    ended = CliRunner().invoke(app, ["push", str(made_bundle(tmp_path)), "mlflow:digits", "--json"])
    assert json.loads(ended.stdout)["registry"] == "mlflow:digits"


def test_without_an_address_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    bundle = made_bundle(tmp_path)
    ended = CliRunner().invoke(app, ["push", str(bundle), "mlflow:digits"])
    assert ended.exit_code == 2 and "set MLFLOW_TRACKING_URI" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle-1", "run"]


def test_a_server_that_does_not_answer_is_exit_code_3_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = "http://ann:hunter2hunter@127.0.0.1:9"
    ended = CliRunner().invoke(
        app, ["push", str(made_bundle(tmp_path)), "mlflow:digits", "--tracking-uri", address]
    )
    assert ended.exit_code == 3 and "cannot be used now" in ended.stderr
    assert "hunter2" not in ended.output


def test_a_run_that_the_bundle_is_not_of_is_refused(server, tmp_path):
    bundle = made_bundle(tmp_path / "one")
    other = made_bundle(tmp_path / "two").parent / "run"
    run = read_run(other)
    write_run(other, replace(run, points=run.points[:1], uniform_trial=None))
    with pytest.raises(InputError, match="is no point of"):
        push_bundle(bundle, "mlflow:digits", run=other, tracking_uri=server)
