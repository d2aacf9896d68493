"""A point is deployed: marked, and its bundle pushed to a registry by the command `push`."""

import tempfile
import time
import zipfile
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from ...nightly.commands import Commands
from ..access.audit import record
from ..access.caller import Caller
from ..database.tables import Deployment
from ..queue.job import ConflictError
from ..telling.outbox import tell
from .bundles import Bundled, bundle_of
from .front_state import NotThereError
from .state import Service

_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be deployed: a point, on a run of several targets for which one; `registry` by its name in
    serve.toml, None for a mark alone.
    """

    trial: int
    target: str | None = None
    registry: str | None = None
    alias: str | None = None


def deploy(service: Service, search_id: str, wanted: Wanted, caller: Caller, *, origin: str) -> Deployment:
    """Marks a point as deployed, and pushes its bundle to a registry of serve.toml where one is named.

    NotThereError for an unknown registry or point, ConflictError in the words of `push` when it fails.
    """
    registries = service.tasks.config.listed.registries
    if wanted.registry is not None and wanted.registry not in registries:
        known = ", ".join(registries) or "there is none"
        raise NotThereError(f"serve.toml has no registry {wanted.registry!r} ({known}).")
    made = bundle_of(service, search_id, wanted.trial, wanted.target)
    pushed = (
        {} if wanted.registry is None else _pushed(service, made, registries[wanted.registry], wanted.alias)
    )
    now = time.time()
    row = Deployment(
        job_id=search_id,
        trial=wanted.trial,
        at=now,
        by=caller.name,
        place=wanted.registry,
        alias=wanted.alias if wanted.registry else None,
        version=pushed.get("version"),
        digest=made.sha256,
    )
    with service.database.writing() as session:
        session.add(row)
        session.flush()
        record(session, caller, "deploy", f"{search_id} trial {wanted.trial}", origin=origin)
        about = {"id": search_id, "trial": wanted.trial, "by": caller.name, "registry": wanted.registry}
        events = service.tasks.config.listed.events
        tell(session, events, "deployed", search_id, {"search": {**about, "version": row.version}}, at=now)
    return row


def deployments_of(service: Service, search_id: str) -> list[Deployment]:
    """What was deployed of a search, the last one first."""
    query = select(Deployment).where(Deployment.job_id == search_id).order_by(Deployment.id.desc()).limit(100)
    with service.database.reading() as session:
        return list(session.scalars(query))


def _pushed(service: Service, made: Bundled, address: str, alias: str | None) -> dict[str, Any]:
    """What `push` says of the version that holds the bundle now."""
    with tempfile.TemporaryDirectory(dir=made.path.parent, prefix=".") as folder:
        with zipfile.ZipFile(made.path) as packed:
            packed.extractall(folder)
        words = ["push", f"{folder}/bundle", address, "--json", *(["--alias", alias] if alias else [])]
        log = service.data / "logs" / "push.log"
        done = Commands(service.data).run(words, log=log, seconds=_PATIENCE_S)
    if done.exit_code != 0:
        raise ConflictError(f"The bundle cannot be pushed: {done.reason}")
    return done.last_object
