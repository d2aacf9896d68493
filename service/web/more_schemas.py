"""What goes in and out over HTTP besides searches: deployments, nights, deliveries, machines."""

from typing import Annotated

from pydantic import BaseModel, Field

from ..database.tables import Deployment
from ..nights.files import NightFile
from ..uploads import Upload
from .fields import Text, Trial
from .schemas import Given, when


class DeploymentIn(Given):
    """A point to be deployed: marked, and pushed where a registry of serve.toml is named."""

    trial: Trial
    target: Text | None = None
    registry: Text | None = Field(default=None, description="By its name in serve.toml; null marks alone.")
    alias: Annotated[str, Field(pattern="^[A-Za-z][A-Za-z._-]{0,99}$")] | None = None


class DeploymentOut(BaseModel):
    """A point that somebody deployed; `version` is that in the registry, `sha256` that of the bundle."""

    trial: int
    at: str
    by: str
    registry: str | None
    alias: str | None
    version: int | None
    sha256: str

    @classmethod
    def of(cls, row: Deployment) -> "DeploymentOut":
        """A deployment as it goes out."""
        return cls(
            trial=row.trial,
            at=when(row.at) or "",
            by=row.by,
            registry=row.place,
            alias=row.alias,
            version=row.version,
            sha256=row.digest,
        )


class FailureOut(BaseModel):
    """A candidate that could not be measured. `retryable`: the same one may succeed when tried again."""

    trial: int
    stage: str
    kind: str
    message: str
    retryable: bool


class NightlyIn(Given):
    """The new text of nightly.toml."""

    text: Annotated[str, Field(pattern=r"^[^\x00]*$")]


class NightOut(BaseModel):
    """A night: running, waiting or finished, and why somebody should look."""

    name: str
    began: str
    ended: str | None
    status: str
    reason: str
    models: dict[str, str] = Field(description="What became of each model.")


class NightlyOut(BaseModel):
    """A file of nightly runs, when its nights begin, and the last ones; `wrong` is why it cannot be used."""

    name: str
    at: str | None
    running: bool
    wrong: str
    text: str
    etag: str
    nights: list[NightOut]

    @classmethod
    def of(cls, file: NightFile, *, running: bool) -> "NightlyOut":
        """A file as it goes out."""
        return cls(
            name=file.name,
            at=None if file.config is None or file.config.at is None else f"{file.config.at:%H:%M}",
            running=running,
            wrong=file.wrong,
            text=file.text,
            etag=file.etag,
            nights=[
                NightOut(
                    name=one.name,
                    began=one.began_at,
                    ended=one.ended_at,
                    status=one.status,
                    reason=one.reason,
                    models={model.name: model.state for model in one.models},
                )
                for one in reversed(file.nights[-30:])
            ],
        )


class DeliveryOut(BaseModel):
    """Something that is told by a webhook or a message: waiting, sent, given up; `said` by the last try."""

    id: int
    hook: str
    event: str
    subject: str
    at: str
    state: str
    tries: int
    said: str


class UploadOut(BaseModel):
    """A file that somebody uploaded: safetensors or onnx. `name` is what an argument of a task says."""

    name: str
    kind: str
    size_bytes: int
    at: str

    @classmethod
    def of(cls, upload: Upload, name: str) -> "UploadOut":
        """An upload as it goes out."""
        return cls(name=name, kind=upload.kind, size_bytes=upload.size_bytes, at=when(upload.at) or "")


class WorkerOut(BaseModel):
    """A worker, heard of `silent_s` ago. `search` is the one that it runs, if you may see it."""

    name: str
    labels: list[str]
    silent_s: float
    busy: bool
    search: str | None


class BoardOut(BaseModel):
    """A board that a search has named, and whether one measures on it now."""

    name: str
    busy: bool


class MachinesOut(BaseModel):
    """Workers, boards, the disk of the service. `devices` are the boards that may be named as a target."""

    workers: list[WorkerOut]
    boards: list[BoardOut]
    devices: list[str]
    free_bytes: int
    total_bytes: int
