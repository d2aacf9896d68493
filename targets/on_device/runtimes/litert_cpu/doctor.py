"""What `targets doctor` says of LiteRT."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from ..int8_kernels import int8_finding


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor. XNNPACK's sums of integers do not saturate on any CPU."""
    yield int8_finding(environment, exact_sums=True)
