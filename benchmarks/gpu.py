"""TensorRT's front of ResNet-20 and -56, and the A/A error of GPU time. NEVER RUN SO FAR: no GPU was lent
(2026-11).

    python benchmarks/gpu.py export FOLDER [--data ../shared/data] [--images 1000]
    python benchmarks/gpu.py measure FOLDER [--target gpu-rtx] [--batches 1,64] [--repetitions 20] [--json]

`export` needs torch and no GPU: it writes uniform candidates (every legal precision × 100, 75 and 50 % of the
channels, fitted in closed form, without training) and images of the test half. `measure` needs a GPU and
TensorRT, and neither the data nor the weights: per network and batch size the A/A error (target: median ≤ 1
%), and each candidate's accuracy, latency ratio with three engine builds, executed precisions; the front is
marked. Exit code 3 without a GPU, 1 if the A/A target is missed.

On a lent machine that has torch, onnx and scipy but no TensorRT and no network, and takes 64 MiB a call:
tensorrt-rtx's library has 234 MB, 66 MB compressed by xz -9, so that it travels in parts, in two calls on the
same warm machine. Here:

    python benchmarks/gpu.py export .gpu/candidates
    pip download --no-deps --only-binary :all: --python-version 312 -d .gpu/wheels \\
        tensorrt_rtx_cu13_bindings==1.7.1.116
    lib=$(python -c 'import tensorrt_rtx_libs as l; print(l.__path__[0])')
    xz -9 -c $lib/libtensorrt_rtx.so.1 | split -b 40M - .gpu/a/lib.xz.
    (move the later parts to .gpu/b; the parser's library, 4 MB, and the package tensorrt_rtx_libs itself go
    with them)

    call 1, carrying .gpu/a:   cp -r .gpu/a /tmp/gpu
    call 2, carrying .gpu/b, .gpu/wheels, .gpu/candidates:
        cp .gpu/b/* /tmp/gpu; unpack the wheels into /tmp/site
        cat /tmp/gpu/lib.xz.* | xz -d > /tmp/site/tensorrt_rtx_libs/libtensorrt_rtx.so.1
        PYTHONPATH=.package:/tmp/site python3 benchmarks/gpu.py measure .gpu/candidates --json > $OUT/gpu.json

and in the same call `python3 -m pytest -m gpu tests/contract/test_gpu_runtimes.py` proves the runtime itself.

What a search computes on the GPU needs no TensorRT, but onnxruntime, safetensors and ml_dtypes (wheels of 20
MB, which travel in .gpu/wheels as above), in one call of a few minutes:

    PYTHONPATH=.package:/tmp/site python3 -m pytest -q -m gpu tests/compress > $OUT/tests.txt
    PYTHONPATH=.package:/tmp/site python3 benchmarks/r0.py --device cuda:0 --json > $OUT/r0.json
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from autocompress.errors import StageError, TargetUnavailable
from autocompress.files import digest_of_file
from autocompress.profiles import FINALIST_TIMING, SEARCH_TIMING, load_profile
from autocompress.targets.lease import measuring
from autocompress.targets.target import Target

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("resnet20", "resnet56")
SHARES = (1.0, 0.75, 0.5)
UNAVAILABLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A candidate on the GPU; accuracy in percent. `executed` counts layers by precision, `failure` says why
    there is no more.
    """

    network: str
    batch: int
    candidate: str
    size_bytes: int
    accuracy: float | None = None
    ratio: float | None = None
    half_width: float | None = None
    latency_s: float | None = None
    executed: dict[str, int] | None = None
    details: dict[str, object] | None = None
    failure: str | None = None
    on_front: bool = False


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("half", choices=("export", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--target", default="gpu-rtx")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    networks = given.networks.split(",")
    if given.half == "export":
        for network in networks:
            export(network, given.folder, data=given.data, images=given.images, target=given.target)
        return 0
    target = Target(load_profile(given.target))
    try:
        environment = target.probe()
    except TargetUnavailable as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)
        return UNAVAILABLE
    print(f"{environment.device}, {environment.runtime} {environment.runtime_version}", file=sys.stderr)
    errors, seen = {}, []
    for network in networks:
        for batch in map(int, given.batches.split(",")):
            baseline = given.folder / network / "float32-100.onnx"
            errors[f"{network} batch {batch}"] = control_errors(
                target, baseline, batch=batch, repetitions=given.repetitions
            )
            seen += marked(
                [
                    measured(target, path, network, batch=batch)
                    for path in sorted((given.folder / network).glob("*.onnx"))
                ]
            )
    report(errors, seen, as_json=given.json)
    return int(any(statistics.median(found) > 0.01 for found in errors.values()))


def export(network_name: str, folder: Path, *, data: Path, images: int, target: str) -> None:
    """Writes `folder/NETWORK/PRECISION-SHARE.onnx`, inputs.npz and targets.npy."""
    from autocompress.compress import Compressor, Network, Recipe
    from autocompress.compress.graph.channels import keep_counts
    from autocompress.compress.options import CompressorOptions
    from autocompress.evaluation.targets import format_of
    from autocompress.explore.space.legality import legal_precisions
    from autocompress.tasks.data import arrays
    from autocompress.tasks.load import load_task

    profile, out = load_profile(target), folder / network_name
    (out / "built").mkdir(parents=True, exist_ok=True)
    task = load_task(f"{ROOT / 'examples' / 'cifar10.py'}:{network_name}", {"data": str(data)})
    network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network, CompressorOptions(formats=(format_of(profile),)))
    assert task.test is not None
    [(inputs,)], targets = arrays(task.test, limit=images)
    stored: dict[str, Any] = {"0": inputs}
    np.savez(out / "inputs.npz", **stored)
    np.save(out / "targets.npy", np.asarray(targets))
    legal = {layer.name: legal_precisions(layer, profile) for layer in network.layers}
    for precision in sorted({name for names in legal.values() for name in names}):
        chosen = {
            name: precision
            for name, allowed in legal.items()
            if precision in allowed and precision != "float32"
        }
        for share in SHARES:
            keep = {
                group.name: kept(keep_counts(group, profile.channel_multiple), share * group.channels)
                for group in network.groups
            }
            keep = {
                group.name: keep[group.name] for group in network.groups if keep[group.name] < group.channels
            }
            built = compressor.build(Recipe(keep=keep, precision=chosen), out / "built").only
            path = out / f"{precision}-{round(100 * share)}.onnx"
            path.write_bytes(built.artifact.path.read_bytes())
            print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)


