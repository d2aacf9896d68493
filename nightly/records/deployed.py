"""Deployed: the bundles of one model that were deployed, and the one that is now."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from ...results.records.reading import Fields
from .seen import Pick

SCHEMA_VERSION = 1  # of deployed/NAME.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A bundle that was deployed. `name` is that of its folder below `deployed/.versions/MODEL/`: the night
    and the trial. `digest` is that of the artifact on the first target. `night` and `run` say where it comes
    from, `pick` with which numbers it was chosen. `at` is when (ISO 8601, UTC).
    """

    name: str
    night: str
    run: str
    digest: str
    pick: Pick
    at: str

    @classmethod
    def from_json(cls, fields: Fields) -> "Version":
        """The version that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.path("name"),
                night=fields.path("night"),
                run=fields.path("run"),
                digest=fields.text("digest"),
                pick=Pick.from_json(fields.object("pick")),
                at=fields.text("at"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """`versions` in the order in which they were first deployed, the oldest first. `current` is the name of
    the one that `deployed/MODEL` leads to, None before the first. `refused` are the digests of artifacts that
    somebody rolled back from: no night deploys them again.
    """

    model: str
    versions: tuple[Version, ...] = ()
    current: str | None = None
    refused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [version.name for version in self.versions]
        if len(set(names)) < len(names) or (self.current is not None and self.current not in names):
            raise ValueError("versions must hold each version once, and the current one.")

    @property
    def version(self) -> Version | None:
        """The version that is deployed now, None before the first."""
        return next((one for one in self.versions if one.name == self.current), None)

    @property
    def earlier(self) -> Version | None:
        """The version before the current one that nobody rolled back from; None where there is none."""
        names = [one.name for one in self.versions]
        if self.current is None:
            return None
        before = self.versions[: names.index(self.current)]
        return next((one for one in reversed(before) if one.digest not in self.refused), None)

    def with_version(self, version: Version) -> "Deployed":
        """The same with a version that is deployed now; one that was there before is not added again."""
        others = tuple(one for one in self.versions if one.name != version.name)
        return replace(self, versions=(*others, version), current=version.name)

    def rolled_back(self, to: Version) -> "Deployed":
        """The same with `to` as the current version, and the artifact that was current refused."""
        now = self.version
        refused = self.refused if now is None else (*self.refused, now.digest)
        wanted = tuple(digest for digest in dict.fromkeys(refused) if digest != to.digest)
        return replace(self, current=to.name, refused=wanted)

    def to_json(self) -> dict[str, Any]:
        """The value of the file without its digest, from which `from_json` makes an equal record."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, fields: Fields) -> "Deployed":
        """The record that `to_json` described, of this schema version."""
        fields.choice("schema_version", (SCHEMA_VERSION,))
        return fields.record(
            lambda: cls(
                model=fields.text("model"),
                versions=tuple(map(Version.from_json, fields.objects("versions"))),
                current=fields.maybe("current", fields.path),
                refused=fields.texts("refused"),
            )
        )
