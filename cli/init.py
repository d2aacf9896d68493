"""The command `init`: a task file to start from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console.log import say
from .support import errors, show


class Kind(StrEnum):
    """What the task file is for; each is a template in tasks/templates/."""

    classifier = "classifier"
    text = "text"
    detector = "detector"
    file = "file"


KindArgument = Annotated[
    Kind,
    typer.Argument(
        metavar="KIND",
        help="classifier (of images), text (a model of Hugging Face), detector, or file (.pt2, .onnx).",
    ),
]
TaskFile = Annotated[Path, typer.Argument(metavar="[FILE.py]", help="The file; it must not exist yet.")]
_TEMPLATES = Path(__file__).resolve().parent.parent / "tasks" / "templates"


def init(kind: KindArgument, file: TaskFile = Path("my_task.py")) -> None:
    """Write a task file to start from, with comments that say what to change.

    Examples:

        autocompress init classifier

        autocompress init text sentiment.py
    """
    with errors():
        if file.suffix != ".py":
            raise InputError(f"{file} is no name of a task file: it must end in .py.")
        template = (_TEMPLATES / f"{kind}.txt").read_text(encoding="utf-8")
        try:
            with file.open("x", encoding="utf-8") as new:
                new.write(template.replace("FILE:task", f"{file}:task"))
        except FileExistsError as error:
            raise InputError(f"{file} exists, and is not overwritten: give another name.") from error
        show(file)
        say(f'Next:   change what is marked with "yours" in {file}, then run the command at its top.')
