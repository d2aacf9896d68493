"""What is known of hardware: profiles, environments, measurements and their statistics. Never imports torch.

Purpose. Records that every other folder passes around, and the arithmetic on them. Nothing here runs
anything.

Reading order
    units.py         `2ms`, `200KB`, `1pp`: parsed with their unit or refused; and printed for people
    profile.py       Profile: what a target can do (runtime, threads, precisions, Q/DQ convention); Datasheet: what its maker says
    profile_file.py  profiles from devices/*.toml, or from a user's file that inherits from one of them
    profile_rules.py what such a file may say, and what contradicts what
    explain.py       a profile in words, for `targets show`
    address.py       `jetson@user@host:22`: a profile, and where the device is
    environment.py   Environment: the machine and software that a measurement was taken on; mixing them is refused
    measurement.py   Measurement: raw block times of a candidate beside its baseline; ratio, interval, percentiles
    regression.py    what adds up, learned from sums of it; the error of predictions (needs numpy, so import it from there)
    latency_table.py LatencyTable: what was measured on one device, kept for later runs

Flow. `targets` asks the worker for an Environment, times an artifact by a TimingConfig, and returns a
Measurement. `search` compares Measurements (`overlaps`: two points whose intervals overlap are
indistinguishable).

A predicted latency is another type (PredictedLatency, printed with `~`), so that it never passes as a
measured one.

What it does not know: models, recipes, data, how a measurement is taken (targets/on_device), where it is
stored.
"""

from .address import TargetAddress, parse_target
from .environment import Environment
from .measurement import (
    FINALIST_TIMING,
    SEARCH_TIMING,
    Measurement,
    PairBlocks,
    PredictedLatency,
    TimingConfig,
)
from .profile import Datasheet, Profile
from .profile_file import ALIASES, load_profile, profile_names
from .units import Drop, format_duration, format_latency, format_size, parse_drop, parse_duration, parse_size

__all__ = [
    "ALIASES",
    "FINALIST_TIMING",
    "SEARCH_TIMING",
    "Datasheet",
    "Drop",
    "Environment",
    "Measurement",
    "PairBlocks",
    "PredictedLatency",
    "Profile",
    "TargetAddress",
    "TimingConfig",
    "format_duration",
    "format_latency",
    "format_size",
    "load_profile",
    "parse_drop",
    "parse_duration",
    "parse_size",
    "parse_target",
    "profile_names",
]
