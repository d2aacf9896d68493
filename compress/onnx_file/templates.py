"""Float32 ONNX models of candidates: from a template, or exported anew where no edit leads there."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from torch import Tensor, fx

from ..graph.blocks import Block
from .export import Template, export_template, fill_template
from .restructure import edit_structure, restructure
from .template_cache import load_template, save_template, template_key
from .template_edit import Changes, edit_template


class Templates:
    """The templates of one original model. Exporting takes seconds: each is kept in memory and in
    `cache_dir`.

    `original` is the model with folded normalization; `examples` gives some inputs.
    """

    def __init__(
        self, original: fx.GraphModule, examples: Callable[[], tuple[Tensor, ...]], cache_dir: Path | None
    ):
        self._original = original
        self._examples = examples
        self._cache_dir = cache_dir
        self._by_key: dict[str, Template] = {}
        self._of_original: dict[int, Template] = {}

    def model_of(
        self,
        folded: fx.GraphModule,
        changes: Changes,
        *,
        blocks: Sequence[Block],
        factored: Sequence[str],
        opset: int,
    ) -> tuple[onnx.ModelProto, Template]:
        """The ONNX model of a folded candidate, and the template that says where everything is in it.

        `blocks` are those that the candidate lacks, `factored` its factored layers, `changes` the constants
        that its pruning changes, by node.
        """
        template = self._of_structure(blocks, factored, opset)
        if template.serves(folded):
            model = fill_template(template, folded)
            nodes = {node.name for node in folded.graph.nodes}
            present = {node: change for node, change in changes.items() if node in nodes}
            if edit_template(model, template, present):
                return model, template
        template = export_template(folded, self._examples(), opset)
        return fill_template(template, folded), template

    def _of_structure(self, blocks: Sequence[Block], factored: Sequence[str], opset: int) -> Template:
        """The template without `blocks` and with `factored` layers, at the original widths."""
        if opset not in self._of_original:
            self._of_original[opset] = self._exported(self._original, opset)
        original = self._of_original[opset]
        if not blocks and not factored:
            return original
        structure, replaced = restructure(self._original, blocks, factored)
        edited = edit_structure(original, structure, replaced, factored)
        return edited or self._exported(structure, opset)

    def _exported(self, folded: fx.GraphModule, opset: int) -> Template:
        key = template_key(folded, opset)
        template = self._by_key.get(key)
        if template is None and self._cache_dir:
            template = load_template(self._cache_dir, key)
        if template is None:
            template = export_template(folded, self._examples(), opset)
            if self._cache_dir:
                save_template(template, self._cache_dir, key)
        self._by_key[key] = template
        return template
