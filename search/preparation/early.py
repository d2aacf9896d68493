"""What can be wrong with a request and needs no torch to be noticed: its import takes seconds."""

from ...evaluation.targets import load_targets, require_one_possible
from ...results.run_directory import read_run
from ...tasks.arguments import resolved
from ...tasks.names import require_task
from .request import SearchRequest


def check_early(request: SearchRequest, *, planning: bool = False) -> None:
    """Raises InputError or TargetUnavailable. `prepare` checks the rest."""
    targets = load_targets(request.target)
    require_task(request.task)
    resolved(request.arguments)
    if request.warm_start is not None:
        read_run(request.warm_start)
    if not (planning or request.allow_predicted):
        require_one_possible(targets)
