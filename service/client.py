"""Client: a service from Python. `ac.Client(url, token=…)`; needs nothing of the extra `service`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..errors import InputError, TargetUnavailable
from ..files import digest_of_file
from .order import Order
from .uploads import PREFIX
from .work.connection import Connection

OVER = ("finished", "failed", "cancelled", "paused")  # states in which nothing happens by itself
_NOT_TAKEN = (".pt", ".pt2", ".pth", ".ckpt", ".bin", ".pkl", ".py")  # told before anything is sent


class Client:
    """A service at `url`, such as http://127.0.0.1:8700, asked with a token.

    Errors are those of the commands: InputError in the service's words, TargetUnavailable when it is away.
    """

    def __init__(self, url: str, *, token: str):
        self.connection = Connection(url, token)

    def submit(
        self,
        task: str = "digits",
        *,
        arguments: Mapping[str, object] | None = None,
        target: str | None = None,
        budget: str | None = None,
        trials: int | None = None,
        max_drop: str | None = None,
        max_latency: str | None = None,
        max_size: str | None = None,
        seed: int = 0,
        labels: Sequence[str] = (),
        priority: int = 0,
        policy: str | None = None,
        recipe: str | None = None,
        key: str | None = None,
    ) -> "Search":
        """Submits a search of a registered task; the same `key` with the same order gives the same search.
        What is not given is that of the `recipe`, a name that the service knows.
        """
        order = Order(
            task=task,
            arguments={name: str(value) for name, value in (arguments or {}).items()},
            target=target or "cpu",
            budget=budget,
            trials=trials,
            max_drop=max_drop,
            max_latency=(max_latency,) if max_latency else (),
            max_size=(max_size,) if max_size else (),
            seed=seed,
            labels=tuple(labels),
            priority=priority,
            policy=policy,
        )
        given = () if target is None else ("target",)
        return self.submit_order(order, key=key, recipe=recipe, given=given)

    def upload(self, weights: str | Path) -> str:
        """Sends a file of safetensors or ONNX, unless the service has it; what an argument of a task says of
        it.
        """
        file = Path(weights)
        if not file.is_file():
            raise InputError(f"There is no file {file}: give one of safetensors or ONNX.")
        if file.suffix in _NOT_TAKEN:
            raise InputError(
                f"{file} is no file of safetensors or ONNX: save the weights with safetensors, or export the "
                "model to ONNX. Loading what torch saves can run code."
            )
        digest = digest_of_file(file)
        if f"{PREFIX}{digest}" not in (one["name"] for one in self.connection.get("/v1/weights")):
            self.connection.send_file(f"/v1/weights/{digest}", file)
        return f"{PREFIX}{digest}"

    def submit_order(
        self, order: Order, *, key: str | None = None, recipe: str | None = None, given: Collection[str] = ()
    ) -> "Search":
        """Submits an order; with a recipe, what in it is no default or was `given`."""
        headers = {"Idempotency-Key": key} if key else {}
        body = order.to_json()
        if recipe is not None:
            usual = Order(task=order.task).to_json()
            body = {name: one for name, one in body.items() if one != usual[name] or name in given}
            body |= {"task": order.task, "recipe": recipe}
        answer = self.connection.ask("POST", "/v1/searches", body, headers=headers)
        return Search(self.connection, str(answer["id"]))

    def search(self, search_id: str) -> "Search":
        """A search by its id. InputError when there is none that the token may see."""
        search = Search(self.connection, search_id)
        search.refresh()
        return search

    def searches(self, **filters: str) -> Iterator["Search"]:
        """The searches, the newest first; filters are state, task, owner and text."""
        before: str | None = None
        while True:
            page = self.page(before=before, **filters)
            yield from (Search(self.connection, str(one["id"])) for one in page["searches"])
            before = page["next"]
            if before is None:
                return

    def page(self, *, before: str | None = None, **filters: str) -> dict[str, Any]:
        """A page of `searches` as they are now, and `next`: the `before` of the following page, if any. Its
        filters are those of `searches`, and limit.
        """
        asked = {**filters, **({"before": before} if before else {})}
        page: dict[str, Any] = self.connection.get(f"/v1/searches?{urlencode(asked)}")
        return page

    def tasks(self) -> list[dict[str, Any]]:
        """The registered tasks, and what their functions take."""
        tasks: list[dict[str, Any]] = self.connection.get("/v1/tasks")
        return tasks

    def recipes(self) -> list[dict[str, Any]]:
        """The recipes: names for target, limits, budget and policy."""
        recipes: list[dict[str, Any]] = self.connection.get("/v1/recipes")
        return recipes

    def machines(self) -> dict[str, Any]:
        """Workers, boards and the disk."""
        machines: dict[str, Any] = self.connection.get("/v1/machines")
        return machines

    def nights(self) -> list[dict[str, Any]]:
        """The nightly runs, each with its last nights."""
        nights: list[dict[str, Any]] = self.connection.get("/v1/nightly")
        return nights


class Search:
    """A search of a service."""

    def __init__(self, connection: Connection, search_id: str):
        self._connection = connection
        self.id = search_id
        self._path = f"/v1/searches/{search_id}"

    def __repr__(self) -> str:
        return f"<Search {self.page}>"

    @property
    def page(self) -> str:
        """The address of its page."""
        return f"{self._connection.url}/searches/{self.id}"

    def refresh(self) -> dict[str, Any]:
        """The search as it is now: state, progress, order …"""
        state: dict[str, Any] = self._connection.get(self._path)
        return state

    def pause(self) -> None:
        """Stops it at a safe place."""
        self._connection.ask("POST", f"{self._path}/pause")

    def resume(self) -> None:
        """Lets it go on."""
        self._connection.ask("POST", f"{self._path}/resume")

    def cancel(self) -> None:
        """Stops it for good."""
        self._connection.ask("POST", f"{self._path}/cancel")

    def change_budget(self, *, budget: str | None = None, trials: int | None = None) -> None:
        """Gives it another budget."""
        self._connection.ask("PUT", f"{self._path}/budget", {"budget": budget, "trials": trials})

    def follow(self, tell: Callable[[str], object]) -> str:
        """Calls `tell` with each line of the log until the search is over or paused; returns its state. A
        connection that breaks is taken up again where it was.
        """
        last, tries = "", 0
        while True:
            try:
                for number, kind, value in self._connection.events(f"{self._path}/events", last=last):
                    tries = 0
                    if kind == "log":
                        last = number
                        tell(str(value["text"]))
                    elif kind == "end":
                        return str(value["state"])
            except TargetUnavailable:
                tries += 1
                if tries > 5:
                    raise

    def front(self) -> dict[str, Any]:
        """The front, as `front --json` prints it."""
        front: dict[str, Any] = self._connection.get(f"{self._path}/front")
        return front

    def points(self) -> list[dict[str, Any]]:
        """All measured points with their numbers."""
        points: list[dict[str, Any]] = self._connection.get(f"{self._path}/points")
        return points

    def layers(self, trial: int, *, target: str | None = None) -> list[dict[str, Any]]:
        """What became of each layer in a point."""
        asked = f"?{urlencode({'target': target})}" if target else ""
        layers: list[dict[str, Any]] = self._connection.get(f"{self._path}/points/{trial}/layers{asked}")
        return layers

    def failures(self) -> list[dict[str, Any]]:
        """The candidates that could not be measured: in which stage, and why."""
        failures: list[dict[str, Any]] = self._connection.get(f"{self._path}/failures")
        return failures

    def log(self, *, after: int = 0) -> list[dict[str, Any]]:
        """Up to 500 lines of the log after the line of the id `after`."""
        lines: list[dict[str, Any]] = self._connection.get(f"{self._path}/log?after={after}")
        return lines

    def pick(self, **limits: str) -> dict[str, Any]:
        """The best point within max_drop, max_latency, max_size, and its neighbours; or that of a policy."""
        picked: dict[str, Any] = self._connection.get(f"{self._path}/pick?{urlencode(limits)}")
        return picked

    def bundle(self, trial: int, out: str | Path) -> Path:
        """Writes the bundle of a point to the ZIP file `out`, and checks its SHA-256."""
        from ..errors import InputError
        from ..files import digest_of_file

        made = self._connection.ask("POST", f"{self._path}/bundles", {"trial": trial})
        path = Path(out)
        self._connection.fetch(made["url"], path)
        if digest_of_file(path) != made["sha256"]:
            raise InputError(f"{path} arrived with another SHA-256 than the service says: fetch it again.")
        return path
