"""Libraries that only some tasks need: where one is missing, the extra that brings it is named."""

import importlib
from typing import Any

from ...errors import TaskError
from ..boundary import user_code


def extra_library(library: str, *modules: str, task: str, extra: str | None = None, remedy: str = "") -> Any:
    """The module `library`, with `modules` of it imported. `extra` is the package's, by default of this name.

    TaskError says how to install it for `task`, or, where its import fails for another reason, the `remedy`.
    """
    try:
        with user_code(f"Importing {library}", remedy=remedy):
            imported = importlib.import_module(library)
            for module in modules:
                importlib.import_module(module)
    except TaskError as error:
        if isinstance(error.__cause__, ImportError):
            raise TaskError(
                f"{task} needs {library}, which cannot be imported ({error.__cause__}): "
                f"pip install 'autocompress[{extra or library}]'."
            ) from error
        raise
    return imported
