"""What those that build beside a search are told, for the task `digits`."""

from collections.abc import Sequence
from pathlib import Path

from autocompress.compress.options import FileFormat
from autocompress.explore.beside.messages import BuilderConfig


def digits_config(
    *, cache_dir: Path, checks_dir: Path, levels_dir: Path, out_dir: Path, cores: Sequence[int]
) -> BuilderConfig:
    """Files of ONNX, built on the CPU."""
    return BuilderConfig(
        task="digits",
        arguments={},
        formats=[FileFormat()],
        seed=0,
        memory_bytes=None,
        device="cpu",
        cache_dir=cache_dir,
        checks_dir=checks_dir,
        levels_dir=levels_dir,
        out_dir=out_dir,
        cores=cores,
    )
