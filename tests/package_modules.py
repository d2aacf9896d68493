"""The modules of the package, as text and syntax trees, and what each imports: nothing of them is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What a folder or module may import: those before it, and those beside it only where they are one folder.
ORDER = (
    ("errors", "files", "scratch", "text"),
    ("profiles", "tasks"),
    ("compress",),
    ("targets",),
    ("results",),
    ("evaluation",),
    ("explore",),
    ("deploy",),
    ("api",),
    ("nightly",),
    ("service",),
    ("cli",),
    ("__main__",),
)


@dataclass(frozen=True)
class Module:
    """`name` is dotted and starts below `autocompress`, such as "explore.study"; a folder's name is its
    `__init__`.
    """

    name: str
    path: Path

    @property
    def folder(self) -> str:
        """The dotted name of the folder that the file lies in."""
        return ".".join(self.path.relative_to(ROOT).parts[:-1])

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path)

    def imports(self) -> Iterator[str]:
        """The full names that it imports, `torch.nn` or `autocompress.errors.TaskError`; those inside
        functions and under TYPE_CHECKING, too.
        """
        package = ("autocompress", *self.path.relative_to(ROOT).parts[:-1])
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else ()
                start = ".".join((*base, node.module) if node.module else base)
                yield from (f"{start}.{alias.name}" for alias in node.names)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _modules() -> dict[str, Module]:
    names = [name for names in ORDER for name in names]
    paths = [ROOT / "__init__.py", *(ROOT / f"{name}.py" for name in names)]
    paths += [path for name in names for path in sorted((ROOT / name).rglob("*.py"))]
    modules = {}
    for path in filter(Path.is_file, paths):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        modules[name] = Module(name, path)
    return modules


MODULES = _modules()


def imported_modules(module: Module) -> set[str]:
    """The names of the package's modules that a module imports."""
    names = set()
    for full in module.imports():
        if full.partition(".")[0] == "autocompress":
            name = full.removeprefix("autocompress").lstrip(".")
            names.add(name if name in MODULES else name.rpartition(".")[0])
    return names


def inside(name: str, folder: str) -> bool:
    """Whether the module is the folder's `__init__` or lies in the folder or below it."""
    return name == folder or name.startswith(f"{folder}.")


def folders() -> list[str]:
    """The dotted names of all folders of the package, those below others, too."""
    return sorted({module.folder for module in MODULES.values()} - {""})
