"""Nights as records, without any search: for what reads them."""

from autocompress.nightly.records.deployed import Deployed, Version
from autocompress.nightly.records.event import Event
from autocompress.nightly.records.model_night import Deployment, ModelNight, PolicyChange, Step
from autocompress.nightly.records.night import Night
from autocompress.nightly.records.seen import Check, EnvironmentChange, InTurns, Pick, PickOn
from autocompress.profiles import Environment
from autocompress.results.records.facts import MetricFacts

AT = "2026-11-29T01:00:00+00:00"
POLICY = "fastest within 1pp"


def environment(version: str = "1.23.2") -> Environment:
    return Environment(
        cpu_model="a processor",
        flags=("avx2",),
        governor="performance",
        threads=1,
        cores=(1,),
        runtime="onnxruntime",
        runtime_version=version,
        python_version="3.11.9",
        os="Linux-6.8.0",
    )


def pick(ratio: float = 0.5, *, digest: str = "a" * 64, trial: int = 7) -> Pick:
    there = PickOn(
        digest=digest,
        latency_s=ratio * 1e-4,
        ratio=ratio,
        ratio_interval=(0.98 * ratio, 1.02 * ratio),
        quality=0.98,
        drop=0.005,
        drop_interval=(-0.002, 0.012),
        test=None,
        size_bytes=50_000,
        size_ratio=0.05,
    )
    return Pick(policy=POLICY, trial=trial, label=f"trial {trial}", original=False, targets={"cpu": there})


def check(**values) -> Check:
    return Check(
        **{
            "target": "cpu",
            "version": "2026-11-28-7",
            "environment": environment(),
            "parity_error": 0.001,
            "parity_tolerance": 0.05,
            "latency_s": 5e-5,
            "ratio": 0.5,
            "ratio_interval": (0.49, 0.51),
            "stated_ratio": 0.5,
            "stated_interval": (0.49, 0.51),
            "quality": 0.98,
            "stated_quality": 0.98,
            **values,
        }
    )


def event(kind: str = "regression", severity: str = "bad", **values) -> Event:
    return Event(**{"kind": kind, "severity": severity, "sentence": "It is slower.", "at": AT, **values})


def model_night(name: str = "digits", **values) -> ModelNight:
    return ModelNight(
        **{
            "name": name,
            "state": "done",
            "attempts": 1,
            "steps": (Step(name="search", at=AT, seconds=180.0, exit_code=0),),
            "run": f"nights/2026-11-29/{name}",
            "reference": "2026-11-28",
            "metric": MetricFacts(name="accuracy", direction="higher", unit="fraction"),
            "hypervolume": 0.41,
            "front_size": 5,
            "environments": {"cpu": environment("1.24.0")},
            "changes": (
                EnvironmentChange(target="cpu", what="runtime version", before="1.23.2", now="1.24.0"),
            ),
            "picks": (pick(),),
            "policies": (
                PolicyChange(
                    policy=POLICY,
                    quantity="latency",
                    target="cpu",
                    before=0.5,
                    now=0.5,
                    interval=(-0.03, 0.03),
                    again=None,
                    verdict="same",
                ),
            ),
            "checks": (check(),),
            "in_turns": (
                InTurns(
                    reason="upgrade",
                    package="onnxruntime",
                    old="1.23.2",
                    new="1.24.0",
                    target="cpu",
                    digest="a" * 64,
                    ratio=1.05,
                    ratio_interval=(1.04, 1.06),
                    worse=True,
                ),
            ),
            "deployment": Deployment(action="kept", version="2026-11-28-7", reason="nothing is better."),
            "events": (event(model=name, target="cpu", cause="runtime version 1.23.2 → 1.24.0"),),
            **values,
        }
    )


def night(name: str = "2026-11-29", **values) -> Night:
    whole = {"began_at": AT, "models": (model_night(),), "status": "finished", "ended_at": AT, "sessions": 1}
    return Night(**{"name": name, **whole, **values})


def version(name: str, *, digest: str = "a" * 64) -> Version:
    return Version(
        name=name, night="2026-11-28", run="nights/2026-11-28/digits", digest=digest, pick=pick(), at=AT
    )


def deployed(*names: str, current: str | None = None) -> Deployed:
    versions = tuple(version(name, digest=f"{number}" * 64) for number, name in enumerate(names))
    return Deployed(model="digits", versions=versions, current=current or (names[-1] if names else None))
