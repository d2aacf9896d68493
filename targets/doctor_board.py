"""What is missing to use a board over SSH: the connection, what is installed there, its disk, its rights, who
else measures.
"""

from collections.abc import Iterator

from ..errors import TargetUnavailable
from ..profiles.profile import Profile
from .finding import Finding
from .on_device.clocks import SUDOERS
from .on_device.runtime import JETPACK, PIP
from .ssh_board import Board
from .ssh_command import on_board
from .ssh_errors import BoardUnavailable, where

MODULES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
ROOM_BYTES = 1 << 30  # a search pushes candidates and a validation split
_TOOLS = ("nvpmodel", "jetson_clocks")


def board_findings(profile: Profile, board: Board) -> list[Finding]:
    """The findings on a board before any worker is started there; only the first one if it cannot be reached."""
    try:
        hello = board.hello
    except TargetUnavailable as error:
        trouble = error.trouble if isinstance(error, BoardUnavailable) else None
        if trouble is None:
            return [Finding(name="connection", ok=False, detail=str(error), needed=True)]
        return [
            Finding(name=trouble.name, ok=False, detail=trouble.message, remedy=trouble.remedy, needed=True)
        ]
    told = f"{where(board.address)}: {hello['hostname']}, {hello['machine']}, {len(hello['cores'])} cores, Python {hello['python']}"
    connected = Finding(name="connection", ok=True, detail=told, needed=True)
    return [connected, _architecture(profile, hello["machine"]), *_installed(profile, board), _lock(board)]


def _architecture(profile: Profile, machine: str) -> Finding:
    right = profile.architecture in (None, machine)
    return Finding(
        name="architecture",
        ok=right,
        detail=machine
        if right
        else f"the board is {machine}, but the target {profile.name} is for {profile.architecture}",
        remedy="" if right else "choose a target for this board: autocompress targets",
        needed=True,
    )


def _installed(profile: Profile, board: Board) -> Iterator[Finding]:
    """Modules, room on the disk and, where the profile asks for a power mode, the right to set it."""
    modules = ("numpy", MODULES[profile.runtime])
    tools = _TOOLS if profile.power_mode else ()
    seen = board.look(modules=modules, tools=tools)
    yield Finding(
        name="modules",
        ok=not seen["missing"],
        detail=f"{board.python} lacks {', '.join(seen['missing'])}"
        if seen["missing"]
        else ", ".join(modules),
        remedy=on_board(board.address, _install(profile, board.python)) if seen["missing"] else "",
        needed=True,
    )
    roomy = seen["free_bytes"] >= ROOM_BYTES
    yield Finding(
        name="disk",
        ok=roomy,
        detail=f"{max(0, seen['free_bytes']) / 1e9:.1f} GB free in {board.hello['folder']}",
        remedy=""
        if roomy
        else f"free at least {ROOM_BYTES / 1e9:.1f} GB: {on_board(board.address, 'df -h .')}",
    )
    if tools:
        line = SUDOERS.format(user=board.address.user or "YOUR-USER")
        yield Finding(
            name="rights",
            ok=seen["sudo"],
            detail="may be set without a password"
            if seen["sudo"]
            else "setting it (--set-clocks) would need a password",
            remedy=""
            if seen["sudo"]
            else on_board(board.address, f"-t \"echo '{line}' | sudo tee /etc/sudoers.d/autocompress\""),
        )


def _install(profile: Profile, python: str) -> str:
    """What installs the runtime on the board, with the interpreter that the profile names."""
    if profile.runtime == "tensorrt" and "Jetson" in (profile.device or ""):
        return f'-t "{JETPACK}"'  # sudo asks for a password, apt whether to go on
    return f'"{python} -m {PIP[profile.runtime]}"'


def _lock(board: Board) -> Finding:
    try:
        holder = board.try_lock(board.connected())
    except BoardUnavailable as error:
        return Finding(
            name="lock", ok=False, detail=error.trouble.message, remedy=error.trouble.remedy, needed=True
        )
    finally:
        board.unlock()
    if holder is None:
        return Finding(name="lock", ok=True, detail="nobody else works there")
    return Finding(
        name="lock",
        ok=False,
        detail=f"{holder} there",
        remedy="wait until it has finished: a search waits by itself",
    )
