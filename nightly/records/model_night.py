"""ModelNight: one model in one night: which steps are done, and what each of them gave."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from ...profiles import Environment
from ...results.compare.change import Verdict
from ...results.compare.tolerance import Quantity
from ...results.records.facts import MetricFacts, environment_from
from ...results.records.reading import Fields, Interval
from .event import Event
from .seen import Check, EnvironmentChange, InTurns, Pick

State = Literal["waiting", "running", "done", "away", "failed", "skipped"]
StepName = Literal["search", "compare", "verify", "in turns", "deploy"]
Action = Literal["deployed", "kept", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that is done, or was tried. `exit_code` is that of its command, None where it needed none.
    `at` is when it ended (ISO 8601, UTC), `seconds` how long it took in the session that ended it.
    """

    name: StepName
    at: str
    seconds: float
    exit_code: int | None = None

    @classmethod
    def from_json(cls, fields: Fields) -> "Step":
        """The step that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.choice("name", get_args(StepName)),
                at=fields.text("at"),
                seconds=fields.amount("seconds"),
                exit_code=fields.maybe("exit_code", lambda key: fields.whole(key, least=-255)),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What a policy picks tonight, against what it picks of the reference night's run, on the target where
    that came out worst, and there in the quantity that decides (`results.compare.picks`).

    `before` and `now` are ratios to the original (latency, size) or a loss in the metric's unit (drop), None
    where nothing met the policy. `interval` is that of the change (0.05: 5 % more; of a drop a difference),
    by the two runs. `again` is that of the immediate second measurement, the two artifacts beside each other;
    None where none was needed. `verdict` is `worse` only if both leave the tolerance, `unknown` where the two
    cannot be compared; `reason` says why in words.
    """

    policy: str
    quantity: Quantity
    target: str
    before: float | None
    now: float | None
    interval: Interval | None
    again: Interval | None
    verdict: Verdict
    reason: str = ""

    @classmethod
    def from_json(cls, fields: Fields) -> "PolicyChange":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                policy=fields.text("policy"),
                quantity=fields.choice("quantity", get_args(Quantity)),
                target=fields.text("target"),
                before=fields.maybe("before", fields.number),
                now=fields.maybe("now", fields.number),
                interval=fields.maybe("interval", fields.interval),
                again=fields.maybe("again", fields.interval),
                verdict=fields.choice("verdict", get_args(Verdict)),
                reason=fields.text("reason") if fields.has("reason") else "",
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the night did about deployment. `version` is the bundle that is deployed afterwards (None: none
    yet), `reason` says in one sentence why it is that one.
    """

    action: Action
    version: str | None
    reason: str

    @classmethod
    def from_json(cls, fields: Fields) -> "Deployment":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                action=fields.choice("action", get_args(Action)),
                version=fields.maybe("version", fields.text),
                reason=fields.text("reason"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNight:
    """`state`: `waiting` for its turn, `running`, `done`, `away` (its target; tried again), `failed`,
    `skipped` (no time was left). `attempts` counts the searches that ended, `steps` those that are done.

    `run` is the run directory, None before the search has begun. `reference` is the name of the night that
    this one is compared with: the last one in which this model's search was done; None in the first.
    `metric` says what qualities and drops mean; None before the search is done, and in records of before it
    was kept. `hypervolume` is that of the run (of `front_size` points), None before the search is done.
    `environments` are those of the run by target, `changes` what is another than in the reference night.
    `picks` are the points of the policies, in the order of nightly.toml. `policies` compare them with those
    of the reference night. `checks` are of the deployed bundle, one for each target, `in_turns` of two
    versions of a runtime.
    """

    name: str
    state: State = "waiting"
    attempts: int = 0
    steps: tuple[Step, ...] = ()
    run: str | None = None
    reference: str | None = None
    metric: MetricFacts | None = None
    hypervolume: float | None = None
    front_size: int | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)
    changes: tuple[EnvironmentChange, ...] = ()
    picks: tuple[Pick, ...] = ()
    policies: tuple[PolicyChange, ...] = ()
    checks: tuple[Check, ...] = ()
    in_turns: tuple[InTurns, ...] = ()
    deployment: Deployment | None = None
    events: tuple[Event, ...] = ()

    def has_done(self, step: StepName) -> bool:
        """Whether a step is done, and needs not be done again."""
        return any(done.name == step for done in self.steps)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do for the model in this night."""
        return self.state in ("done", "failed", "skipped")

    def pick(self, policy: str) -> Pick | None:
        """The point of a policy by its text, None where it takes none."""
        return next((pick for pick in self.picks if pick.policy == policy), None)

    def with_step(self, step: Step, **values: Any) -> "ModelNight":
        """The same after a step, with what it gave in the fields of these names."""
        return replace(self, steps=(*self.steps, step), **values)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        environments = {name: one.to_json() for name, one in self.environments.items()}
        checks = [check.to_json() for check in self.checks]
        return {**asdict(self), "environments": environments, "checks": checks}

    @classmethod
    def from_json(cls, fields: Fields) -> "ModelNight":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                state=fields.choice("state", get_args(State)),
                attempts=fields.whole("attempts"),
                steps=tuple(map(Step.from_json, fields.objects("steps"))),
                run=fields.maybe("run", fields.path),
                reference=fields.maybe("reference", fields.path),
                metric=fields.optional("metric", lambda key: MetricFacts.from_json(fields.object(key))),
                hypervolume=fields.maybe("hypervolume", fields.amount),
                front_size=fields.maybe("front_size", fields.whole),
                environments=fields.each(
                    "environments", lambda one, name: environment_from(one.object(name))
                ),
                changes=tuple(map(EnvironmentChange.from_json, fields.objects("changes"))),
                picks=tuple(map(Pick.from_json, fields.objects("picks"))),
                policies=tuple(map(PolicyChange.from_json, fields.objects("policies"))),
                checks=tuple(map(Check.from_json, fields.objects("checks"))),
                in_turns=tuple(map(InTurns.from_json, fields.objects("in_turns"))),
                deployment=fields.maybe("deployment", lambda key: Deployment.from_json(fields.object(key))),
                events=tuple(map(Event.from_json, fields.objects("events"))),
            )
        )
