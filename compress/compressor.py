"""Compressor: builds the artifact of any recipe. Costly things (template, importance, calibration set) are made once per task."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import onnx
import torch
from torch import Tensor, fx

from ..errors import StageError
from ..files import digest_of, write_bytes
from ..tasks.data import Batch, batches, read
from ..tasks.task import Task
from .artifact import Artifact
from .check import FLOAT_TOLERANCE, QUANTIZED_TOLERANCE, OutputCheck
from .export import Template, export_template, fill_template
from .graph import bias_name, fold_batch_norms, get_tensor
from .importance import Scores, magnitude_scores, taylor_scores
from .network import Network
from .prune import changed_edits, prune, removed_units
from .qdq import shorten_names, write_qdq
from .quantize import Plan, QuantizedLayer, Scale, calibrate, fake_quantized_outputs, plan_quantization, quantize_layers
from .recipe import Recipe
from .recover import distill, reestimate_statistics
from .template_cache import load_template, save_template, template_key
from .template_edit import edit_template

Importance = Literal["magnitude", "taylor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressorOptions:
    """What the target and the user decide about building. Counts are samples of the training split."""

    opset: int = 21
    importance: Importance = "magnitude"
    calibration_samples: int = 256
    pruned_calibration_samples: int = 64
    statistics_samples: int = 512
    batch_size: int = 128
    check_samples: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """An artifact, the seconds that each stage took, and the check that its runtime must pass."""

    artifact: Artifact
    seconds: Mapping[str, float]
    check: OutputCheck


@dataclass(slots=True)
class _Clock:
    """Seconds per stage; an error of the model inside a stage becomes that stage's failure."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: Literal["prune", "recover", "calibrate", "build"]) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except (RuntimeError, ValueError, MemoryError) as error:
            kind = "memory" if isinstance(error, MemoryError) or "alloc" in str(error) else "error"
            raise StageError(f"{type(error).__name__}: {error}"[:400], stage=name, kind=kind) from error  # type: ignore[arg-type]
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Compressor:
    """Builds recipes of one task into ONNX files. Deterministic: the same recipe and seed give the same bytes."""

    def __init__(self, task: Task, network: Network, options: CompressorOptions | None = None, *, cache_dir: Path | None = None):
        self.task = task
        self.network = network
        self.options = options or CompressorOptions()
        self.cache_dir = cache_dir

    def build(self, recipe: Recipe, out_dir: Path, *, progress: Callable[[str], None] | None = None) -> BuildResult:
        """The artifact of a recipe, written to `out_dir/<digest>.onnx`. Raises StageError when the candidate fails."""
        clock, say = _Clock(), progress or (lambda _: None)
        with clock.stage("prune"):
            removed = removed_units(self.network.group_by_name, recipe.keep, self.scores)
            module = prune(self.network.module, self.network.channels, removed)
        with clock.stage("recover"):
            self._recover(module, recipe, say)
        folded = fold_batch_norms(module)
        self._assert_shapes(folded, recipe)
        with clock.stage("calibrate"):
            plan = plan_quantization(folded, set(recipe.precision))
            scales = self._scales(folded, plan, original=not recipe.keep and recipe.recovery is None)
        with clock.stage("build"):
            quantized = quantize_layers(folded, plan, scales)
            model, template = self._model(folded, removed)
            write_qdq(model, template, plan, scales, {name: (*self._parameters_of(name), q) for name, q in quantized.items()})
            shorten_names(model, {template.parameters[layer.weight].initializer: layer.name for layer in self.network.layers})
            artifact = self._save(model, recipe, out_dir)
            check = self._check(folded, plan, scales, quantized)
        return BuildResult(artifact=artifact, seconds=clock.seconds, check=check)

    @cached_property
    def scores(self) -> Scores:
        """Importance of every removable channel."""
        if self.options.importance == "magnitude":
            return magnitude_scores(self.network.module, self.network.groups)
        found = self._training_batches(64, self._seed_for("importance"))
        return taylor_scores(self.network.module, self.network.channels, self.task.loss, [next(found) for _ in range(8)])

    @cached_property
    def template(self) -> Template:
        """The exported original; seconds to make, so that it is kept in `cache_dir`."""
        key = template_key(self._folded_original, self.options.opset)
        template = load_template(self.cache_dir, key) if self.cache_dir else None
        if template is None:
            template = export_template(self._folded_original, self._samples(4), self.options.opset)
            if self.cache_dir:
                save_template(template, self.cache_dir, key)
        return template

    @cached_property
    def _folded_original(self) -> fx.GraphModule:
        return fold_batch_norms(self.network.module)

    @cached_property
    def _original_scales(self) -> Mapping[str, Scale]:
        """Ranges of every tensor that any precision recipe can need, from one pass over the calibration set."""
        plan = plan_quantization(self._folded_original, {layer.name for layer in self.network.layers})
        needed = set(plan.tensors.values()) | set(plan.tensors)
        return calibrate(self._folded_original, sorted(needed), self._batches_of(self.options.calibration_samples))

    def _samples(self, count: int) -> tuple[Tensor, ...]:
        """The first inputs of the training split, never augmented."""
        parts = [inputs for inputs, _ in read(self.task.train, limit=count)]
        return tuple(torch.cat(column)[:count] for column in zip(*parts, strict=True))

    @cached_property
    def _calibration_inputs(self) -> tuple[Tensor, ...]:
        return self._samples(self.options.calibration_samples)

    def _batches_of(self, count: int, size: int = 64) -> list[tuple[Tensor, ...]]:
        inputs = tuple(x[:count] for x in self._calibration_inputs)
        return list(zip(*(torch.split(x, size) for x in inputs), strict=True))

    def _training_batches(self, size: int, seed: int) -> Iterator[Batch]:
        return batches(self.task.train, batch_size=size, seed=seed, augment=self.task.augment)

    def _statistics_batches(self) -> list[tuple[Tensor, ...]]:
        """Augmented like in training: plain training images alone cost a ResNet-20 three points of accuracy."""
        size = self.options.batch_size
        found = self._training_batches(size, self._seed_for("statistics"))
        return [next(found)[0] for _ in range(max(1, self.options.statistics_samples // size))]

    def _seed_for(self, purpose: str) -> int:
        return int(digest_of([self.options.seed, purpose])[:8], 16)

    def _recover(self, module: fx.GraphModule, recipe: Recipe, say: Callable[[str], None]) -> None:
        if not recipe.keep and recipe.recovery is None:
            return
        reestimate_statistics(module, self._statistics_batches())
        if recipe.recovery is not None:
            seed, steps = self._seed_for(recipe.digest), recipe.recovery.steps
            data = self._training_batches(self.options.batch_size, seed)
            distill(
                module,
                self._folded_original,
                self.task.loss,
                data,
                recipe.recovery,
                seed=seed,
                progress=lambda done: say(f"recover {done}/{steps}"),
            )
        broken = next((name for name, x in module.state_dict().items() if not torch.isfinite(x).all()), None)
        if broken is not None:
            raise StageError(f"recovery left values that are not finite in {broken}", stage="recover")

    def _assert_shapes(self, folded: fx.GraphModule, recipe: Recipe) -> None:
        """Every planned removal must have happened."""
        planned = {layer.name: layer.channels_out for layer in self.network.cost(recipe).layers}
        for layer in self.network.layers:
            if get_tensor(folded, layer.weight).shape[0] != planned[layer.name]:
                raise StageError(f"{layer.name} should have {planned[layer.name]} channels", stage="prune")

    def _scales(self, folded: fx.GraphModule, plan: Plan, *, original: bool) -> Mapping[str, Scale]:
        if not plan.layers:
            return {}
        if original:
            return self._original_scales
        return calibrate(folded, sorted(set(plan.tensors.values())), self._batches_of(self.options.pruned_calibration_samples))

    def _model(self, folded: fx.GraphModule, removed: frozenset[int]) -> tuple[onnx.ModelProto, Template]:
        """The float32 ONNX model: the edited template, or a new export where the template cannot follow the change."""
        if set(folded.state_dict()) <= set(self.template.parameters):
            model = fill_template(self.template, folded)
            if edit_template(model, self.template, changed_edits(self.network.channels, removed)):
                return model, self.template
        template = export_template(folded, self._samples(4), self.options.opset)
        return fill_template(template, folded), template

    def _parameters_of(self, layer: str) -> tuple[str, str]:
        weight = next(known.weight for known in self.network.layers if known.name == layer)
        return weight, bias_name(weight)

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

    def _check(
        self, folded: fx.GraphModule, plan: Plan, scales: Mapping[str, Scale], quantized: Mapping[str, QuantizedLayer]
    ) -> OutputCheck:
        inputs = tuple(x[: self.options.check_samples] for x in self._calibration_inputs)
        outputs = fake_quantized_outputs(folded, plan, scales, quantized, inputs)
        expected = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        tolerance = QUANTIZED_TOLERANCE if plan.layers else FLOAT_TOLERANCE
        return OutputCheck(
            inputs=tuple(x.numpy() for x in inputs), expected=tuple(x.numpy() for x in expected), tolerance=tolerance
        )
