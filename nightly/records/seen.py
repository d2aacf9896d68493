"""What a night saw: the points that policies pick, the deployed bundle measured again, one artifact in two
runtimes, environments that changed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Environment
from ...results.compare.differences import Difference
from ...results.records.facts import environment_from
from ...results.records.reading import Fields, Interval, require_finite, require_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class PickOn:
    """The numbers of a picked point on one target, as its run states them.

    `digest` is that of the artifact. `latency_s` are seconds of an inference, `ratio` is latency divided by
    the original's, with its interval (None for a prediction). `quality` is the metric on validation,
    `drop` its loss against the original in the metric's unit, `test` the metric on the test split (None where
    it was not scored), `size_bytes` that of the file, `size_ratio` divided by the original's.
    """

    digest: str
    latency_s: float
    ratio: float
    ratio_interval: Interval | None
    quality: float
    drop: float
    drop_interval: Interval | None
    test: float | None
    size_bytes: int
    size_ratio: float

    def __post_init__(self) -> None:
        require_finite(quality=self.quality, drop=self.drop, test=self.test)
        require_inside(self.ratio_interval, ratio=self.ratio)

    @classmethod
    def from_json(cls, fields: Fields) -> "PickOn":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                digest=fields.text("digest"),
                latency_s=fields.positive("latency_s"),
                ratio=fields.positive("ratio"),
                ratio_interval=fields.maybe("ratio_interval", fields.interval),
                quality=fields.number("quality"),
                drop=fields.number("drop"),
                drop_interval=fields.maybe("drop_interval", fields.interval),
                test=fields.maybe("test", fields.number),
                size_bytes=fields.whole("size_bytes", least=1),
                size_ratio=fields.positive("size_ratio"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """The point of tonight's run that a policy takes. `policy` is its text, `label` what people call the
    point, `original` whether it is the uncompressed model, `targets` its numbers on each.
    """

    policy: str
    trial: int
    label: str
    original: bool
    targets: Mapping[str, PickOn]

    @property
    def ratio(self) -> float:
        """Latency divided by the original's, on the target where that is largest."""
        return max(one.ratio for one in self.targets.values())

    @property
    def size_ratio(self) -> float:
        """Size divided by the original's, on the target where that is largest."""
        return max(one.size_ratio for one in self.targets.values())

    @property
    def drop(self) -> float:
        """The largest loss on any target, in the metric's unit."""
        return max(one.drop for one in self.targets.values())

    @classmethod
    def from_json(cls, fields: Fields) -> "Pick":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                policy=fields.text("policy"),
                trial=fields.whole("trial", least=-(10**9)),
                label=fields.text("label"),
                original=fields.flag("original"),
                targets=fields.each("targets", lambda targets, name: PickOn.from_json(targets.object(name))),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The deployed bundle on one target, measured by `autocompress verify` tonight.

    `version` is the bundle's (see Deployed). `parity_error` is the largest relative difference of its answers
    to ONNX Runtime's on this machine, `parity_tolerance` what is allowed. `ratio` is its latency divided by
    that of its reference now, `stated_ratio` what its manifest says, None where the two cannot be compared
    (`not_compared` says why); `latency_s` is in seconds now. `quality` is the metric on validation now (None:
    `quality_not_verified` says why), `stated_quality` the manifest's. `regressed` says in words what is worse
    beyond its tolerance, in this look. `failure`: why nothing could be measured, None otherwise.
    """

    target: str
    version: str
    environment: Environment | None = None
    parity_error: float | None = None
    parity_tolerance: float | None = None
    latency_s: float | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    stated_ratio: float | None = None
    stated_interval: Interval | None = None
    not_compared: str | None = None
    quality: float | None = None
    stated_quality: float | None = None
    quality_not_verified: str | None = None
    task_differs: str | None = None
    regressed: tuple[str, ...] = ()
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {**asdict(self), "environment": self.environment.to_json() if self.environment else None}

    @classmethod
    def from_json(cls, fields: Fields) -> "Check":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                target=fields.target("target"),
                version=fields.text("version"),
                environment=fields.maybe("environment", lambda key: environment_from(fields.object(key))),
                parity_error=fields.maybe("parity_error", fields.amount),
                parity_tolerance=fields.maybe("parity_tolerance", fields.positive),
                latency_s=fields.maybe("latency_s", fields.positive),
                ratio=fields.maybe("ratio", fields.positive),
                ratio_interval=fields.maybe("ratio_interval", fields.interval),
                stated_ratio=fields.maybe("stated_ratio", fields.positive),
                stated_interval=fields.maybe("stated_interval", fields.interval),
                not_compared=fields.maybe("not_compared", fields.text),
                quality=fields.maybe("quality", fields.number),
                stated_quality=fields.maybe("stated_quality", fields.number),
                quality_not_verified=fields.maybe("quality_not_verified", fields.text),
                task_differs=fields.maybe("task_differs", fields.text),
                regressed=fields.texts("regressed"),
                failure=fields.maybe("failure", fields.text),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurns:
    """One artifact in two versions of a package, timed in turns on this machine. `reason` is `upgrade` (the
    version of the reference night against the one that is installed) or `canary` (the installed one against
    the next).

    `ratio` is latency in `new` divided by latency in `old`, with its interval: 1.05 means 5 % slower.
    `worse`: whether this and an immediate second measurement left the tolerance. `failure`: why nothing was
    measured; then there are no numbers.
    """

    reason: str
    package: str
    old: str
    new: str
    target: str
    digest: str
    ratio: float | None = None
    ratio_interval: Interval | None = None
    worse: bool = False
    failure: str | None = None

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.failure is None):
            raise ValueError("there must be either a ratio or a failure.")

    @classmethod
    def from_json(cls, fields: Fields) -> "InTurns":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                reason=fields.choice("reason", ("upgrade", "canary")),
                package=fields.text("package"),
                old=fields.text("old"),
                new=fields.text("new"),
                target=fields.target("target"),
                digest=fields.text("digest"),
                ratio=fields.maybe("ratio", fields.positive),
                ratio_interval=fields.maybe("ratio_interval", fields.interval),
                worse=fields.flag("worse"),
                failure=fields.maybe("failure", fields.text),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentChange:
    """What is another than in the reference night, as `results.compare.differences` names it (`runtime
    version`, `system` with the kernel, `data` …). `before` and `now` are texts. `target` is empty for what is
    the task's. `kind` is empty in records of before it was kept.
    """

    target: str
    what: str
    before: str
    now: str
    kind: str = ""

    @classmethod
    def of(cls, difference: Difference, target: str) -> "EnvironmentChange":
        """A difference of two runs on a target."""
        of_task = difference.kind in ("task", "metric", "data", "original")
        return cls(
            target="" if of_task else target,
            what=difference.what,
            before=difference.old,
            now=difference.new,
            kind=difference.kind,
        )

    def __str__(self) -> str:
        """`runtime version 1.23.2 → 1.24.0`; of what is known by digests `another original model`."""
        if self.kind in ("original", "data") or self.what in ("profile", "machine"):
            return f"another {self.what}"
        return f"{'runtime option ' * (self.kind == 'option')}{self.what} {self.before} → {self.now}"

    @classmethod
    def from_json(cls, fields: Fields) -> "EnvironmentChange":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                target=fields.text("target"),
                what=fields.text("what"),
                before=fields.text("before"),
                now=fields.text("now"),
                kind=fields.text("kind") if fields.has("kind") else "",
            )
        )
