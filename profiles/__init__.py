"""What is known of hardware: profiles, environments, measurements and their statistics. Never imports torch.

Purpose. Records that every other folder passes around, and the arithmetic on them. Nothing here runs
anything.

Flow. A profile comes from a TOML file, ours or the user's, and is checked against what its runtime can do.
`targets` asks a worker for an Environment, times an artifact by a TimingConfig, and returns a Measurement,
which keeps the raw times. What was measured on a device is kept in a LatencyTable, from which later runs
predict. A prediction is another type (PredictedLatency, printed with `~`), so that it never passes as a
measurement.

Reading order
    units.py          `2ms`, `200KB`, `1pp`: parsed with their unit or refused; and printed for people
    profile.py        Profile: what a target can do; Datasheet: what its maker says
    runtimes.py       RuntimeFacts: what is known of a runtime, read as data from its folder
    profile_file.py   profiles from devices/*.toml, or from a user's file that inherits from one of them
    alternatives.py   which profiles are runtimes of one device: `--runtimes`
    profile_rules.py  what such a file may say, and what contradicts what
    explain.py        a profile in words, for `targets show`
    address.py        `jetson@user@host:22`: a profile, and where the device is
    sizes.py          Sizes of free dimensions that are measured: `tokens=32:0.7,128:0.3`
    environment.py    Environment: the machine and software that a measurement was taken on
    measurement.py    Measurement: raw times of a candidate beside its baseline; ratio, interval, percentiles
    latency_table.py  LatencyTable: what was measured on one device, kept for later runs
    regression.py     Bayesian regression of what adds up; the error of predictions (it needs numpy)

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
from .profile_file import ALIASES, is_built_in, load_profile, profile_names
from .units import (
    Drop,
    format_duration,
    format_energy,
    format_latency,
    format_size,
    parse_drop,
    parse_duration,
    parse_energy,
    parse_size,
)

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
    "format_energy",
    "format_latency",
    "format_size",
    "is_built_in",
    "load_profile",
    "parse_drop",
    "parse_duration",
    "parse_energy",
    "parse_size",
    "parse_target",
    "profile_names",
]
