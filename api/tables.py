"""Rows of a run for pandas, which is imported when it is used."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..compress.recipe import Recipe
from ..results.choosing.recommended import recommended
from ..results.placed import ratio_to_onnxruntime
from ..results.records.run import Run
from ..results.table_files import record_of
from ..results.view import PointOn, views_of

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table(Sequence[Row]):
    """Rows with the same keys."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a data frame, in their order."""
        import pandas

        return pandas.DataFrame.from_records(list(self.rows))

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(max_rows=60))


def points_table(run: Run) -> Table:
    """A row for each point and target: the columns of `front --csv`, then those of the recipe."""
    rows = []
    for view in views_of(run):
        best = recommended(view.run).point.trial
        for point in view.points:
            record = record_of(point, chosen=point.trial == best)
            own = _of_device(run, point) | _of_recipe(point.recipe)
            rows.append({"target": view.target.name, **record, **own})
    return Table(tuple(rows))


def _of_device(run: Run, point: PointOn) -> dict[str, Any]:
    """Of the runtimes of a device, the latency relative to the fastest original's, and to ONNX Runtime's."""
    if run.device is None:
        return {}
    there = point.point.on(point.view.target.name)
    return {"ratio": run.vector(there)[2], "ratio_to_onnxruntime": ratio_to_onnxruntime(run, there)}


def layers_table(point: PointOn) -> Table:
    """A row for each layer of a point: channels, bits, precisions, parameters, bytes, seconds."""
    return Table(tuple(asdict(row) for row in point.layers))


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe does, in numbers, and the whole recipe as JSON values."""
    recovery = recipe.recovery
    return {
        "groups_pruned": len(recipe.keep),
        "blocks_removed": len(recipe.skip),
        "layers_low_rank": len(recipe.rank),
        "fused": recipe.fused,
        "used_rows": recipe.used_rows,
        "resolution": recipe.resolution,
        "layers_quantized": len(recipe.precision),
        "recovery_learning_rate": recovery.learning_rate if recovery else None,
        "recovery_temperature": recovery.temperature if recovery else None,
        "recipe": recipe.to_json(),
    }
