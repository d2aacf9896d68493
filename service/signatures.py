"""What the functions of tasks take, asked of a process of its own: their files are code, and import torch.

python -m autocompress.service.signatures SPEC…      prints a list of JSON: the parameters of each
"""

import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "Path": Path}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """`kind` is a key of KINDS; `many`: values separated by commas."""

    name: str
    kind: str
    many: bool = False
    required: bool = False

    @property
    def annotation(self) -> Any:
        """The type that the function has for it."""
        kind = KINDS[self.kind]
        return tuple[kind, ...] if self.many else kind  # type: ignore[valid-type]


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters that can be given by keyword. TypeError for one of another type than KINDS."""
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    every = inspect.signature(function, eval_str=True).parameters.values()
    return [_parameter(one) for one in every if one.kind in by_keyword]


def _parameter(one: inspect.Parameter) -> Parameter:
    annotation, many = one.annotation, False
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = next(arg for arg in typing.get_args(annotation) if arg is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        annotation, many = typing.get_args(annotation)[0], True
    kind = str if annotation in (inspect.Parameter.empty, Any) else annotation
    name = next((name for name, known in KINDS.items() if known is kind), None)
    if name is None:
        raise TypeError(f"its argument {one.name!r} is no str, int, float, bool or Path")
    return Parameter(name=one.name, kind=name, many=many, required=one.default is one.empty)


def stub(parameters: Iterable[Parameter]) -> Callable[..., None]:
    """A function of nothing that takes these parameters, as `tasks.arguments.converted` looks at one."""

    def function(**_values: object) -> None:
        return None

    keyword, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                one.name, keyword, default=empty if one.required else None, annotation=one.annotation
            )
            for one in parameters
        ]
    )
    return function


def _main(specs: list[str]) -> None:
    from ..errors import AutocompressError
    from ..tasks.load import task_function

    answers: list[object] = []
    for spec in specs:
        try:
            with task_function(spec) as function:
                answers.append([asdict(one) for one in parameters_of(function)])
        except (AutocompressError, TypeError) as error:
            answers.append(str(error))
    print(json.dumps(answers))


if __name__ == "__main__":
    _main(sys.argv[1:])