def kept(levels: tuple[int, ...], most: float) -> int:
    """The largest level of at most `most` channels, or the smallest there is."""
    return max([level for level in levels if level <= most], default=levels[0])


def control_errors(target: Target, baseline: Path, *, batch: int, repetitions: int) -> list[float]:
    """|ratio - 1| of the baseline beside itself in fresh workers, by the timing of the search."""
    digest, found = digest_of_file(baseline), []
    for _ in range(repetitions):
        with measuring(cores=target.cores), target.open_worker() as worker:
            seen = target.measure_once(
                worker, baseline, baseline, timing=SEARCH_TIMING.with_batch(batch), digests=(digest, digest)
            )
        found.append(abs(seen.ratio - 1))
    return found


def measured(target: Target, path: Path, network: str, *, batch: int) -> Seen:
    """One candidate, three times built, beside float32; a failure is told, too."""
    base = Seen(network=network, batch=batch, candidate=path.stem, size_bytes=path.stat().st_size)
    targets = np.load(path.parent / "targets.npy")
    try:
        with target.session() as session:
            (outputs,) = session.run(path, path.parent / "inputs.npz", batch=batch)
            executed = session.executed_precision(path, computing(path), batch=batch)
            seen = session.measure(path, path.parent / "float32-100.onnx", FINALIST_TIMING.with_batch(batch))
    except StageError as error:
        return Seen(**{**asdict(base), "failure": str(error)})
    counts = {name: list(executed.values()).count(name) for name in sorted(set(executed.values()))}
    facts = {
        "accuracy": 100 * float((np.argmax(outputs, 1) == targets).mean()),
        "ratio": seen.ratio,
        "half_width": seen.half_width,
    }
    return Seen(
        **{
            **asdict(base),
            **facts,
            "latency_s": seen.latency_s,
            "executed": counts,
            "details": dict(seen.details),
        }
    )


def computing(path: Path) -> list[str]:
    """The names of the layers' nodes: artifacts name the nodes that compute after their layers."""
    import onnx

    return [
        node.name
        for node in onnx.load(path).graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.name
    ]


def marked(found: list[Seen]) -> list[Seen]:
    """With `on_front` for those that no other beats or equals in accuracy, latency and size."""
    objectives = [
        (-item.accuracy, item.ratio, item.size_bytes)
        for item in found
        if item.ratio is not None and item.accuracy is not None
    ]

    def on_front(item: Seen) -> bool:
        if item.ratio is None or item.accuracy is None:
            return False
        mine = (-item.accuracy, item.ratio, item.size_bytes)
        return not any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in objectives
        )

    return [replace(item, on_front=on_front(item)) for item in found]


def report(errors: dict[str, list[float]], seen: list[Seen], *, as_json: bool) -> None:
    """Prints everything."""
    if as_json:
        print(json.dumps({"control_errors": errors, "candidates": [asdict(item) for item in seen]}, indent=2))
        return
    for name, found in errors.items():
        print(
            f"A/A error of {name}: median {100 * statistics.median(found):.2f} %, worst {100 * max(found):.2f} %"
        )
    for item in seen:
        told = item.failure or (
            f"{item.accuracy:.2f} %, {1e6 * (item.latency_s or 0):.1f} us, ratio {item.ratio:.3f} "
            f"± {100 * (item.half_width or 0):.1f} %, {item.size_bytes / 1e3:.0f} KB, ran {item.executed}"
        )
        print(f"{'★' if item.on_front else ' '} {item.network} batch {item.batch} {item.candidate:16} {told}")


if __name__ == "__main__":
    sys.exit(main())
