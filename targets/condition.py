"""What a board's own condition says to `targets doctor` and before a search: power mode, clocks, temperature,
rights.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..profiles.environment import Environment
from ..profiles.profile import Profile
from .finding import Finding

EXACT_SUMS = "session.x64quantprecision"  # an option of ONNX Runtime
HOT_C = 80.0  # the Orin's clocks are capped from 99 °C, the Raspberry Pi's from 80 °C


def power_mode_note(profile: Profile, environment: Environment | None) -> str:
    """Says that the board's power mode is not the profile's; empty where it is, or has none."""
    if (
        environment is None
        or environment.power_mode is None
        or profile.power_mode in (None, environment.power_mode)
    ):
        return ""
    return (
        f"target '{profile.name}' is in power mode {environment.power_mode}, its profile is for {profile.power_mode}: "
        "--set-clocks switches for the time of a search, or say power_mode in a profile of your own."
    )


def saturation_note(profile: Profile, environment: Environment | None) -> str:
    """Says that int8 sums saturate there, which costs quality; empty where they do not."""
    exact = profile.runtime_options.get(EXACT_SUMS) == "1"
    if environment is None or profile.runtime != "onnxruntime" or exact or not environment.saturates:
        return ""
    return (
        f"the CPU of target '{profile.name}' has no VNNI: its int8 sums saturate, and the quality of int8 candidates is "
        "what such a CPU answers. Layers of 6 bits and fewer do not suffer; --target cpu-avx2 has exact sums, slower."
    )


def condition_findings(profile: Profile, condition: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about what a worker's operation `condition` told."""
    state = condition["state"]
    if state["power_mode"] is not None:
        yield _power_mode(profile, state["power_mode"], condition["power_modes"])
        yield _fixed_clocks(state, condition["rights"])
    if (hottest := max(state["temperatures_c"].items(), key=lambda item: item[1], default=None)) is not None:
        cool = hottest[1] < HOT_C
        yield Finding(
            name="temperature",
            ok=cool,
            detail=f"{hottest[0]} at {hottest[1]:.0f} °C",
            remedy="" if cool else "cool the board (fan, heat sink, air) before measuring",
        )
    if state["counters"] or state["active"]:
        earlier = [name for name, count in state["counters"].items() if count]
        told = f"now: {', '.join(state['active'])}" if state["active"] else "none now"
        yield Finding(
            name="throttling",
            ok=not state["active"],
            detail=told + (f"; since the start: {', '.join(earlier)}" if earlier else ""),
            remedy="cool the board, choose a lower power mode, or use a stronger power supply"
            if state["active"]
            else "",
        )


def _power_mode(profile: Profile, mode: str, modes: Mapping[str, str]) -> Finding:
    wanted = profile.power_mode
    number = next((number for number, name in modes.items() if name == wanted), None)
    if wanted in (None, mode):
        return Finding(name="power mode", ok=True, detail=mode)
    there = (
        f"sudo nvpmodel -m {number}" if number is not None else f"the board has {', '.join(modes.values())}"
    )
    return Finding(
        name="power mode",
        ok=False,
        detail=f"{mode}; the profile is for {wanted}",
        remedy=f"{there}, or say power_mode = \"{mode}\" in a profile that inherits from '{profile.name}'",
    )


def _fixed_clocks(state: Mapping[str, Any], rights: Mapping[str, Any]) -> Finding:
    """Free clocks are not wrong, but they wander; whether `--set-clocks` could fix them."""
    if state["clocks_fixed"]:
        return Finding(name="clocks", ok=True, detail="fixed (jetson_clocks)")
    able = bool(rights["may_set"])
    return Finding(
        name="clocks",
        ok=able,
        detail="free; "
        + ("--set-clocks may fix them while it measures" if able else "this user has no right to fix them"),
        remedy="" if able else rights["remedy"],
    )
