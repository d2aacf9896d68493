"""Two artifacts beside each other, measured now."""

from functools import partial
from pathlib import Path

from ...errors import StageError, TargetUnavailable
from ...evaluation.targets import load_targets, target_at
from ...profiles.measurement import FINALIST_TIMING
from ...results.records.facts import RunTarget
from ...results.records.reading import Interval
from ...targets.control import patiently
from ..work import Say


def beside(new: Path, old: Path, facts: RunTarget, address: str, *, say: Say) -> Interval:
    """The interval of the new artifact's latency divided by the old one's, on the target that `facts` are of.

    TargetUnavailable when the target is away, too restless, or cannot run one of the two.
    """
    (named,) = load_targets(address)
    target = target_at(named.profile, named.address, sizes=facts.sizes)
    try:
        with target.session() as session:
            measure = partial(session.measure, new, old, FINALIST_TIMING.with_batch(facts.batch))
            return patiently(measure, say).ratio_interval
    except StageError as error:
        raise TargetUnavailable(f"The two could not be measured beside each other: {error}") from error
    finally:
        target.close()
