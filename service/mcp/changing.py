"""Tools that submit and change searches. They are there only when whoever starts the server allows it."""

from typing import Annotated

from pydantic import Field

from ..client import Client
from ..client import Search as SearchOfService
from .answers import Search
from .arguments import Budget, MaxDrop, MaxLatency, MaxSize, Policy, SearchId, Trials
from .looking import shown


class Changing:
    """The tools, bound to a service."""

    def __init__(self, client: Client):
        self._client = client

    def submit_search(
        self,
        task: Annotated[str, Field(description="The name of a registered task: list_tasks.")],
        *,
        arguments: Annotated[
            dict[str, str] | None, Field(description="Arguments of the task, as texts; no secrets.")
        ] = None,
        recipe: Annotated[
            str | None,
            Field(description="A wish by its name (list_recipes); what is given replaces it."),
        ] = None,
        target: Annotated[
            str | None,
            Field(description='The hardware: "cpu" if not given, "jetson-orin-nano"; with commas several.'),
        ] = None,
        budget: Budget = None,
        trials: Trials = None,
        max_drop: MaxDrop = None,
        max_latency: MaxLatency = None,
        max_size: MaxSize = None,
        policy: Policy = None,
        seed: Annotated[int, Field(ge=0, lt=1 << 32, description="Of everything that is drawn.")] = 0,
        labels: Annotated[list[str] | None, Field(description="What the worker must have: gpu …")] = None,
        priority: Annotated[int, Field(ge=-1000, le=1000, description="A higher one goes first.")] = 0,
        key: Annotated[
            str | None,
            Field(
                max_length=200,
                pattern="^[!-~]+$",
                description="A text of your own: the same key with the same order submits once.",
            ),
        ] = None,
    ) -> Search:
        """Submits a search: a worker looks for compressed models of a task that meet the limits, and measures
        them. It uses a machine for the whole budget, so give one (`budget` or `trials`) or a recipe that has
        one. Answers the queued search: wait_for_search follows it, pick_point says what to take of it.
        """
        search = self._client.submit(
            task,
            arguments=arguments,
            target=target,
            budget=budget,
            trials=trials,
            max_drop=max_drop,
            max_latency=max_latency,
            max_size=max_size,
            seed=seed,
            labels=labels or (),
            priority=priority,
            policy=policy,
            recipe=recipe,
            key=key,
        )
        return shown(search)

    def pause_search(self, search_id: SearchId) -> Search:
        """Stops a search at a safe place, which takes a while; resume_search lets it go on from there."""
        search = self._search(search_id)
        search.pause()
        return shown(search)

    def resume_search(self, search_id: SearchId) -> Search:
        """Lets a search go on after a pause, a failure or a cancellation."""
        search = self._search(search_id)
        search.resume()
        return shown(search)

    def cancel_search(self, search_id: SearchId) -> Search:
        """Stops a search for good, queued or running. What it measured stays."""
        search = self._search(search_id)
        search.cancel()
        return shown(search)

    def change_budget(self, search_id: SearchId, *, budget: Budget = None, trials: Trials = None) -> Search:
        """Gives a search another budget, in place of the old one: a time, a number of trials, or both. A
        search that is finished goes on with a larger one.
        """
        search = self._search(search_id)
        search.change_budget(budget=budget, trials=trials)
        return shown(search)

    def _search(self, search_id: str) -> SearchOfService:
        return SearchOfService(self._client.connection, search_id)
