"""What `targets doctor` says of TensorRT for RTX."""

from __future__ import annotations

from typing import Iterator

from ..finding import CheckedEnvironment, CheckedProfile, Finding
from ..tensorrt_gpu.doctor import gpu


def findings(profile: CheckedProfile, environment: CheckedEnvironment) -> Iterator[Finding]:
    """See RuntimeDoctor."""
    yield gpu(environment)
