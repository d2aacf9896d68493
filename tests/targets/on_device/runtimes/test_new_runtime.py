"""A runtime that the project does not know: one folder, one line in the list, and everything works with it.

The package is linked into a folder of its own, `targets` is copied, and a runtime is added that computes with
the reference evaluator of onnx. A process then goes with it through profile, legality, doctor, a session, a
measurement and a bundle.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]

FACTS = {
    "title": "ONNX's reference",
    "module": "onnx",
    "pip": "pip install onnx numpy",
    "precisions": ["float32", "int8"],
    "activations": ["uint8-asymmetric"],
}
RUNTIME = """
from functools import partial

import onnx
from onnx.reference import ReferenceEvaluator

from ...inputs import feeds_of
from ...runtime import HostTimed, Input, repeated

ERRORS = (RuntimeError, TypeError)

def version():
    return onnx.__version__

def facts(request):
    return {}

class Session:
    def __init__(self, model, request):
        self._request, self._evaluator = request, ReferenceEvaluator(model)
        graph = onnx.load(model).graph
        self.inputs = [Input(value.name, _shape(value), "float32") for value in graph.input]

    def run(self, feeds):
        return list(self._evaluator.run(None, feeds))

    def bind(self, feeds):
        return HostTimed(partial(self.run, feeds), self._request)

def _shape(value):
    sizes = value.type.tensor_type.shape.dim
    return [size.dim_value if size.HasField("dim_value") else size.dim_param for size in sizes]

def open_session(model, request):
    return Session(model, request)

def optimized(request):
    return {"layers": {node.name: "float32" for node in onnx.load(request["model"]).graph.node}}

def profile(request, arrays):
    session = Session(request["model"], request)
    feeds = feeds_of(session.inputs, arrays, request["batch"], {})
    return {"runs": repeated(partial(session.run, feeds), 0.01), "kernels": {"fc": 0.25, "sum": 0.5}}
"""
DOCTOR = """
from ..finding import Finding

def findings(profile, environment):
    yield Finding(name="reference", ok=True, detail=f"onnx {environment.runtime_version}")
"""
BUNDLE = """
from ..script import RunScript

SCRIPT = RunScript(
    imports="from onnx.reference import ReferenceEvaluator",
    opening='evaluator = ReferenceEvaluator(str(here / "model.onnx"))',
    running="return lambda feeds: evaluator.run(None, feeds)",
)
"""
PROFILE = """
description = "The reference evaluator of onnx"
runtime = "reference"
threads = 1
opset = 21
precisions = ["float32", "int8"]
"""
JOURNEY = """
import json
import sys
from dataclasses import replace
from pathlib import Path

import onnx
from autocompress.compress.graph.layers import Layer
from autocompress.deploy.bundle import write_bundle
from autocompress.files import digest_of_file
from autocompress.profiles import load_profile, parse_target
from autocompress.profiles.explain import explain
from autocompress.results.view import RunOn
from autocompress.explore.space.legality import legal_precisions, ruled_out_levels
from autocompress.targets import control, target
from autocompress.targets.doctor import doctor, examination
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.deploy.small_run import target as described
from autocompress.tests.targets import models

folder = Path(sys.argv[1])
control.TOLERANCE, target.SEARCH_TIMING = 100.0, models.QUICK  # any machine is quiet enough
profile = load_profile(str(folder / "reference.toml"))
model = models.linear(folder / "model.onnx")
graph = onnx.load(model)
graph.graph.node[0].name = "fc"
onnx.save(graph, model)
examination._convolution = lambda: graph  # a convolution takes the reference evaluator a minute
seen = {"explained": explain(profile, parse_target(str(folder / "reference.toml")))}
layer = Layer(
    name="fc", kind="linear", weight="fc.weight", bias=None, weight_shape=(8, 64),
    channels_in=64, channels_out=8, macs=512, parameters=512, uses=1,
)
seen["legal"] = legal_precisions(layer, profile)
seen["ruled out"] = [(levels.levels, levels.reason) for levels in ruled_out_levels(profile)]
seen["findings"] = [[finding.name, finding.ok, finding.detail] for finding in doctor(profile)]
with target.Target(profile).session() as session:
    seen["executed"] = session.executed_precision(model, ["fc"])
    seen["times"] = session.profile_layers(model, ["fc"], batch=1).layers
    seen["runtime"] = session.measure(model, model, models.QUICK).environment.runtime
run = small_run(folder / "run", described("reference", runtime="reference"))
point = RunOn.of(run, "reference").points[1]
facts = replace(point.artifact, digest=digest_of_file(model), size_bytes=model.stat().st_size)
point = replace(point, measured=replace(point.measured, artifact=facts))
write_bundle(point, model, folder / "bundle")
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What was seen on the way, and the folder that holds the bundle."""
    folder = tmp_path_factory.mktemp("journey")
    package = folder / "autocompress"
    package.mkdir()
    for entry in ROOT.iterdir():
        if entry.suffix == ".py" or (entry.is_dir() and not entry.name.startswith(".")):
            (package / entry.name).symlink_to(entry)
    (package / "targets").unlink()
    shutil.copytree(ROOT / "targets", package / "targets", ignore=shutil.ignore_patterns("__pycache__"))
    runtimes = package / "targets/on_device/runtimes"
    added = runtimes / "reference_cpu"
    added.mkdir()
    files = {"__init__.py": "", "runtime.py": RUNTIME, "doctor.py": DOCTOR, "bundle.py": BUNDLE}
    for name, text in {**files, "facts.json": json.dumps(FACTS)}.items():
        (added / name).write_text(text)
    listed = runtimes / "listed.json"
    listed.write_text(listed.read_text().replace("{\n", '{\n    "reference": "reference_cpu",\n', 1))
    (folder / "reference.toml").write_text(PROFILE)
    done = subprocess.run(
        [sys.executable, "-c", JOURNEY, str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def test_its_profile_is_valid_and_explained(journey: tuple[dict[str, Any], Path]) -> None:
    seen, _ = journey
    assert "ONNX's reference, 1 thread; ONNX opset 21" in seen["explained"]


def test_its_facts_decide_what_is_legal(journey: tuple[dict[str, Any], Path]) -> None:
    seen, _ = journey
    assert seen["legal"] == ["float32", "int8"]
    assert [["float16", "fp8"], "ONNX's reference computes in float32 and int8 only"] in seen["ruled out"]
    assert [["int6", "int4", "int3", "int2"], "ONNX's reference does not expand packed weights"] in seen[
        "ruled out"
    ]


def test_the_doctor_says_its_lines_and_measures_with_it(journey: tuple[dict[str, Any], Path]) -> None:
    seen, _ = journey
    findings = {name: (ok, detail) for name, ok, detail in seen["findings"]}
    assert list(findings)[:2] == ["runtime", "reference"]
    assert findings["reference"][0] and findings["reference"][1].startswith("onnx 1.")
    assert findings["A/A control"][0]


def test_a_session_tells_precisions_and_times_and_measures(journey: tuple[dict[str, Any], Path]) -> None:
    seen, _ = journey
    assert seen["executed"] == {"fc": "float32"} and seen["times"] == {"fc": 0.25}
    assert seen["runtime"] == "reference"


def test_its_bundle_runs_by_itself(journey: tuple[dict[str, Any], Path]) -> None:
    bundle = journey[1] / "bundle"
    files = {"SHA256SUMS", "manifest.json", "model.onnx", "monitor.py", "run.py"}
    assert {path.name for path in bundle.iterdir()} == files
    done = subprocess.run(
        [sys.executable, str(bundle / "run.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("y\n(1, ")
