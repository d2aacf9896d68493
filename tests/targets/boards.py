"""Boards that nobody here has: recorded trees, and the tools that NVIDIA ships, which change such a tree
instead of hardware.
"""

import os
import sys
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"

# What the three programs of a Jetson do, as far as the files of the tree show it. The mode 7W has fewer
# cores: it needs a reboot.
_TOOLS = """#!{python} -S
import json, pathlib, re, sys
tree, log = pathlib.Path({tree!r}), pathlib.Path({log!r})
def write(path, text):  # whole or not at all, as sysfs is read
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
tool, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
if tool == "sudo":
    if not pathlib.Path({rights!r}).exists():
        sys.exit("sudo: a password is required")
    if arguments[:2] == ["-n", "-l"]:
        sys.exit(0)
    tool, arguments = arguments[1], arguments[2:]
with log.open("a") as file:
    file.write(" ".join([tool, *arguments]) + chr(10))
status = tree / "var/lib/nvpmodel/status"
cores = sorted((tree / "sys/devices/system/cpu").glob("cpu*/cpufreq"))
gpus = sorted((tree / "sys/class/devfreq").glob("*"))
ranges = [(f / "scaling_min_freq", f / "scaling_max_freq") for f in cores]
ranges += [(f / "min_freq", f / "max_freq") for f in gpus]
if tool == "nvpmodel" and arguments[0] == "-m":
    if arguments[1] == "3":
        print("NVPM WARN: Reboot required for changing to this power mode: 3")
        print("NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:")
        if sys.stdin.readline().strip().lower() == "yes":
            log.write_text("rebooted")
        sys.exit("NVPM ERROR: optMask is 1, no request for power mode")
    write(status, "pmode:%04d" % int(arguments[1]))
elif tool == "jetson_clocks" and not arguments:
    if pathlib.Path({broken!r}).exists():
        sys.exit("Error: unsupported SOC")
    for low, high in ranges:
        write(low, high.read_text())
elif tool == "jetson_clocks" and arguments[0] == "--store":
    if pathlib.Path(arguments[1]).exists():
        sys.exit("Error: file already exists!")
    stored = [[str(f), f.read_text()] for pair in ranges for f in pair]
    pathlib.Path(arguments[1]).write_text(json.dumps(stored))
elif tool == "jetson_clocks" and arguments[0] == "--restore":
    for path, text in json.loads(pathlib.Path(arguments[1]).read_text()):
        write(pathlib.Path(path), text)
"""


def board(name: str, folder: Path) -> Path:
    """The recorded tree of a board, unpacked into `folder`, so that a test can change it."""
    path: Path | None = None
    for line in (RECORDED / f"{name}.txt").read_text().splitlines():
        if line.startswith("    "):
            assert path is not None
            path.write_text(path.read_text() + line[4:] + "\n")
        elif not line.startswith("#"):
            relative, _, content = line.partition(": ")
            path = folder / relative.removesuffix(":")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content and content + "\n")
    return folder


def _write(path: Path, text: str) -> None:
    """Whole or not at all, as sysfs is read: a reader beside us must never see a file that is empty for a
    moment.
    """
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


class Jetson:
    """A recorded Jetson with its tools in `bin`: put that on PATH. `log` has what was called."""

    def __init__(self, folder: Path, *, rights: bool = True, python: str = sys.executable):
        self.tree = board("jetson-orin-nano", folder / "tree")
        self.bin = folder / "bin"
        self._log = folder / "log"
        self._broken = folder / "broken"
        rights_file = folder / "rights"
        if rights:
            rights_file.touch()
        self.bin.mkdir()
        text = _TOOLS.format(
            python=python,
            tree=str(self.tree),
            log=str(self._log),
            rights=str(rights_file),
            broken=str(self._broken),
        )
        for tool in ("sudo", "nvpmodel", "jetson_clocks"):
            (self.bin / tool).write_text(text)
            (self.bin / tool).chmod(0o755)

    @property
    def path(self) -> str:
        """PATH with the board's tools first."""
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    @property
    def called(self) -> list[str]:
        """The tools that were called as root, with their arguments."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def break_jetson_clocks(self) -> None:
        """From now on `jetson_clocks` fails where it would fix the clocks."""
        self._broken.touch()

    def heat(self, cooling_device: int, state: int) -> None:
        """Sets a cooling device's state."""
        _write(self.tree / f"sys/class/thermal/cooling_device{cooling_device}/cur_state", f"{state}\n")

    def fix_clocks(self) -> None:
        """What `jetson_clocks` does to the limits: every minimum becomes the maximum."""
        for core in (self.tree / "sys/devices/system/cpu").glob("cpu*/cpufreq"):
            _write(core / "scaling_min_freq", (core / "scaling_max_freq").read_text())
        for gpu in (self.tree / "sys/class/devfreq").glob("*"):
            _write(gpu / "min_freq", (gpu / "max_freq").read_text())

    def count(self, event: int) -> None:
        """One more over-current event (1 to 3)."""
        file = self.tree / f"sys/class/hwmon/hwmon3/oc{event}_event_cnt"
        _write(file, f"{int(file.read_text()) + 1}\n")
