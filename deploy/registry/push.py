"""push_bundle: a verified bundle into a registry, once."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...results.run_directory import read_run
from ...scratch import temporary_folder
from .address import RegistryAddress, parse_registry, require_alias
from .content import BundleContent, content_of
from .folders import push_to_folder
from .tracking import EXPERIMENT, push_to_mlflow, require_mlflow

REPORT = "report.html"
NO_TRACKING = (
    "A push to mlflow:NAME needs the server's address: set MLFLOW_TRACKING_URI, or give --tracking-uri, "
    "such as http://mlflow.local:5000 or sqlite:///mlflow.db."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The version that holds a bundle now; `new`: this push made it."""

    registry: str
    version: int
    new: bool
    alias: str | None
    digest: str
    bundle: str
    files: int
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """A JSON value for scripts."""
        return asdict(self)


def push_bundle(
    bundle: Path,
    registry: str,
    *,
    alias: str | None = None,
    run: Path | None = None,
    tracking_uri: str | None = None,
    experiment: str = EXPERIMENT,
) -> Pushed:
    """The version of `bundle` in the registry at `registry` (see address.py). A bundle that is there already
    gets the alias, and no second version.

    Nothing is sent unless every file is the one that was bundled. `run` is the run directory that the bundle
    came from, whose report an MLflow run gets. `tracking_uri` is MLflow's. InputError says what is wrong with
    the bundle or an option, TargetUnavailable why the registry cannot be used now.
    """
    address = parse_registry(registry)
    _check(address, alias=alias, run=run, tracking_uri=tracking_uri)
    with temporary_folder() as folder:
        (folder / "bundle").mkdir()
        content = content_of(bundle, folder / "bundle")
        report = None if run is None else _report_of(run, content, folder / REPORT)
        if address.kind == "folder":
            made, new = push_to_folder(content, address, alias)
            version = made.number
        else:
            version, new = push_to_mlflow(
                content,
                address.name,
                alias=alias,
                tracking_uri=tracking_uri or "",
                experiment=experiment,
                report=report,
            )
        return Pushed(
            registry=str(address),
            version=version,
            new=new,
            alias=alias,
            digest=content.digest,
            bundle=content.manifest.name,
            files=len(content.digests),
            size_bytes=content.size_bytes,
        )


def _check(
    address: RegistryAddress, *, alias: str | None, run: Path | None, tracking_uri: str | None
) -> None:
    """InputError for what can be refused before a file is read."""
    if alias is not None:
        require_alias(alias)
    if address.kind == "folder":
        if run is not None:
            raise InputError("--run is for mlflow:NAME, whose run gets the report: leave it out.")
        return
    if not tracking_uri:
        raise InputError(NO_TRACKING)
    require_mlflow()


def _report_of(path: Path, content: BundleContent, out: Path) -> Path:
    """The report of the run, written to `out`. InputError when the bundle's model is none of its points."""
    from ...results.report import write_report

    run, model = read_run(path), content.manifest.model
    digests = {measured.artifact.digest for point in run.points for measured in point.measured.values()}
    if (model.measured_sha256 or model.sha256) not in digests:
        raise InputError(f"The bundle's model is no point of {path}: give the run that it was picked from.")
    write_report(run, out)
    return out
