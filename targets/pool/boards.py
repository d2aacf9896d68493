"""Boards: several boards of one kind as one target, each measurement on whichever is free."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ...errors import AutocompressError, InputError, StageError, TargetUnavailable, is_away
from ...files import digest_of_file
from ...profiles.address import TargetAddress
from ...profiles.environment import Environment
from ...profiles.profile import Profile
from ...profiles.sizes import Sizes
from ..lease import WAITS
from ..session import TargetSession
from ..ssh.board import LOCK_WAIT_S, Board
from ..store import MeasurementStore
from ..target import OneOfSeveral, Target, board_at
from .alike import differences, place, require_same_environment, require_same_speed

log = logging.getLogger(__name__)

AGAIN_S = 60.0  # after which a lost board is asked again
_POLL_S = 0.25

Subject = tuple[str, int]  # a baseline's digest, and the batch size


@dataclass(eq=False, slots=True)
class Member:
    """One of the boards. `alike` are the baselines that it was compared on, each with how many times as long
    it takes as the board that is the measure of the others. `late`: it did not answer at first. `lost` says
    why it does not answer now, since when.
    """

    target: Target
    board: Board
    alike: dict[Subject, float] = field(default_factory=dict)
    in_use: bool = False
    late: bool = False
    lost: str = ""
    lost_at_s: float = 0.0


class Boards:
    """See Target, of which it has the methods that a search calls. Thread-safe: as many sessions may be open
    as there are boards, each on another one.

    It does not wait for a board that is gone, and begins nothing on one that is busy while another is free.
    """

    def __init__(
        self,
        profile: Profile,
        boards: Sequence[Board],
        store: MeasurementStore | None = None,
        *,
        inputs: Path | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        sizes: Sizes | None = None,
        recognize: Callable[[Environment], None] | None = None,
    ):
        self.profile = profile
        self._recognize = recognize
        self._environment: Environment | None = None
        self._guard, self._comparing = threading.Lock(), threading.Lock()
        references: dict[Subject, tuple[float, float | None]] = {}
        self._members: list[Member] = []
        for number, board in enumerate(boards, 1):
            board.has_spare = len(boards) > 1
            one = OneOfSeveral(
                number=number, references=references, vouch=partial(self._vouch, len(self._members))
            )
            target = Target(profile, store, inputs=inputs, shapes=shapes, sizes=sizes, board=board, one=one)
            self._members.append(Member(target, board))
        self.shapes = self._members[0].target.shapes

    def close(self) -> None:
        """Ends the connections; the next use connects again."""
        for member in self._members:
            member.target.close()

    def probe(self) -> Environment:
        """The environment that all boards have, without the identity of a machine. InputError if they differ,
        TargetUnavailable if none answers.
        """
        if self._environment is None:
            for member in self._members:
                try:
                    member.target.probe()
                    member.lost = ""
                except TargetUnavailable as error:
                    self._lose(member, error)
                member.late = bool(member.lost)
            answering = self._answering()
            if not answering:
                raise TargetUnavailable(self._members[0].lost)
            for member in answering[1:]:
                require_same_environment(answering[0].target, member.target)
            environment = answering[0].target.probe()
            if self._recognize is not None:
                self._recognize(environment)
            self._environment = environment
        return self._environment

    @property
    def environment(self) -> Environment | None:
        """The environment, if the boards were asked for it."""
        return self._environment

    def refuse_emulation(self) -> None:
        """TargetUnavailable where another processor is imitated."""
        self.probe()
        for member in self._answering():
            member.target.refuse_emulation()

    def energy_sensor(self) -> dict[str, str]:
        """See Target; that of a board without a sensor, if there is one."""
        self.probe()
        answers = [member.target.energy_sensor() for member in self._answering()]
        return next((answer for answer in answers if not answer["sensor"]), answers[0])

    def compared(self, baseline: Path, *, batch: int = 1) -> dict[str, float]:
        """By board other than the first that answers, how many times as long as there a model takes."""
        self.probe()
        first, *others = self._answering()
        if not others:
            raise TargetUnavailable(next(member.lost for member in self._members if member.lost))
        self._vouch(self._members.index(first), baseline, batch)
        subject = digest_of_file(baseline), batch
        return {place(one.target): one.alike[subject] for one in others if subject in one.alike}

    @contextmanager
    def session(self) -> Iterator[TargetSession]:
        """A fresh worker process for one candidate, on a board that is free; it ends with the block."""
        with self.free() as target, target.session() as session:
            yield session

    @contextmanager
    def free(self) -> Iterator[Target]:
        """A board on which nobody works, for a block; waits until there is one. One that is lost in the block
        is left out for a while. TargetUnavailable if none answers.
        """
        self.probe()
        member = self._taken()
        try:
            yield member.target
        except (StageError, TargetUnavailable) as error:
            if is_away(error):
                self._lose(member, error)
            raise
        finally:
            member.in_use = False

    @property
    def count(self) -> int:
        """How many boards there are."""
        return len(self._members)

    @property
    def others_left(self) -> bool:
        """Whether a board answers, as far as that is known: what one has lost may be asked of another."""
        return bool(self._answering())

    # --- which board

    def _answering(self) -> list[Member]:
        return [member for member in self._members if not member.lost]

    def _lose(self, member: Member, error: AutocompressError) -> None:
        """Leaves a board out for AGAIN_S, which is told once."""
        if not member.lost:
            name = self.profile.name
            log.warning("Board %s of '%s' is left out for now: %s", place(member.target), name, error)
        member.lost, member.lost_at_s = str(error), time.monotonic()

    def _taken(self) -> Member:
        """A board that nobody uses, marked as used here."""
        deadline = time.monotonic() + LOCK_WAIT_S
        with ExitStack() as waits:
            waited = False
            while True:
                holders: list[str] = []
                for member in self._to_ask():
                    if (holder := self._try(member)) is None:
                        return member
                    holders += [holder] if holder else []
                if not holders and not any(member.in_use for member in self._members):
                    raise TargetUnavailable(self._members[0].lost)
                if holders and time.monotonic() > deadline:
                    raise TargetUnavailable(
                        f"All boards of '{self.profile.name}' are busy: {'; '.join(holders)}, and "
                        f"{LOCK_WAIT_S:g} s were not enough. Wait for it, or end it."
                    )
                if holders and not waited:
                    waits.enter_context(WAITS.waiting(" and ".join(holders)))
                    waited = True
                time.sleep(_POLL_S)

    def _to_ask(self) -> list[Member]:
        """The boards that answer, then those that were lost a while ago; all, where none of these is left."""
        answering, since_s = self._answering(), time.monotonic() - AGAIN_S
        back = [member for member in self._members if member.lost and member.lost_at_s < since_s]
        return answering + back or self._members

    def _try(self, member: Member) -> str | None:
        """None if the board is taken now; who works there, or an empty text where that is this process, or
        nobody answers.
        """
        with self._guard:
            if member.in_use:
                return ""
            member.in_use = True
        holder: str | None = ""
        try:
            holder = member.board.holder()
            if holder is None:
                self._require_kind(member)
            elif holder:
                holder = f"{holder} on {place(member.target)}"
        except TargetUnavailable as error:
            self._lose(member, error)
            holder = ""
        finally:
            member.in_use = holder is None
        if holder is None and member.lost:
            log.warning("Board %s of '%s' is back.", place(member.target), self.profile.name)
            member.lost = ""
        return holder

    def _require_kind(self, member: Member) -> None:
        """TargetUnavailable if a board that answers only now is of another kind."""
        theirs, mine = member.target.probe(), self.probe()
        if theirs.fingerprint != mine.fingerprint:
            first = next(one for one in self._members if not one.late)
            raise TargetUnavailable(differences(first.target, member.target, mine, theirs))

    # --- whether boards are of one kind

    def _vouch(self, index: int, baseline: Path, batch: int) -> None:
        """Sees to it that all boards that answer are compared on a baseline, each once.

        InputError if one of those that answered from the start is slower or faster; another one is left out.
        """
        subject, asking = (digest_of_file(baseline), batch), self._members[index]
        with self._comparing:
            if not any(subject in member.alike for member in self._members):
                asking.alike[subject] = 1.0  # the measure of the others
            while waiting := [member for member in self._answering() if subject not in member.alike]:
                first = next((member for member in self._answering() if subject in member.alike), None)
                if first is None:
                    raise TargetUnavailable(
                        f"{place(asking.target)} cannot be compared: no board of '{self.profile.name}' that "
                        "measured before answers now."
                    )
                self._compare(first, waiting[0], baseline, batch=batch)
        if subject not in asking.alike:
            raise TargetUnavailable(asking.lost)

    def _compare(self, first: Member, other: Member, baseline: Path, *, batch: int) -> None:
        """Compares two boards; if that cannot be, or the other one is late and not alike, one is left out."""
        subject = digest_of_file(baseline), batch
        try:
            ratio = require_same_speed(first.target, other.target, baseline, batch=batch)
            other.alike[subject] = first.alike[subject] * ratio
        except InputError as error:
            if not other.late:
                raise
            self._lose(other, error)
        except (StageError, TargetUnavailable) as error:
            if not is_away(error):
                raise
            gone = [member for member in (first, other) if not _answers(member.board)] or [other]
            for member in gone:
                self._lose(member, error)


def boards_at(
    profile: Profile,
    address: TargetAddress,
    store: MeasurementStore | None = None,
    *,
    inputs: Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    sizes: Sizes | None = None,
    recognize: Callable[[Environment], None] | None = None,
) -> Boards:
    """All boards of an address."""
    boards = [board_at(profile, board) for board in address.boards]
    return Boards(profile, boards, store, inputs=inputs, shapes=shapes, sizes=sizes, recognize=recognize)


Device = Target | Boards  # what measures


def _answers(board: Board) -> bool:
    try:
        board.connected()
    except TargetUnavailable:
        return False
    return True
