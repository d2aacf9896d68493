"""Compressor: builds the artifact of any recipe. Costly things (template, importance, calibration set) are
made once per task.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx
from torch import fx

from ..errors import StageError
from ..files import write_bytes
from ..tasks.task import Task
from .artifact import Artifact
from .graph.graph import argument, fold_batch_norms, get_tensor, layer_nodes
from .graph.network import Network
from .onnx_file.check import OutputCheck
from .onnx_file.encoding import Encoding, encode
from .onnx_file.export import Template, export_template, fill_template
from .onnx_file.qdq import shorten_names
from .onnx_file.quantize import observe_ranges, plan_quantization
from .onnx_file.restructure import edit_structure, restructure
from .onnx_file.template_cache import load_template, save_template, template_key
from .onnx_file.template_edit import edit_template
from .options import CompressorOptions, FileFormat
from .recipe import Recipe
from .stages import StageClock
from .student.fake_quantize import folded_steps
from .student.probe import Probe
from .student.prune import changed_edits
from .student.recover import Schedule
from .student.samples import Samples
from .student.student import Student, StudentMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """An artifact, the seconds that each stage took, and the check that its runtime must pass.

    `further` has the same student in the other formats that were asked for.
    """

    artifact: Artifact
    seconds: Mapping[str, float]
    check: OutputCheck
    further: Mapping[FileFormat, "BuildResult"] = field(default_factory=dict)


class Compressor:
    """Builds recipes of one task into ONNX files. Deterministic: the same recipe and seed give the same
    bytes.
    """

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
        self.options = options or CompressorOptions()
        self.cache_dir = cache_dir
        self._samples = Samples(task, self.options)
        self.students = StudentMaker(task, network, self.options, self._samples, levels_dir)
        self._templates: dict[str, Template] = {}
        self._originals: dict[FileFormat, Template] = {}

    def build(
        self,
        recipe: Recipe,
        out_dir: Path,
        *,
        progress: Callable[[str], None] | None = None,
        recovery_s: float | None = None,
        checkpoint: Path | None = None,
    ) -> BuildResult:
        """The artifact of a recipe, written to `out_dir/<digest>.onnx`. Raises StageError when the candidate
        fails.

        With `recovery_s` the recovery lasts so many seconds instead of its steps, and what scores best on the
        validation split in its second half is kept. `checkpoint` keeps its state, so that it goes on after a
        kill.
        """
        clock = StageClock()
        schedule = (
            None if recovery_s is None else Schedule(steps=0, seconds=recovery_s, checkpoint=checkpoint)
        )
        student = self.students.make(recipe, clock, progress or (lambda _: None), schedule)
        further = {form: self._built(student, recipe, out_dir, clock, form) for form in self.options.further}
        return replace(self._built(student, recipe, out_dir, clock, self.options.format), further=further)

    def _built(
        self, student: Student, recipe: Recipe, out_dir: Path, clock: StageClock, form: FileFormat
    ) -> BuildResult:
        """The student as a file of one format."""
        precision = student.precision
        folded = fold_batch_norms(student.module)
        self._assert_shapes(folded, recipe)
        original = not recipe.changes_layers and recipe.recovery is None
        with clock.stage("calibrate"):
            steps = folded_steps(student.module, folded, student.steps)
            encoding = encode(
                folded,
                precision,
                form.activations,
                ranges_of=lambda nodes: self._ranges(folded, nodes, original=original),
                steps={name: step.numpy() for name, step in steps.items()},
            )
        with clock.stage("build"):
            model, template = self._model(
                folded, student.removed, self._template_for(recipe, student.factored, form), form
            )
            encoding.write(model, template, self._weight_of, int8_weights=form.int8_weights)
            weights = {
                name: template.parameters.get(str(argument(node, 1).target))
                for name, node in layer_nodes(folded)
            }
            holders = {stored.initializer: name for name, stored in weights.items() if stored}
            shorten_names(model, holders | {f"{name}.weight_q": name for name in encoding.blocks})
            artifact = self._save(model, recipe, out_dir)
            check = self._check(encoding)
        return BuildResult(artifact=artifact, seconds=clock.seconds, check=check)

    @cached_property
    def probe(self) -> Probe:
        """What tells how far a candidate's answers will be from the original's, without building it."""
        return Probe(self.students)

    @property
    def template(self) -> Template:
        """The exported original."""
        return self._original(self.options.format)

    def _original(self, form: FileFormat) -> Template:
        """The exported original of a format."""
        if form not in self._originals:
            self._originals[form] = self._exported(self.students.teacher, form)
        return self._originals[form]

    def _template_for(self, recipe: Recipe, factored: tuple[str, ...], form: FileFormat) -> Template:
        """The template of the recipe's structure at the original widths: edited, or exported where no edit is
        possible.
        """
        original = self._original(form)
        if not recipe.skip and not factored:
            return original
        structure, replaced = restructure(self.students.teacher, self.students.blocks(recipe), factored)
        return edit_structure(original, structure, replaced, factored) or self._exported(structure, form)

    def _exported(self, folded: fx.GraphModule, form: FileFormat) -> Template:
        """The exported template of a folded graph; seconds to make, so that it is kept in memory and in
        `cache_dir`.
        """
        key = template_key(folded, form.opset)
        template = self._templates.get(key) or (
            load_template(self.cache_dir, key) if self.cache_dir else None
        )
        if template is None:
            template = export_template(folded, self._samples.first(4), form.opset)
            if self.cache_dir:
                save_template(template, self.cache_dir, key)
        self._templates[key] = template
        return template

    @cached_property
    def _original_ranges(self) -> Mapping[str, tuple[float, float]]:
        """Ranges of every tensor that any precision recipe can need in any format, from one pass over the
        calibration set.

        A layer alone may need one that all together do not: what joins its output in a sum, where nothing
        else is int8.
        """
        teacher, layers = self.students.teacher, [layer.name for layer in self.network.layers]
        chosen = [set(layers), *({name} for name in layers)]
        conventions = {form.activations for form in (self.options.format, *self.options.further)}
        plans = [plan_quantization(teacher, names, found) for found in conventions for names in chosen]
        needed = {name for plan in plans for pair in plan.tensors.items() for name in pair}
        return observe_ranges(
            teacher, sorted(needed), self._samples.calibration_batches(self.options.calibration_samples)
        )

    def _assert_shapes(self, folded: fx.GraphModule, recipe: Recipe) -> None:
        """Every planned removal must have happened."""
        planned = {layer.name: layer.channels_out for layer in self.network.cost(recipe).layers}
        left = folded.state_dict()
        for layer in self.network.layers:
            if (layer.weight in left) != bool(planned[layer.name]):
                raise StageError(
                    f"{layer.name} should be {'there' if planned[layer.name] else 'removed'}", stage="prune"
                )
            if (
                layer.weight in left
                and get_tensor(folded, layer.weight).shape[layer.out_dim] != planned[layer.name]
            ):
                raise StageError(f"{layer.name} should have {planned[layer.name]} channels", stage="prune")

    def _ranges(
        self, folded: fx.GraphModule, nodes: Sequence[str], *, original: bool
    ) -> Mapping[str, tuple[float, float]]:
        if original:
            return self._original_ranges
        return observe_ranges(
            folded, nodes, self._samples.calibration_batches(self.options.pruned_calibration_samples)
        )

    def _model(
        self, folded: fx.GraphModule, removed: frozenset[int], template: Template, form: FileFormat
    ) -> tuple[onnx.ModelProto, Template]:
        """The float32 ONNX model: the edited template, or a new export where the template cannot follow the
        change.
        """
        if template.serves(folded):
            model = fill_template(template, folded)
            nodes = {node.name for node in folded.graph.nodes}
            changes = changed_edits(self.network.channels, removed)
            if edit_template(
                model, template, {node: change for node, change in changes.items() if node in nodes}
            ):
                return model, template
        template = export_template(folded, self._samples.first(4), form.opset)
        return fill_template(template, folded), template

    def _weight_of(self, layer: str) -> str:
        return next((known.weight for known in self.network.layers if known.name == layer), f"{layer}.weight")

    def _save(self, model: onnx.ModelProto, recipe: Recipe, out_dir: Path) -> Artifact:
        data = model.SerializeToString(deterministic=True)
        digest, cost = hashlib.sha256(data).hexdigest(), self.network.cost(recipe)
        path = out_dir / f"{digest}.onnx"
        write_bytes(path, data)
        precision = {layer.name: layer.precision for layer in cost.layers}
        return Artifact(
            path=path,
            digest=digest,
            size_bytes=len(data),
            macs=cost.macs,
            parameters=cost.parameters,
            precision=precision,
        )

    def _check(self, encoding: Encoding) -> OutputCheck:
        inputs = tuple(x[: self.options.check_samples] for x in self._samples.calibration)
        expected = encoding.outputs(inputs)
        return OutputCheck(
            inputs=tuple(x.numpy() for x in inputs),
            expected=tuple(x.numpy() for x in expected),
            tolerance=encoding.tolerance,
        )
