"""What can be wrong with a request and needs no torch to be noticed: its import takes seconds."""

from ...errors import InputError
from ...profiles import load_profile
from ...results.target_limits import require_no_host, target_addresses
from ...tasks.arguments import resolved
from ...tasks.names import require_task
from ..beside.ray_cluster import require_ray
from .request import SearchRequest


def check_search(request: SearchRequest, *, planning: bool = False) -> None:
    """The same of a search, which is told its cluster."""
    for address in target_addresses(request.target).values():
        if address.on_cluster and not request.ray:
            raise InputError(
                f"--target {address} is measured on a node of a Ray cluster: give --ray auto, or the "
                "cluster's address."
            )
    check_early(request, planning=planning)


def check_early(request: SearchRequest, *, planning: bool = False) -> None:
    """Raises InputError or TargetUnavailable. `prepare` checks the rest.

    What is imported inside takes a tenth of a second each, for which a wrong name needs not wait.
    """
    addresses = target_addresses(request.target)
    require_no_host(request.target)
    for address in addresses.values():
        load_profile(address.profile)
    require_task(request.task)
    if request.ray:
        require_ray()
    resolved(request.arguments)
    if request.warm_start is not None:
        from ...results.run_directory import read_run

        read_run(request.warm_start)
    if not (planning or request.allow_predicted):
        from ...evaluation.targets import load_targets, require_one_possible

        require_one_possible(load_targets(request.target))
    if limited := [name for name, limits in request.constraints.items() if limits.max_energy_j is not None]:
        from ...evaluation.targets import load_targets, require_energy

        for target in load_targets(request.target, cluster=request.ray):
            if target.profile.name in limited:
                require_energy(target)
