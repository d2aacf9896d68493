"""What is missing to use a board over SSH: the connection, what is installed there, its disk, its rights, who
else measures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...errors import TargetUnavailable
from ...profiles.profile import Profile
from ..on_device.board.clocks import SUDOERS
from ..on_device.runtimes.finding import Finding
from ..ssh.board import Board
from ..ssh.command import on_board
from ..ssh.errors import BoardUnavailable, where

ROOM_BYTES = 1 << 30  # a search pushes candidates and a validation split
_TOOLS = ("nvpmodel", "jetson_clocks")


def board_findings(profile: Profile, board: Board) -> list[Finding]:
    """The findings on a board before any worker is started there; only the first one if it cannot be
    reached.
    """
    try:
        hello = board.hello
    except BoardUnavailable as error:
        return [_trouble(error)]
    except TargetUnavailable as error:
        return [Finding(name="connection", ok=False, detail=str(error), needed=True)]
    machine = f"{hello.hostname}, {hello.machine}, {len(hello.cores)} cores, Python {hello.python}"
    connected = f"{where(board.address)}: {machine}"
    return [
        Finding(name="connection", ok=True, detail=connected, needed=True),
        _architecture(profile, hello.machine),
        *_installed(profile, board),
        _lock(board),
    ]


def _trouble(error: BoardUnavailable) -> Finding:
    trouble = error.trouble
    return Finding(name=trouble.name, ok=False, detail=trouble.message, remedy=trouble.remedy, needed=True)


def _architecture(profile: Profile, machine: str) -> Finding:
    if profile.architecture in (None, machine):
        return Finding(name="architecture", ok=True, detail=machine, needed=True)
    return Finding(
        name="architecture",
        ok=False,
        detail=f"the board is {machine}, but the target {profile.name} is for {profile.architecture}",
        remedy="choose a target for this board: autocompress targets",
        needed=True,
    )


def _installed(profile: Profile, board: Board) -> Iterator[Finding]:
    """Modules, room on the disk and, where the profile asks for a power mode, the right to set it."""
    modules = ("numpy", profile.facts.module)
    tools = _TOOLS if profile.power_mode else ()
    answer = board.look(modules=modules, tools=tools)
    yield _modules(profile, board, modules, answer.missing)
    roomy = answer.free_bytes >= ROOM_BYTES
    room = f"free at least {ROOM_BYTES / 1e9:.1f} GB: {on_board(board.address, 'df -h .')}"
    yield Finding(
        name="disk",
        ok=roomy,
        detail=f"{max(0, answer.free_bytes) / 1e9:.1f} GB free in {board.hello.folder}",
        remedy="" if roomy else room,
    )
    if tools:
        yield _rights(board, may_set=answer.sudo)


def _modules(profile: Profile, board: Board, modules: Sequence[str], missing: Sequence[str]) -> Finding:
    if not missing:
        return Finding(name="modules", ok=True, detail=", ".join(modules), needed=True)
    return Finding(
        name="modules",
        ok=False,
        detail=f"{board.python} lacks {', '.join(missing)}",
        remedy=on_board(board.address, _install(profile, board.python)),
        needed=True,
    )


def _install(profile: Profile, python: str) -> str:
    """What installs the runtime on the board, with the interpreter that the profile names."""
    command = profile.facts.install_on(profile.device)
    if command is not None:
        return f'-t "{command}"'  # sudo asks for a password, apt whether to go on
    return f'"{python} -m {profile.facts.pip}"'


def _rights(board: Board, *, may_set: bool) -> Finding:
    if may_set:
        return Finding(name="rights", ok=True, detail="may be set without a password")
    line = SUDOERS.format(user=board.address.user or "YOUR-USER")
    return Finding(
        name="rights",
        ok=False,
        detail="setting it (--set-clocks) would need a password",
        remedy=on_board(board.address, f"-t \"echo '{line}' | sudo tee /etc/sudoers.d/autocompress\""),
    )


def _lock(board: Board) -> Finding:
    try:
        holder = board.try_lock(board.connected())
    except BoardUnavailable as error:
        return replace(_trouble(error), name="lock")
    finally:
        board.unlock()
    if holder is None:
        return Finding(name="lock", ok=True, detail="nobody else works there")
    remedy = "wait until it has finished: a search waits by itself"
    return Finding(name="lock", ok=False, detail=f"{holder} there", remedy=remedy)
