"""A bundle as a model version in MLflow, with a run that holds its numbers and files.

A bundle is known again by the tag `autocompress.digest` of its version and its run. A run that a killed push
left is continued. MLflow has no locks: two pushes of one bundle at the same moment may make two versions.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import InputError, TargetUnavailable
from ...text.printable import printable
from ...text.secrets import hide
from .content import BundleContent
from .described import metrics_of, parameters_of

DIGEST, BUNDLE, MODEL = "autocompress.digest", "autocompress.bundle", "autocompress.model"
INSTALL = "install it with `pip install 'autocompress[mlflow]'`"
EXPERIMENT = "autocompress"


def push_to_mlflow(
    content: BundleContent,
    name: str,
    *,
    alias: str | None,
    tracking_uri: str,
    experiment: str = EXPERIMENT,
    report: Path | None = None,
) -> tuple[int, bool]:
    """The number of the bundle's version of the model `name`, and whether it is new. `report` is an HTML file
    that the run gets, too.

    InputError without MLflow, TargetUnavailable when the server refuses or does not answer.
    """
    password = urlsplit(tracking_uri).password
    if password:
        hide(password)
    with _answering(tracking_uri), _quiet():
        client = _client(tracking_uri)
        version = _version_of(client, name, content.digest)
        new = version is None
        if version is None:
            run = _run_with(client, content, experiment, report)
            version = _created(client, name, run, content)
        if alias:
            client.set_registered_model_alias(name, alias, str(version))
    return version, new


def require_mlflow() -> None:
    """InputError where MLflow is not installed."""
    from importlib.util import find_spec

    if find_spec("mlflow") is None:
        raise InputError(f"A push to mlflow:NAME needs MLflow: {INSTALL}.")


def _client(tracking_uri: str) -> Any:
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InputError(f"A push to mlflow:NAME needs MLflow ({error}): {INSTALL}.") from error
    return MlflowClient(tracking_uri=tracking_uri)


@contextmanager
def _answering(tracking_uri: str) -> Iterator[None]:
    """Turns what MLflow and its connections raise into one sentence, without the address's password."""
    try:
        yield
    except OSError as error:  # also of requests
        raise _unavailable(tracking_uri, error) from error
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow.", "sqlalchemy.", "requests.", "urllib3.")):
            raise
        raise _unavailable(tracking_uri, error) from error


def _unavailable(tracking_uri: str, error: Exception) -> TargetUnavailable:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return TargetUnavailable(printable(f"MLflow at {tracking_uri} cannot be used now: {reason}."))


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's own libraries warn of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _version_of(client: Any, name: str, digest: str) -> int | None:
    """The number of the version with the digest, None without one."""
    found = client.search_model_versions(f"name = '{name}' and tag.`{DIGEST}` = '{digest}'")
    return min((int(version.version) for version in found), default=None)


def _created(client: Any, name: str, run_id: str, content: BundleContent) -> int:
    """The number of a new version of the model `name`, which is made if it is missing."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(name, f"runs:/{run_id}/bundle", run_id=run_id, tags=_tags(content))
    return int(made.version)


def _run_with(client: Any, content: BundleContent, experiment: str, report: Path | None) -> str:
    """The id of a finished run that holds the bundle."""
    home = client.get_experiment_by_name(experiment)
    home_id = client.create_experiment(experiment) if home is None else home.experiment_id
    runs = client.search_runs([home_id], f"tags.`{DIGEST}` = '{content.digest}'", max_results=1)
    run = runs[0] if runs else client.create_run(home_id, run_name=content.manifest.name, tags=_tags(content))
    run_id: str = run.info.run_id
    if run.info.status != "FINISHED":
        try:
            _fill(client, run_id, content)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
    if report is not None:
        client.log_artifact(run_id, str(report))
    return run_id


def _fill(client: Any, run_id: str, content: BundleContent) -> None:
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    client.log_batch(
        run_id,
        params=[Param(name, value) for name, value in parameters_of(content.manifest).items()],
        metrics=[Metric(name, value, now, 0) for name, value in metrics_of(content.manifest).items()],
    )
    client.log_artifacts(run_id, str(content.folder), "bundle")


def _tags(content: BundleContent) -> dict[str, str]:
    return {
        DIGEST: content.digest,
        BUNDLE: printable(content.manifest.name),
        MODEL: content.manifest.model.sha256,
    }
