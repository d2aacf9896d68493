"""Options of a build: what the target decides about the file, and what the user decides."""

from dataclasses import dataclass, replace
from typing import Literal

Importance = Literal["reconstruction", "magnitude", "taylor"]
RoundingMethod = Literal["gptq", "adaround"]
Activations = Literal["uint8-asymmetric", "int8-symmetric", "int8-asymmetric"]
Container = Literal["onnx", "tflite"]
Int8Weights = Literal["int8", "float32"]

PASS_MACS = 10**12  # of all samples together, for moments: once for a task
CANDIDATE_MACS = PASS_MACS // 4  # for ranges, and in what is done for every candidate
FEWEST = 32  # samples


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """The format of a file, which the target decides; targets with equal formats share one artifact.

    `container` is the kind of file: ONNX, or LiteRT's, which is written from the same encoded ONNX graph
    (`litert_file`). `activations` is the convention of quantized tensors (`quantize`): ONNX Runtime's,
    TensorRT's int8 without zero points, or LiteRT's. `int8_weights` is how weights of int8 layers are stored
    (`qdq`): as integers, or as float32 in four times the bytes. `fused_operators`: a recipe that is `fused`
    is so in this format (`fusing/`). Legal precisions and channel counts are no part of it: the search space
    has what all targets allow.
    """

    container: Container = "onnx"
    opset: int = 21
    activations: Activations = "uint8-asymmetric"
    int8_weights: Int8Weights = "int8"
    fused_operators: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressorOptions:
    """Every recipe is built in each of `formats`, of which there is at least one. `optional`: one of several
    that cannot hold a recipe is left out.

    Counts are samples of the training split. Without `refit_samples` the layers are not fitted after
    stitching. Without `reconstruct` weights are cut and rounded, nothing more: enough to measure latency,
    where only shapes count. `memory_bytes` is what the work may take together, None without a limit: it
    decides in how many passes and parts it is done. What multiplies computes on `device`: moments, levels,
    fitting, statistics, ranges, the probe, recovery and the outputs that a file is checked with.
    """

    formats: tuple[FileFormat, ...] = (FileFormat(),)
    optional: bool = False
    importance: Importance = "reconstruction"
    rounding: RoundingMethod = "gptq"
    database_samples: int = 1024
    reconstruct: bool = True
    refit_samples: int = 512
    calibration_samples: int = 256
    pruned_calibration_samples: int = 64
    statistics_samples: int = 512
    batch_size: int = 128
    check_samples: int = 16
    seed: int = 0
    memory_bytes: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.formats:
            raise ValueError("formats is empty: at least one file format is needed")

    def memory_share(self, divisor: int, most: int) -> int:
        """The bytes for one of several things that are held at the same time, `most` without a limit."""
        return most if self.memory_bytes is None else min(most, self.memory_bytes // divisor)

    def affordable(self, macs: int) -> "CompressorOptions":
        """The same with fewer samples where a network has many multiply-accumulates (`macs` for one sample).

        No clock decides, so that a rebuilt candidate is the same file. Samples of large networks have many
        positions (pixels, tokens), each of which counts as a vector in the moments of a layer. What is
        compared with the original (student/effort.py) needs fewer still.
        """
        once, often = (max(FEWEST, limit // max(1, macs)) for limit in (PASS_MACS, CANDIDATE_MACS))
        return replace(
            self,
            database_samples=min(self.database_samples, once),
            calibration_samples=min(self.calibration_samples, often),
            pruned_calibration_samples=min(self.pruned_calibration_samples, often),
            refit_samples=min(self.refit_samples, often),
        )
