"""Order: what a search is asked to do, with the options of `autocompress search`."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..explore.preparation.request import SearchRequest
from ..files import digest_of
from ..nightly.commands import option_words
from ..profiles import TargetAddress, load_profile
from ..profiles.units import parse_budget
from ..results.choosing.policy import Policy
from ..results.target_limits import limits_of, target_addresses
from ..text.secrets import is_reference, is_secret

_LONGEST = 1000  # characters of a value
_CODE = re.compile(r"\.pyw?(:|\s*$)", re.IGNORECASE)  # `path/to/file.py:function`
_MOST = 50  # arguments, limits, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A search by the name of a registered task. Texts have units, as on the command line.

    `labels` are what a worker must have; of two waiting jobs the one with the higher `priority` goes first;
    `policy` says which point is wanted. InputError, in the words of the command line, for what `search` would
    refuse before any work.
    """

    task: str = "digits"
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = "cpu"
    budget: str | None = None
    trials: int | None = None
    max_drop: str | None = None
    max_latency: tuple[str, ...] = ()
    max_size: tuple[str, ...] = ()
    max_energy: tuple[str, ...] = ()
    batch: int = 1
    shapes: tuple[str, ...] = ()
    sampler: str = "front"
    recovery: bool = True
    allow_predicted: bool = False
    seed: int = 0
    deterministic: bool = False
    validation_samples: int | None = None
    labels: tuple[str, ...] = ()
    priority: int = 0
    policy: str | None = None

    def __post_init__(self) -> None:
        self._require_short()
        for name, value in self.arguments.items():
            if is_reference(value) or is_secret(name, value):
                raise InputError(
                    f"The argument {name!r} is a secret, or names a variable of the worker: the "
                    "administrator gives such arguments in serve.toml."
                )
            if _CODE.search(value):
                raise InputError(
                    f"The argument {name!r} names a Python file, which would be run: the administrator gives "
                    "such arguments in serve.toml."
                )
        if self.policy is not None:
            Policy.parse(self.policy)
        addresses = _known_targets(self.target)
        SearchRequest(
            task=self.task,
            arguments=self.arguments,
            target=self.target,
            batch=self.batch,
            shapes=self.shapes,
            budget_s=None if self.budget is None else parse_budget(self.budget),
            trials=self.trials,
            constraints=limits_of(
                list(addresses),
                max_drop=self.max_drop,
                max_latency=self.max_latency,
                max_size=self.max_size,
                max_energy=self.max_energy,
            ),
            sampler=self.sampler,
            seed=self.seed,
            deterministic=self.deterministic,
            validation_samples=self.validation_samples,
        )

    def _require_short(self) -> None:
        lists = (self.max_latency, self.max_size, self.max_energy, self.shapes, self.labels)
        texts = [self.task, self.target, self.budget or "", self.max_drop or "", self.policy or ""]
        texts += self.arguments.values()
        if any(len(values) > _MOST for values in (self.arguments, *lists)):
            raise InputError(f"An order has at most {_MOST} arguments, limits or labels of a kind.")
        if any(len(text) > _LONGEST for text in (*texts, *(text for values in lists for text in values))):
            raise InputError(f"A value of an order has at most {_LONGEST} characters.")
        if not -1000 <= self.priority <= 1000:
            raise InputError(f"The priority {self.priority} is none: give -1000 to 1000.")

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Order":
        """The order that `to_json` wrote."""
        values: dict[str, Any] = {
            name: tuple(one) if isinstance(one, list) else one for name, one in value.items()
        }
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The order as JSON."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}

    @property
    def digest(self) -> str:
        """SHA-256 of its JSON. Without a policy it is that of the versions before there were any."""
        return digest_of(
            {name: one for name, one in self.to_json().items() if (name, one) != ("policy", None)}
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """The addresses of the boards that it measures on; empty for the worker's own machine."""
        boards = [board for one in target_addresses(self.target).values() for board in one.boards]
        return tuple(sorted({replace(board, user=None).place for board in boards if not board.local}))

    def words(self, spec: str, arguments: Mapping[str, str], out: Path) -> list[str]:
        """The command `search` of the task `spec` with all its `arguments`, in the run directory `out`."""
        options = {
            "--target": self.target,
            "--out": out,
            "--task-arg": tuple(f"{name}={text}" for name, text in arguments.items()),
            "--budget": self.budget,
            "--trials": self.trials,
            "--max-drop": self.max_drop,
            "--batch": self.batch,
            "--sampler": self.sampler,
            "--seed": self.seed,
            "--max-latency": self.max_latency,
            "--max-size": self.max_size,
            "--max-energy": self.max_energy,
            "--shape": self.shapes,
            "--no-recovery": not self.recovery,
            "--allow-predicted": self.allow_predicted,
            "--validation-samples": self.validation_samples,
            "--deterministic": self.deterministic,
        }
        return ["search", spec, *option_words(options), "--json"]


@lru_cache(maxsize=256)
def _known_targets(text: str) -> dict[str, TargetAddress]:
    """The targets by their names, of profiles that come with the package. InputError for others."""
    addresses = target_addresses(text)
    for address in addresses.values():
        if address.profile.endswith(".toml"):
            raise InputError(f"The target {address.profile!r} is a file: name one of `targets list`.")
        load_profile(address.profile)
    return addresses
