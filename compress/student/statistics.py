"""Statistics of a student's batch normalizations: the original's, moved by what was changed before them."""

from collections.abc import Mapping, Sequence, Set

import torch
from torch import Tensor, fx

from ..graph.graph import argument, batch_norms
from ..graph.network import Network
from ..options import CompressorOptions
from ..recipe import DYNAMIC, INTEGER, Recipe
from ..stages import in_time
from .normalization import Change, move_statistics, restore_statistics
from .original import Original
from .rounded_activations import dynamically_rounded, rounded_activations
from .student import Student


class Statistics:
    """Estimates them for students of one network, from what its original has."""

    def __init__(self, network: Network, options: CompressorOptions, original: Original):
        self.network, self.options, self.original = network, options, original

    def rounded_activations(
        self, student: Student, recipe: Recipe, *, trained: bool = False
    ) -> dict[str, Change]:
        """By node, how the file of the first format rounds its values: with the ranges of the original where
        its shapes stay and it is not `trained`.
        """
        layers = [name for name, kind in student.precision.items() if kind in INTEGER]
        dynamic = {name for name, kind in student.precision.items() if kind in DYNAMIC}
        changes: dict[str, Change] = dynamically_rounded(student.module, dynamic)
        if layers:
            known = {} if recipe.changes_layers or trained else self.original.ranges
            activations = self.options.formats[0].activations
            changes |= rounded_activations(student.module, layers, activations, known)
        return changes

    def remaining(self, student: Student) -> dict[str, Tensor]:
        """By running mean, the mask of the channels that remain, for normalizations that lost some."""
        if not student.removed:
            return {}
        channels, masks = self.network.channels, {}
        for use in channels.uses:
            if use.parameter in self.original.running_means:
                mask = channels.remaining(use.slots, student.removed)
                if not mask.all():
                    masks[use.parameter] = torch.from_numpy(mask)
        return masks

    def settle(self, student: Student, recipe: Recipe) -> None:
        """Behind a training: what normalizations learned is an average over the last few batches, each from
        other weights.
        """
        norms = [node for node in batch_norms(student.module) if argument(node, 3) is not None]
        learned = [node for node in norms if node.name not in self.original.frozen_norms]
        if learned and self.options.reconstruct and self.original.moments:
            rounded = self.rounded_activations(student, recipe, trained=True)
            self.take(student, learned, rounded)

    def take(self, student: Student, norms: Sequence[fx.Node], rounded: Mapping[str, Change]) -> None:
        """Gives normalizations the original's statistics, moved by the difference that is measured in the
        finished model: what fitting or training made of them is undone.
        """
        names, masks = {node.name for node in norms}, self.remaining(student)
        restore_statistics(norms, student.module, self.network.module, masks)
        self.move(student.module, names, masks, rounded)

    def move(
        self,
        module: fx.GraphModule,
        names: Set[str] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        rounded: Mapping[str, Change] | None = None,
    ) -> None:
        """Moves the statistics of the named normalizations, or of all (`normalization.move_statistics`)."""
        original = self.original

        def move() -> None:
            moments = original.moments
            wanted = moments[0].keys() if names is None else names
            theirs = [{name: batch[name] for name in batch.keys() & wanted} for batch in moments]
            batches = in_time(original.statistics(), original.between)
            move_statistics(
                module,
                batches,
                theirs,
                masks or {},
                rounded=rounded,
                mixed=original.mixed,
                device=original.device,
            )

        original.in_halves(move)
