"""Finding: what the doctor saw."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was seen, and, if it is not well, what mends it.

    `needed`: without it the target cannot be used at all.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False
