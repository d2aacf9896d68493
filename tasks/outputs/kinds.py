"""The meanings of outputs: records, made by functions that a task calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Meaning = Literal["classes", "independent", "values", "boxes", "embeddings", "custom"]
PairDistance = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputKind:
    """The meaning of one output; made by the functions below.

    `dim` is the dimension of the classes, coordinates or embedding. `probabilities`: the output has
    probabilities instead of scores (logits). `scale` is the size of a usual difference of values, None for
    the spread of the original's. `coordinates` is the number of box coordinates along `dim`.
    """

    meaning: Meaning
    dim: int | None = None
    probabilities: bool = False
    scale: float | None = None
    coordinates: int = 0
    function: PairDistance | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"scale is {self.scale}, but must be above 0")
        if self.meaning == "boxes" and self.coordinates < 1:
            raise ValueError(f"coordinates is {self.coordinates}, but must be at least 1")

    def __str__(self) -> str:
        form = " as probabilities" if self.probabilities else ""
        if self.meaning == "boxes":
            return f"boxes of {self.coordinates} coordinates and scores{form} along dimension {self.dim}"
        if self.meaning in ("classes", "embeddings"):
            return f"{self.meaning} along dimension {self.dim}{form}"
        if self.meaning == "independent":
            return f"independent probabilities{'' if self.probabilities else ' (as scores)'}"
        if self.meaning == "values":
            return "continuous values" if self.scale is None else f"continuous values of scale {self.scale:g}"
        return f"compared by {getattr(self.function, '__name__', 'a function of the task')}"


def classes(dim: int = 1, *, probabilities: bool = False) -> OutputKind:
    """One of several classes at each position: scores (or log-probabilities, or probabilities) along `dim`.

    Compared by the KL divergence of the softmax, averaged over positions.
    """
    return OutputKind(meaning="classes", dim=dim, probabilities=probabilities)


def independent(*, probabilities: bool = False) -> OutputKind:
    """Each entry is the score (or probability) of a yes or no of its own, as in multi-label classification.

    Compared by the KL divergence of each entry's two outcomes, averaged over entries.
    """
    return OutputKind(meaning="independent", probabilities=probabilities)


def values(scale: float | None = None) -> OutputKind:
    """Continuous values (regression, keypoints, depth, images): squared error in units of `scale`, or of the
    standard deviation of the original's answers.
    """
    return OutputKind(meaning="values", scale=scale)


def boxes(
    dim: int = 1, *, coordinates: int = 4, scale: float | None = None, probabilities: bool = False
) -> OutputKind:
    """A detector's output: along `dim` first the coordinates of a box, then independent scores.

    The distance is the sum of that of `values(scale)` and that of `independent(…)`.
    """
    return OutputKind(
        meaning="boxes", dim=dim, coordinates=coordinates, scale=scale, probabilities=probabilities
    )


def embeddings(dim: int = -1) -> OutputKind:
    """Vectors along `dim` of which only the direction counts: 1 - cosine, averaged over positions."""
    return OutputKind(meaning="embeddings", dim=dim)


def custom(function: PairDistance) -> OutputKind:
    """A distance of the task's own: `function(outputs, expected)` returns a tensor of one distance for each
    sample, 0 for equal answers, with a gradient for `outputs`.
    """
    return OutputKind(meaning="custom", function=function)
