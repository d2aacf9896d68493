"""Whether TensorRT takes a model: parsed and built by `tensorrt-rtx`, ahead of time, on a machine without a
GPU.

`acceptance(models)` for tests; a script as well, one JSON line a model:

    python tests/targets/rtx_build.py MODEL.onnx…

The builder runs in a process of its own, since it may end in a segmentation fault. The network is strongly
typed and the engine is for compute capability 8.9, the first with fp8.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCHES = (1, 1, 16)  # smallest, usual, largest
SECONDS_PER_MODEL = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What became of a model. `stage` is parse, build or crash where it was refused, and `messages` are the
    builder's.
    """

    model: Path
    accepted: bool
    stage: str
    engine_bytes: int = 0
    messages: tuple[str, ...] = ()


def acceptance(models: Sequence[Path]) -> list[Acceptance]:
    """Builds each model. One that ends the process counts as a crash, and a new process goes on with the
    next.
    """
    found: list[Acceptance] = []
    while len(found) < len(models):
        left = [str(model) for model in models[len(found) :]]
        command = [sys.executable, str(Path(__file__).resolve()), *left]
        limit = 30 + SECONDS_PER_MODEL * len(left)
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        for line in done.stdout.splitlines():
            facts = json.loads(line)
            facts |= {"model": models[len(found)], "messages": tuple(facts["messages"])}
            found.append(Acceptance(**facts))
        if done.returncode and len(found) < len(models):
            message = f"exit status {done.returncode}: {done.stderr[-500:]}"
            found.append(
                Acceptance(model=models[len(found)], accepted=False, stage="crash", messages=(message,))
            )
    return found


def _build(path: str) -> dict[str, Any]:
    import tensorrt_rtx as trt  # type: ignore[import-not-found, import-untyped, unused-ignore]

    class Log(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(path):
        return {
            "accepted": False,
            "stage": "parse",
            "messages": [parser.get_error(i).desc() for i in range(parser.num_errors)],
        }
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    for value in (network.get_input(index) for index in range(network.num_inputs)):
        profile.set_shape(value.name, *((batch, *tuple(value.shape)[1:]) for batch in BATCHES))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return {"accepted": False, "stage": "build", "messages": log.errors}
    return {"accepted": True, "stage": "build", "engine_bytes": engine.nbytes, "messages": log.errors}


if __name__ == "__main__":
    for model in sys.argv[1:]:
        print(json.dumps(_build(model)), flush=True)
