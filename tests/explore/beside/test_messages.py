"""What a builder says to the search is what the search reads."""

from pathlib import Path

import numpy as np
from autocompress.compress.artifact import Artifact
from autocompress.compress.compressor import BuildResult, BuiltFile
from autocompress.compress.onnx_file.check import OutputCheck
from autocompress.compress.options import FileFormat
from autocompress.explore.beside.messages import read_reply, result_line


def test_a_check_arrives_with_all_of_its_arrays_and_leaves_no_file(tmp_path: Path) -> None:
    def arrays(count: int) -> tuple[np.ndarray, ...]:
        return tuple(np.random.default_rng(count).random((2, index + 1)) for index in range(count))

    check = OutputCheck(inputs=arrays(2), expected=arrays(12), tolerance=0.05, unrounded=arrays(11))
    artifact = Artifact(
        path=tmp_path / "a.onnx", digest="0" * 64, size_bytes=1, macs=1, parameters=1, precision={}
    )
    built = BuildResult(
        by_format={FileFormat(): BuiltFile(artifact=artifact, check=check)}, seconds={"build": 1.0}
    )

    told = read_reply(result_line(built, tmp_path / "checks"))

    assert isinstance(told, BuildResult) and told.only.artifact == artifact
    for kind in ("inputs", "expected", "unrounded"):
        ours, theirs = getattr(check, kind), getattr(told.only.check, kind)
        assert len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
    assert [*(tmp_path / "checks").iterdir()] == []
