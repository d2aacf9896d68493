"""index.json of a folder registry: which versions a name has, and which alias means which of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...results.records.reading import Fields, Unfit

SCHEMA_VERSION = 1
LARGEST_BYTES = 16 << 20
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version: the digest of its bundle, the name in its manifest, when it came (ISO 8601, UTC)."""

    number: int
    digest: str
    bundle: str
    pushed: str
    size_bytes: int

    def __post_init__(self) -> None:
        if self.number < 1 or not _DIGEST.fullmatch(self.digest):
            raise ValueError("number must be at least 1, digest 64 hexadecimal digits.")

    @classmethod
    def from_json(cls, fields: Fields) -> "Version":
        """The version that `asdict` described."""
        return fields.record(
            lambda: cls(
                number=fields.whole("number", least=1),
                digest=fields.text("digest"),
                bundle=fields.text("bundle"),
                pushed=fields.text("pushed"),
                size_bytes=fields.whole("size_bytes"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The versions in the order in which they came, and by alias the number of a version."""

    versions: tuple[Version, ...] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        numbers = [version.number for version in self.versions]
        if len(set(numbers)) != len(numbers) or len({one.digest for one in self.versions}) != len(numbers):
            raise ValueError("a version or a digest comes twice.")
        if unknown := sorted(set(self.aliases.values()) - set(numbers)):
            raise ValueError(f"an alias means version {unknown[0]}, which is not there.")

    def of_digest(self, digest: str) -> Version | None:
        """The version of a bundle, None where it has none yet."""
        return next((version for version in self.versions if version.digest == digest), None)

    @property
    def next_number(self) -> int:
        """The number of the next version."""
        return 1 + max((version.number for version in self.versions), default=0)

    def adding(self, version: Version, alias: str | None) -> "Index":
        """With the version, unless it is there, and with the alias on it."""
        there = self.of_digest(version.digest) is not None
        aliases = {**self.aliases, **({alias: version.number} if alias else {})}
        return replace(self, versions=self.versions if there else (*self.versions, version), aliases=aliases)

    @classmethod
    def from_json(cls, fields: Fields) -> "Index":
        """The index that `asdict` described. Unfit for a later schema version."""
        version = fields.choice("schema_version", (SCHEMA_VERSION,))
        return fields.record(
            lambda: cls(
                versions=tuple(Version.from_json(one) for one in fields.objects("versions")),
                aliases=fields.each("aliases", lambda entries, name: entries.whole(name, least=1)),
                schema_version=version,
            )
        )


def index_of(value: Any) -> Index:
    """The index in a JSON value. Unfit when it does not fit."""
    if not isinstance(value, dict):
        raise Unfit("must be an object")
    return Index.from_json(Fields(value))
