"""Where a bundle goes to: `mlflow:NAME`, `dir:/models/NAME`, `s3://bucket/models/NAME`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ...errors import InputError

Kind = Literal["mlflow", "folder"]
EXAMPLES = "mlflow:NAME, dir:/models/NAME or s3://bucket/NAME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAddress:
    """The name of a model, and the folder of the name as fsspec writes it; `url` is empty for MLflow."""

    kind: Kind
    name: str
    url: str = ""

    def __str__(self) -> str:
        return f"mlflow:{self.name}" if self.kind == "mlflow" else self.url


def parse_registry(text: str) -> RegistryAddress:
    """The address that `text` means. InputError names what is wrong with it, and never a password in it."""
    scheme, colon, rest = text.partition(":")
    if not colon or not rest:
        raise InputError(f"{text!r} is no registry: write it like {EXAMPLES}.")
    if scheme == "mlflow":
        return RegistryAddress(kind="mlflow", name=_name(rest, text))
    if scheme == "dir":
        path = Path(rest).expanduser().absolute()
        return RegistryAddress(kind="folder", name=_name(path.name, text), url=path.as_uri())
    return _of_url(text)


def require_alias(alias: str) -> None:
    """InputError for an alias that no registry takes."""
    if not _NAME.fullmatch(alias) or re.fullmatch(r"v\d+|latest", alias):
        raise InputError(
            f"--alias {alias!r} is no alias: use letters, digits, . _ and -, such as champion; not latest, "
            "and not v with a number."
        )


def _of_url(text: str) -> RegistryAddress:
    from fsspec import available_protocols

    parts = urlsplit(text)
    if "://" not in text or "::" in text or parts.scheme not in available_protocols():
        raise InputError(f"{text!r} is no registry that is known: write it like {EXAMPLES}.")
    if parts.username or parts.password or parts.query:
        raise InputError(
            f"The address {parts.scheme}://… holds credentials or options: leave them out, and set them in "
            "the environment as the storage's own tools read them."
        )
    url = text.rstrip("/")
    if not url.partition("://")[2].rpartition("/")[0] and parts.scheme != "memory":
        raise InputError(f"{text!r} has no name behind its bucket: write it like s3://bucket/NAME.")
    return RegistryAddress(kind="folder", name=_name(url.rpartition("/")[2], text), url=url)


def _name(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{text!r}: the name {name!r} of the model must be letters, digits, . _ and -, at most 128."
        )
    return name
