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
from ..tasks.quality import evaluate
from ..tasks.task import Task
from .artifact import Artifact
from .block4 import round_to_blocks, write_blocks
from .blocks import Block, remove_blocks
from .check import FLOAT_TOLERANCE, QUANTIZED_TOLERANCE, OutputCheck
from .database import LevelDatabase, RoundingMethod
from .export import Template, export_template, fill_template
from .fake_quantize import folded_steps, start_on_grid
from .graph import argument, bias_name, fold_batch_norms, get_tensor, layer_nodes
from .importance import Scores, magnitude_scores, taylor_scores
from .low_rank import factor_name, factorize
from .network import Network
from .prune import changed_edits, kept_slots, prune, removed_units
from .qdq import shorten_names, write_qdq
from .quantize import Plan, QuantizedLayer, Scale, calibrate, fake_quantized_outputs, plan_quantization, quantize_layers
from .recipe import BITS, INTEGER, Precision, Recipe
from .reconstruct import Rounding
from .recover import Schedule, distill, reestimate_statistics
from .refit import refit
from .restructure import edit_structure, restructure
from .statistics import input_moments
from .stitch import kept_outputs, stitch
from .template_cache import load_template, save_template, template_key
from .template_edit import edit_template

Importance = Literal["reconstruction", "magnitude", "taylor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressorOptions:
    """What the target and the user decide about building. Counts are samples of the training split."""

    opset: int = 21
    importance: Importance = "reconstruction"
    rounding: RoundingMethod = "gptq"
    database_samples: int = 1024
    refit_samples: int = 512
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
    def stage(self, name: Literal["prune", "reconstruct", "recover", "calibrate", "build"]) -> Iterator[None]:
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
        self.levels_dir = levels_dir
        self._templates: dict[str, Template] = {}
        self._moments: dict[str, Tensor] = {}

    def build(
        self,
        recipe: Recipe,
        out_dir: Path,
        *,
        progress: Callable[[str], None] | None = None,
        recovery_s: float | None = None,
        checkpoint: Path | None = None,
    ) -> BuildResult:
        """The artifact of a recipe, written to `out_dir/<digest>.onnx`. Raises StageError when the candidate fails.

        With `recovery_s` the recovery lasts so many seconds instead of its steps, and what scores best on the validation
        split in its second half is kept. `checkpoint` keeps its state, so that it goes on after a kill.
        """
        clock, say = _Clock(), progress or (lambda _: None)
        with clock.stage("prune"):
            removed = removed_units(self.network.group_by_name, recipe.keep, self.scores if recipe.keep else {})
            module = prune(self.network.module, self.network.channels, removed)
            remove_blocks(module, self._blocks(recipe))
            factored = factorize(module, self._ranks(recipe), self._second_moments(recipe, removed))
        with clock.stage("reconstruct"):
            roundings = self._reconstruct(module, recipe, removed, factored)
        with clock.stage("recover"):
            steps = self._recover(module, recipe, roundings, say, recovery_s, checkpoint)
        folded = fold_batch_norms(module)
        steps = folded_steps(module, folded, steps)
        self._assert_shapes(folded, recipe)
        with clock.stage("calibrate"):
            precision = self._precision(recipe, factored)
            blocks = round_to_blocks(folded, {name for name, found in precision.items() if found == "block4"})
            plan = plan_quantization(folded, {name for name, found in precision.items() if found in INTEGER})
            scales = self._scales(folded, plan, original=not recipe.changes_layers and recipe.recovery is None)
        with clock.stage("build"):
            quantized = quantize_layers(folded, plan, scales, precision, {name: step.numpy() for name, step in steps.items()})
            model, template = self._model(folded, removed, self._template_for(recipe, factored))
            write_qdq(model, template, plan, scales, {name: (*self._parameters_of(name), q) for name, q in quantized.items()})
            write_blocks(model, template, {name: (self._parameters_of(name)[0], found) for name, found in blocks.items()})
            weights = {name: template.parameters.get(str(argument(node, 1).target)) for name, node in layer_nodes(folded)}
            holders = {stored.initializer: name for name, stored in weights.items() if stored}
            shorten_names(model, holders | {f"{name}.weight_q": name for name in blocks})
            artifact = self._save(model, recipe, out_dir)
            check = self._check(folded, plan, scales, quantized)
        return BuildResult(artifact=artifact, seconds=clock.seconds, check=check)

    @cached_property
    def scores(self) -> Scores:
        """Importance of every removable channel; reconstruction tells the order, magnitude where no layer reads a channel."""
        if self.options.importance == "reconstruction":
            scores = magnitude_scores(self.network.module, self.network.groups)
            for group in self.network.groups:
                if (removal := self.database.removal(group)) is not None:
                    scores |= {group.units[unit].number: float(place) for place, unit in enumerate(removal.order)}
            return scores
        if self.options.importance == "magnitude":
            return magnitude_scores(self.network.module, self.network.groups)
        found = self._training_batches(64, self._seed_for("importance"))
        return taylor_scores(self.network.module, self.network.channels, self.task.loss, [next(found) for _ in range(8)])

    @cached_property
    def template(self) -> Template:
        """The exported original."""
        return self._exported(self._folded_original)

    def _template_for(self, recipe: Recipe, factored: tuple[str, ...]) -> Template:
        """The template of the recipe's structure at the original widths: edited, or exported where no edit is possible."""
        if not recipe.skip and not factored:
            return self.template
        structure, replaced = restructure(self._folded_original, self._blocks(recipe), factored)
        return edit_structure(self.template, structure, replaced, factored) or self._exported(structure)

    def _exported(self, folded: fx.GraphModule) -> Template:
        """The exported template of a folded graph; seconds to make, so that it is kept in memory and in `cache_dir`."""
        key = template_key(folded, self.options.opset)
        template = self._templates.get(key) or (load_template(self.cache_dir, key) if self.cache_dir else None)
        if template is None:
            template = export_template(folded, self._samples(4), self.options.opset)
            if self.cache_dir:
                save_template(template, self.cache_dir, key)
        self._templates[key] = template
        return template

    def _blocks(self, recipe: Recipe) -> list[Block]:
        """The blocks that the recipe removes. ValueError for one that the model does not have."""
        known = {block.name: block for block in self.network.blocks}
        unknown = [name for name in recipe.skip if name not in known]
        if unknown:
            raise ValueError(f"the model has no residual block {unknown[0]!r}: its blocks are {', '.join(known) or 'none'}")
        return [known[name] for name in recipe.skip]

    def _ranks(self, recipe: Recipe) -> Mapping[str, int]:
        """The recipe's ranks without those of removed blocks."""
        gone = {layer for block in self._blocks(recipe) for layer in block.layers}
        return {name: rank for name, rank in recipe.rank.items() if name not in gone}

    def _second_moments(self, recipe: Recipe, removed: frozenset[int]) -> dict[str, Tensor]:
        """E[x xᵀ] of the inputs of the layers to be factored, in the original model, for the channels that are left."""
        channels, found = self.network.channels, {}
        uses = {use.parameter: use.slots for use in channels.uses if use.dim == 1}
        missing = [name for name in self._ranks(recipe) if name not in self._moments]
        if missing:
            moments = input_moments(self.network.module, self._batches_of(self.options.calibration_samples), layers=missing)
            self._moments |= {name: item.second[0] for name, item in moments.items()}
        for name in self._ranks(recipe):
            found[name] = self._moments[name]
            if (slots := uses.get(f"{name}.weight")) is not None:
                kept = torch.from_numpy(kept_slots(channels, slots, removed))
                found[name] = found[name][kept][:, kept]
        return found

    def _precision(self, recipe: Recipe, factored: tuple[str, ...]) -> dict[str, Precision]:
        """The precision of every layer that is left and not float32; both factors of a layer have the layer's."""
        gone = {layer for block in self._blocks(recipe) for layer in block.layers}
        precision = {name: found for name, found in recipe.precision.items() if name not in gone}
        return precision | {factor_name(name): precision[name] for name in factored if name in precision}

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
    def database(self) -> LevelDatabase:
        """The level database of the task; what it holds is on disk, or made when it is asked for."""
        return LevelDatabase(
            self.network,
            lambda: self._augmented_batches("database", self.options.database_samples),
            directory=self.levels_dir,
            rounding=self.options.rounding,
        )

    @cached_property
    def _refit_inputs(self) -> tuple[Tensor, ...]:
        found = self._augmented_batches("refit", self.options.refit_samples)
        return tuple(torch.cat(column) for column in zip(*found, strict=True))

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
        return self._augmented_batches("statistics", self.options.statistics_samples)

    def _augmented_batches(self, purpose: str, samples: int) -> list[tuple[Tensor, ...]]:
        size = self.options.batch_size
        found = self._training_batches(size, self._seed_for(purpose))
        return [next(found)[0] for _ in range(max(1, samples // size))]

    def _seed_for(self, purpose: str) -> int:
        return int(digest_of([self.options.seed, purpose])[:8], 16)

    def _reconstruct(
        self, module: fx.GraphModule, recipe: Recipe, removed: frozenset[int], factored: tuple[str, ...]
    ) -> dict[str, Rounding]:
        """Weights that make up for what was removed and rounded, from the database, then fitted layer by layer."""
        bits = self._bits(recipe, factored)
        if not recipe.changes_layers and not bits:
            return {}
        samples = self.options.refit_samples if recipe.changes_layers else 0
        roundings = stitch(module, self.database, removed, {} if samples else bits)
        if samples:
            kept = {layer.name: kept_outputs(self.network, layer.name, removed) for layer in self.network.layers}
            inputs = tuple(x[:samples] for x in self._refit_inputs)
            roundings = refit(module, self.network.module, inputs, kept, bits)
        if recipe.recovery is None and (roundings or not samples):
            reestimate_statistics(module, self._statistics_batches())
        return roundings

    def _bits(self, recipe: Recipe, factored: tuple[str, ...]) -> dict[str, int]:
        """Widths of the layers with integer weights below 8 bits."""
        precision = self._precision(recipe, factored)
        return {name: BITS[found] for name, found in precision.items() if found in INTEGER and BITS[found] < 8}

    def _recover(
        self,
        module: fx.GraphModule,
        recipe: Recipe,
        roundings: Mapping[str, Rounding],
        say: Callable[[str], None],
        seconds: float | None,
        checkpoint: Path | None,
    ) -> dict[str, Tensor]:
        """Trains the module if the recipe says so; the steps of rounded layers."""
        if recipe.recovery is None:
            return {name: rounding.step for name, rounding in roundings.items()}
        bits = {name: BITS[recipe.precision[name]] for name in roundings}
        grid = start_on_grid(module, roundings, bits)
        seed = self._seed_for(recipe.digest)
        distill(
            module,
            self._folded_original,
            self.task.loss,
            self._training_batches(self.options.batch_size, seed),
            recipe.recovery,
            seed=seed,
            grid=grid,
            schedule=Schedule(steps=recipe.recovery.steps, seconds=seconds, checkpoint=checkpoint),
            validate=self._validate(module) if seconds is not None else None,
            progress=say,
        )
        steps = grid.settle(module)
        broken = next((name for name, x in module.state_dict().items() if not torch.isfinite(x).all()), None)
        if broken is not None:
            raise StageError(f"recovery left values that are not finite in {broken}", stage="recover")
        return steps

    def _validate(self, module: fx.GraphModule) -> Callable[[], float]:
        """The metric of the module on the validation split, negated where lower is better."""
        sign = 1 if self.task.metric.direction == "higher" else -1
        return lambda: sign * evaluate(module, self.task.validation, self.task.metric)

    def _assert_shapes(self, folded: fx.GraphModule, recipe: Recipe) -> None:
        """Every planned removal must have happened."""
        planned = {layer.name: layer.channels_out for layer in self.network.cost(recipe).layers}
        left = folded.state_dict()
        for layer in self.network.layers:
            if (layer.weight in left) != bool(planned[layer.name]):
                raise StageError(f"{layer.name} should be {'there' if planned[layer.name] else 'removed'}", stage="prune")
            if layer.weight in left and get_tensor(folded, layer.weight).shape[layer.out_dim] != planned[layer.name]:
                raise StageError(f"{layer.name} should have {planned[layer.name]} channels", stage="prune")

    def _scales(self, folded: fx.GraphModule, plan: Plan, *, original: bool) -> Mapping[str, Scale]:
        if not plan.layers:
            return {}
        if original:
            return self._original_scales
        return calibrate(folded, sorted(set(plan.tensors.values())), self._batches_of(self.options.pruned_calibration_samples))

    def _model(self, folded: fx.GraphModule, removed: frozenset[int], template: Template) -> tuple[onnx.ModelProto, Template]:
        """The float32 ONNX model: the edited template, or a new export where the template cannot follow the change."""
        if template.serves(folded):
            model = fill_template(template, folded)
            nodes = {node.name for node in folded.graph.nodes}
            changes = changed_edits(self.network.channels, removed)
            if edit_template(model, template, {node: change for node, change in changes.items() if node in nodes}):
                return model, template
        template = export_template(folded, self._samples(4), self.options.opset)
        return fill_template(template, folded), template

    def _parameters_of(self, layer: str) -> tuple[str, str]:
        weight = next((known.weight for known in self.network.layers if known.name == layer), f"{layer}.weight")
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
