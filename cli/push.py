"""The command `push`: a bundle into a registry."""

from pathlib import Path
from typing import Annotated

import typer

from ..text.printable import json_text
from .console.log import LogFormat, LogFormatOption, Quiet
from .support import Json, errors, show

BundleArgument = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE", help="A bundle that `pick` wrote; its checksums are verified first."),
]
Registry = Annotated[
    str,
    typer.Argument(
        metavar="REGISTRY",
        help="mlflow:NAME; a folder, dir:/models/NAME; or any storage of fsspec, such as s3://bucket/NAME.",
    ),
]
Alias = Annotated[
    str | None,
    typer.Option(metavar="ALIAS", help="A name for this version, such as champion; it moves here."),
]
RunOfBundle = Annotated[
    Path | None,
    typer.Option("--run", metavar="RUN", help="The run it was picked from: MLflow gets its report."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=True,
        help="MLflow's address. Credentials: MLFLOW_TRACKING_USERNAME, …_PASSWORD, …_TOKEN.",
    ),
]
Experiment = Annotated[
    str,
    typer.Option(
        metavar="NAME", envvar="MLFLOW_EXPERIMENT_NAME", help="The experiment of the run in MLflow."
    ),
]


def push(
    bundle: BundleArgument,
    registry: Registry,
    *,
    alias: Alias = None,
    run: RunOfBundle = None,
    tracking_uri: TrackingUri = None,
    experiment: Experiment = "autocompress",
    as_json: Json = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Push a bundle to a registry: MLflow, a folder, or an object store.

    The same bundle pushed again makes no second version; an alias that is given moves to it.

    Examples:

        autocompress push bundle mlflow:digits --alias champion --run runs/digits-cpu

        autocompress push bundle dir:/models/digits --alias champion

        autocompress push bundle s3://bucket/models/digits
    """
    with errors():
        from ..deploy.registry import push_bundle
        from ..profiles import format_size

        pushed = push_bundle(
            bundle, registry, alias=alias, run=run, tracking_uri=tracking_uri, experiment=experiment
        )
        if as_json:
            print(json_text(pushed.to_json(), indent=2))
            return
        state = "new" if pushed.new else "there already"
        named = f", alias {pushed.alias}" if pushed.alias else ""
        show(
            f"{pushed.registry} version {pushed.version} ({state}){named}: {pushed.bundle}, "
            f"{pushed.files} files, {format_size(pushed.size_bytes)}, digest {pushed.digest}"
        )
