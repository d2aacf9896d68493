"""What `targets doctor` says of ONNX Runtime."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from ..int8_kernels import int8_finding

EXACT_SUMS = "session.x64quantprecision"


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor."""
    yield int8_finding(environment, exact_sums=profile.runtime_options.get(EXACT_SUMS) == "1")
