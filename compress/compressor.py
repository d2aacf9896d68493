"""Compressor: builds the artifact of any recipe. Costly things (templates, importance, calibration set) are
made once per task.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import onnx
from torch import Tensor, fx

from ..errors import InputError, StageError
from ..files import write_bytes
from ..tasks.splits.tokens import listed
from ..tasks.task import Task
from .artifact import Artifact
from .graph.devices import on_device
from .graph.graph import argument, array_of, fold_batch_norms, get_tensor, layer_nodes
from .graph.network import Network
from .heap import give_copies_back
from .levels.activations import observe
from .litert_file.convert import litert_from_onnx
from .litert_file.emitter import UnsupportedError
from .onnx_file.check import FLOAT_TOLERANCE, HALF_TOLERANCE, QUANTIZED_TOLERANCE, OutputCheck
from .onnx_file.encoding.encoding import Encoding, Ranges, encode
from .onnx_file.encoding.qdq import shorten_names
from .onnx_file.export import Template
from .onnx_file.fusing.fuse import fuse
from .onnx_file.templates import Templates
from .onnx_file.used_rows import keep_used_rows
from .options import CompressorOptions, FileFormat
from .recipe import Recipe
from .stages import StageClock, computed_on
from .student.maker import StudentMaker
from .student.probe import Probe
from .student.prune import changed_edits
from .student.samples import Samples
from .student.student import Student
from .student.training.fake_quantize import folded_steps
from .student.training.recover import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFile:
    """An artifact, and the check that its runtime must pass; also those with inputs of other shapes."""

    artifact: Artifact
    check: OutputCheck
    more_checks: tuple[OutputCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """One student as a file of each format that was asked for, and the seconds that each stage took."""

    by_format: Mapping[FileFormat, BuiltFile]
    seconds: Mapping[str, float]

    def of(self, form: FileFormat) -> BuiltFile:
        """The file of one format."""
        return self.by_format[form]

    @property
    def only(self) -> BuiltFile:
        """The file of a build in a single format; ValueError when there are several."""
        (built,) = self.by_format.values()
        return built


class Compressor:
    """Builds recipes of one task into ONNX files. Deterministic: equal recipes and seeds give equal bytes."""

    def __init__(
        self,
        task: Task,
        network: Network,
        options: CompressorOptions | None = None,
        *,
        cache_dir: Path | None = None,
        levels_dir: Path | None = None,
    ):
        self.task = task
        self.network = network
        self.options = (options or CompressorOptions()).affordable(network.macs)
        self.cache_dir = cache_dir
        self._samples = Samples(task, self.options)
        self.students = StudentMaker(task, network, self.options, self._samples, levels_dir)
        self._templates: dict[StudentMaker, Templates] = {}

    def build(
        self,
        recipe: Recipe,
        out_dir: Path,
        *,
        progress: Callable[[str], None] | None = None,
        formats: Collection[FileFormat] | None = None,
        recovery_s: float | None = None,
        checkpoint: Path | None = None,
    ) -> BuildResult:
        """The artifacts of a recipe, each written to `out_dir/<digest>.<container>`, in all formats or those
        that are given. StageError when the candidate fails.

        With `recovery_s` the recovery takes so many seconds instead of the recipe's steps. It keeps its last
        state unless an earlier one is shown to be better on training samples that were held back, and saves
        its own to `checkpoint`, from which the next call continues after a kill.
        """
        clock = StageClock()
        schedule = None
        if recovery_s is not None:
            schedule = Schedule(steps=0, seconds=recovery_s, checkpoint=checkpoint)
        students = self.students.at(recipe.resolution)
        student = students.make(recipe, clock, progress or (lambda _: None), schedule)
        by_format: dict[FileFormat, BuiltFile] = {}
        refused: list[UnsupportedError] = []
        for form in self.options.formats if formats is None else formats:
            try:
                by_format[form] = self._built(student, recipe, out_dir, clock, form)
            except UnsupportedError as error:
                refused.append(error)
        if refused and not (self.options.optional and by_format):
            raise refused[0]
        del student
        give_copies_back(self.network.module)
        return BuildResult(by_format=by_format, seconds=clock.seconds)

    def require_writable(self) -> None:
        """InputError where the original cannot be written in one of the formats; it names the operator. Of
        `optional` ones, where it can be written in none.
        """
        unwritable = self.unwritable()
        if unwritable and not (self.options.optional and len(unwritable) < len(self.options.formats)):
            raise InputError(
                f"{next(iter(unwritable.values()))}. Choose a target with another runtime, such as 'cpu', or "
                "leave the operator out of the model."
            )

    def unwritable(self) -> dict[FileFormat, str]:
        """Why the original cannot be written, by format that has no place for it."""
        reasons: dict[FileFormat, str] = {}
        for form in self.options.formats:
            if form.container == "onnx":
                continue
            opset, teacher = form.opset, self.students.original.teacher
            model, _ = self._templates_of(self.students).model_of(
                teacher, {}, blocks=(), factored=(), opset=opset
            )
            try:
                _file_of(model, form)
            except UnsupportedError as error:
                reasons[form] = str(error)
        return reasons

    def _built(
        self, student: Student, recipe: Recipe, out_dir: Path, clock: StageClock, form: FileFormat
    ) -> BuiltFile:
        """The student as a file of one format."""
        students = self.students.at(recipe.resolution)
        folded = fold_batch_norms(student.module)
        self._assert_shapes(folded, recipe)
        with clock.stage("build"):  # with the weights as they are: a template holds those of a GRU in its own
            model, template = self._templates_of(students).model_of(
                folded,
                changed_edits(students.network.channels, student.removed),
                blocks=students.structure.blocks(recipe),
                factored=student.factored,
                opset=form.opset,
            )
        with clock.stage("calibrate"):
            encoding = self._encoding(student, folded, recipe, form)
        with clock.stage("build"):
            if recipe.used_rows:
                used_rows = self.network.used_rows
                by_parameter = {self._weight_of(name): used for name, used in used_rows.items()}
                keep_used_rows(model, template, by_parameter)
                encoding = encoding.with_used_rows(used_rows)
            encoding.write(model, template, self._weight_of, int8_weights=form.int8_weights)
            if recipe.fused and form.fused_operators:
                fuse(model)
            shorten_names(model, _weight_holders(folded, template, encoding))
            artifact = self._save(_file_of(model, form), recipe, out_dir, form)
            tokens = self.task.used_tokens if recipe.used_rows else {}
            shapes = [listed(inputs, tokens) for inputs in self._samples.of_extreme_shapes]
            first, *others = [self._check(encoding, inputs) for inputs in shapes]
        return BuiltFile(artifact=artifact, check=first, more_checks=tuple(others))

    @cached_property
    def probe(self) -> Probe:
        """Predicts how far a candidate's outputs will be from the original's, without building it."""
        return Probe(self.students)

    def _templates_of(self, students: StudentMaker) -> Templates:
        """The templates of the original on images of a size."""
        if students not in self._templates:
            templates = Templates(students.original.teacher, self._samples.examples, self.cache_dir)
            self._templates[students] = templates
        return self._templates[students]

    def _encoding(
        self, student: Student, folded: fx.GraphModule, recipe: Recipe, form: FileFormat
    ) -> Encoding:
        original = not recipe.changes_layers and recipe.recovery is None

        def ranges_of(nodes: Sequence[str]) -> Ranges:
            if original:
                return self.students.at(recipe.resolution).original.ranges
            known, count = self.students.original, self.options.pruned_calibration_samples
            placed = on_device(folded, known.device)
            return known.calibrated(lambda batches: observe(placed, nodes, batches), count)

        steps = folded_steps(student.module, folded, student.steps)
        return encode(
            folded,
            student.precision,
            form.activations,
            ranges_of=ranges_of,
            steps={name: step.numpy() for name, step in steps.items()},
        )

    def _assert_shapes(self, folded: fx.GraphModule, recipe: Recipe) -> None:
        """Raises StageError when a planned removal did not happen."""
        planned = {layer.name: layer.channels_out for layer in self.network.cost(recipe).layers}
        present = folded.state_dict()
        for layer in self.network.layers:
            channels = planned[layer.name]
            if (layer.weight in present) != bool(channels):
                expected = "there" if channels else "removed"
                raise StageError(f"{layer.name} should be {expected}", stage="prune")
            if channels and get_tensor(folded, layer.weight).shape[layer.out_dim] != channels:
                raise StageError(f"{layer.name} should have {channels} channels", stage="prune")

    def _weight_of(self, name: str) -> str:
        """The weight parameter of a layer; a first factor is no layer of the network."""
        for layer in self.network.layers:
            if layer.name == name:
                return layer.weight
        return f"{name}.weight"

    def _save(self, data: bytes, recipe: Recipe, out_dir: Path, form: FileFormat) -> Artifact:
        digest = hashlib.sha256(data).hexdigest()
        path = out_dir / f"{digest}.{form.container}"
        write_bytes(path, data)
        cost = self.network.cost(recipe)
        return Artifact(
            path=path,
            digest=digest,
            size_bytes=len(data),
            macs=cost.macs,
            parameters=cost.parameters,
            precision={layer.name: layer.precision for layer in cost.layers},
        )

    def _check(self, encoding: Encoding, inputs: tuple[Tensor, ...]) -> OutputCheck:
        inputs = tuple(x[: self.options.check_samples] for x in inputs)
        device = self.students.original.device
        expected = _arrays(computed_on(device, partial(encoding.outputs, inputs)))
        unrounded: tuple[np.ndarray, ...] = ()
        tolerance = HALF_TOLERANCE if encoding.half else FLOAT_TOLERANCE
        if encoding.rounds_activations:
            tolerance = QUANTIZED_TOLERANCE
            unrounded = _arrays(computed_on(device, partial(encoding.unrounded_outputs, inputs)))
        return OutputCheck(
            inputs=_arrays(inputs), expected=expected, tolerance=tolerance, unrounded=unrounded
        )


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    return tuple(array_of(x) for x in tensors)


def _file_of(model: onnx.ModelProto, form: FileFormat) -> bytes:
    """The bytes of an encoded model in the container of a format. Raises StageError (unsupported)."""
    if form.container == "tflite":
        return litert_from_onnx(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _weight_holders(folded: fx.GraphModule, template: Template, encoding: Encoding) -> dict[str, str]:
    """By ONNX value that a layer multiplies with, the layer's name."""
    holders = {}
    for name, node in layer_nodes(folded):
        stored = template.parameters.get(str(argument(node, 1).target))
        if stored:
            holders[stored.initializer] = name
    return holders | {f"{name}.weight_q": name for name in (*encoding.blocks, *encoding.dynamic)}
