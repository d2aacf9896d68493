"""Tools that look at searches and at what there is. Their docstrings are what a model reads of them."""

import asyncio
import time
from collections import deque
from typing import Annotated, Any

from pydantic import Field

from ..client import OVER, Client
from ..client import Search as SearchOfService
from .answers import Failures, Front, Layers, Log, Picked, Search, Searches, spread
from .arguments import (
    First,
    MaxDrop,
    MaxLatency,
    MaxSize,
    Minimize,
    Most,
    OneTarget,
    Policy,
    SearchId,
    State,
    Trial,
)
from .more_answers import Machines, Nights, Recipes, Tasks

_LOOK_S = 1.0
LONGEST_WAIT_S = 50.0  # clients give a call a minute


class Looking:
    """The tools, bound to a service."""

    def __init__(self, client: Client):
        self._client = client

    def list_searches(
        self,
        *,
        state: Annotated[State | None, Field(description="Those in this state alone.")] = None,
        task: Annotated[str | None, Field(description="Those of this task alone.")] = None,
        owner: Annotated[str | None, Field(description="Those of this user alone.")] = None,
        text: Annotated[str | None, Field(description="In the name of the task or the target.")] = None,
        before: Annotated[str | None, Field(description="`next` of the page before, for older ones.")] = None,
        limit: Most = 20,
    ) -> Searches:
        """Lists searches that the token may see, the newest first, a page at a time."""
        filters = {"state": state, "task": task, "owner": owner, "text": text}
        given = {name: one for name, one in filters.items() if one is not None}
        page = self._client.page(before=before, limit=str(limit), **given)
        return Searches.of({**page, "searches": [spread(one) for one in page["searches"]]})

    def get_search(self, search_id: SearchId) -> Search:
        """Shows a search as it is now: its state, how far it is, the time left, and what was ordered."""
        return shown(self._search(search_id))

    async def wait_for_search(
        self,
        search_id: SearchId,
        wait_s: Annotated[
            float, Field(ge=0, le=LONGEST_WAIT_S, description="How many seconds to wait at most.")
        ] = 30.0,
    ) -> Search:
        """Waits until a search is finished, failed, cancelled or paused, but not longer than wait_s, and
        shows it as get_search does. Searches take minutes to hours: while `state` is queued or running, say
        how far it is (`share`, `left_s`), and call again later.
        """
        until = time.monotonic() + wait_s
        while True:
            search = await asyncio.to_thread(self.get_search, search_id)
            left_s = until - time.monotonic()
            if search.state in OVER or left_s <= 0:
                return search
            await asyncio.sleep(min(_LOOK_S, left_s))

    def get_log(
        self,
        search_id: SearchId,
        *,
        after: Annotated[
            int | None, Field(ge=0, lt=1 << 62, description="`after` of the last answer; the end without it.")
        ] = None,
        limit: Most = 50,
    ) -> Log:
        """Shows the last lines of a search's log, or those that came after an earlier answer."""
        search = self._search(search_id)
        lines = _last(search, limit) if after is None else search.log(after=after)[:limit]
        return Log.of({"lines": lines, "after": lines[-1]["id"] if lines else after or 0})

    def get_front(self, search_id: SearchId, *, first: First = 0, limit: Most = 50) -> Front:
        """Shows what a search found: the points that are the best compromises of quality, latency and size,
        the fastest first, the original to compare with, and which points are recommended. It may be asked
        while the search runs, once something was measured.
        """
        search = self._search(search_id)
        front, measured = search.front(), search.points()
        points = [  # an entry has a target where each point has but one: on a front of several runtimes
            row
            for entry in front["front"]
            for row in measured
            if row["trial"] == entry["trial"] and row["target"] == entry.get("target", row["target"])
        ]
        original = [row for row in measured if row["trial"] == front["baseline"]["trial"]]
        parts = {"original": original, "points": points[first : first + limit], "count": len(points)}
        return Front.of({**front, "metric": front["task"]["metric"], **parts})

    def get_layers(
        self,
        search_id: SearchId,
        trial: Trial,
        *,
        target: OneTarget = None,
        first: First = 0,
        limit: Most = 100,
    ) -> Layers:
        """Shows what became of each layer in a point: channels, precision, bits, bytes."""
        layers = self._search(search_id).layers(trial, target=target)
        return Layers.of({"layers": layers[first : first + limit], "count": len(layers)})

    def get_failures(self, search_id: SearchId, *, first: First = 0, limit: Most = 50) -> Failures:
        """Shows which candidates of a search could not be measured, in which stage, and why. A search that
        failed as a whole says why in `message` of get_search and in its log.
        """
        failures = self._search(search_id).failures()
        return Failures.of({"failures": failures[first : first + limit], "count": len(failures)})

    def pick_point(
        self,
        search_id: SearchId,
        *,
        max_drop: MaxDrop = None,
        max_latency: MaxLatency = None,
        max_size: MaxSize = None,
        minimize: Minimize = "latency",
        policy: Policy = None,
    ) -> Picked:
        """Says which point of a search to take within limits, or by a policy, and its neighbours on the
        front. Limits that are not given are those of the search. Changes nothing. Where no point meets the
        limits, the error names the nearest misses.
        """
        wish = {"max_drop": max_drop, "max_latency": max_latency, "max_size": max_size, "policy": policy}
        given = {name: one for name, one in wish.items() if one is not None}
        return Picked.of(self._search(search_id).pick(minimize=minimize, **given))

    def list_tasks(self) -> Tasks:
        """Lists what can be searched: the registered tasks, each a model with its data and metric, and the
        arguments that they take.
        """
        return Tasks.of({"tasks": self._client.tasks()})

    def list_recipes(self) -> Recipes:
        """Lists names for usual wishes (target, limits, budget, policy), which a search may be ordered by."""
        return Recipes.of({"recipes": self._client.recipes()})

    def list_machines(self) -> Machines:
        """Lists the workers that run searches, the boards that they measure on, and the service's disk."""
        return Machines.of(self._client.machines())

    def list_nights(
        self, last: Annotated[int, Field(ge=1, le=30, description="How many nights of each.")] = 5
    ) -> Nights:
        """Lists the nightly runs: when they begin, how the last nights ended, why somebody should look."""
        files = [{**one, "nights": one["nights"][:last]} for one in self._client.nights()]
        return Nights.of({"nightly": files})

    def _search(self, search_id: str) -> SearchOfService:
        return SearchOfService(self._client.connection, search_id)


def shown(search: SearchOfService) -> Search:
    """A search as it is now."""
    return Search.of_json(search.refresh(), search.page)


def _last(search: SearchOfService, limit: int) -> list[dict[str, Any]]:
    """The last lines of a log."""
    lines: deque[dict[str, Any]] = deque(maxlen=limit)
    after = 0
    while page := search.log(after=after):
        lines.extend(page)
        after = page[-1]["id"]
    return list(lines)
