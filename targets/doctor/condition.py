"""What a board's own condition says to `targets doctor` and before a search: power mode, clocks, temperature,
rights.
"""

from collections.abc import Iterator, Mapping

from ...profiles.environment import Environment
from ...profiles.profile import Profile
from ..on_device.board.state import Condition, State
from ..on_device.runtimes.finding import Finding

HOT_C = 80.0  # the Orin's clocks are capped from 99 °C, the Raspberry Pi's from 80 °C
_COOL = "cool the board, choose a lower power mode, or use a stronger power supply"


def power_mode_note(profile: Profile, environment: Environment | None) -> str:
    """Says that the board's power mode is not the profile's; empty where it is, or has none."""
    if (
        environment is None
        or environment.power_mode is None
        or profile.power_mode in (None, environment.power_mode)
    ):
        return ""
    return (
        f"target '{profile.name}' is in power mode {environment.power_mode}, its profile is for "
        f"{profile.power_mode}: --set-clocks switches for the time of a search, or say power_mode in a "
        "profile "
        "of your own."
    )


def saturation_note(profile: Profile, environment: Environment | None) -> str:
    """Says that int8 sums saturate there, which costs quality; empty where they do not."""
    option = profile.facts.exact_sums_option
    if environment is None or option is None or not environment.saturates:
        return ""
    if profile.runtime_options.get(option) == "1":
        return ""
    return (
        f"the CPU of target '{profile.name}' has no VNNI: its int8 sums saturate, and the quality of int8 "
        "candidates is what such a CPU answers. Layers of 6 bits and fewer do not suffer; --target cpu-avx2 "
        "has exact sums, slower."
    )


def condition_findings(profile: Profile, condition: Condition) -> Iterator[Finding]:
    """The findings about what a worker's operation `condition` answered."""
    state = condition.state
    if state.power_mode is not None:
        yield _power_mode(profile, state.power_mode, condition.power_modes)
        yield _fixed_clocks(condition)
    if (hottest := max(state.temperatures_c.items(), key=lambda zone: zone[1], default=None)) is not None:
        cool = hottest[1] < HOT_C
        yield Finding(
            name="temperature",
            ok=cool,
            detail=f"{hottest[0]} at {hottest[1]:.0f} °C",
            remedy="" if cool else "cool the board (fan, heat sink, air) before measuring",
        )
    if state.counters or state.active:
        yield _throttling(state)


def _throttling(state: State) -> Finding:
    earlier = [name for name, count in state.counters.items() if count]
    past = f"; since the start: {', '.join(earlier)}" if earlier else ""
    if not state.active:
        return Finding(name="throttling", ok=True, detail=f"none now{past}")
    detail = f"now: {', '.join(state.active)}{past}"
    return Finding(name="throttling", ok=False, detail=detail, remedy=_COOL)


def _power_mode(profile: Profile, mode: str, modes: Mapping[str, str]) -> Finding:
    wanted = profile.power_mode
    if wanted in (None, mode):
        return Finding(name="power mode", ok=True, detail=mode)
    number = next((number for number, name in modes.items() if name == wanted), None)
    switch = f"sudo nvpmodel -m {number}" if number else f"the board has {', '.join(modes.values())}"
    return Finding(
        name="power mode",
        ok=False,
        detail=f"{mode}; the profile is for {wanted}",
        remedy=f"{switch}, or say power_mode = \"{mode}\" in a profile that inherits from '{profile.name}'",
    )


def _fixed_clocks(condition: Condition) -> Finding:
    """Free clocks are not wrong, but they wander; whether `--set-clocks` could fix them."""
    if condition.state.clocks_fixed:
        return Finding(name="clocks", ok=True, detail="fixed (jetson_clocks)")
    if condition.may_set:
        return Finding(name="clocks", ok=True, detail="free; --set-clocks may fix them while it measures")
    detail = "free; this user has no right to fix them"
    return Finding(name="clocks", ok=False, detail=detail, remedy=condition.remedy)
