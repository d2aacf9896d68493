"""The targets of a search as they are asked for: profiles, names and addresses."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from autocompress.errors import ProfileError, TargetUnavailable
from autocompress.evaluation.targets import FoundTarget, load_targets, require_one
from autocompress.profiles import TargetAddress, load_profile, parse_target


def test_targets_carry_their_profile_by_their_name_and_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text('inherits = "jetson"\nthreads = 2\n')
    first, second = load_targets(f"cpu,{tmp_path}/edge.toml@ann@10.0.0.5:2222")
    assert (first.profile, first.address.local) == (load_profile("cpu"), True)
    assert (second.profile.name, second.profile.threads, second.profile.runtime) == ("edge", 2, "tensorrt")
    assert second.address == TargetAddress(
        profile=f"{tmp_path}/edge.toml", user="ann", host="10.0.0.5", port=2222
    )


def test_two_boards_of_one_kind_have_two_names_and_one_fingerprint() -> None:
    left, right = load_targets("jetson@ann@left,jetson@ann@right")
    assert [left.profile.name, right.profile.name] == ["jetson@left", "jetson@right"]
    assert left.profile.fingerprint == right.profile.fingerprint == load_profile("jetson").fingerprint


def test_an_unknown_profile_at_an_address_is_answered_with_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean 'jetson'"):
        load_targets("jetsn@ann@host")


def test_a_target_that_cannot_be_used_is_away_and_named_when_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / "many.toml").write_text('inherits = "cpu"\nthreads = 4096\n')
    many, here = (target.probe() for target in load_targets(f"{tmp_path}/many.toml,cpu"))
    assert many.away and many.environment is None and not many.may_return
    with pytest.raises(TargetUnavailable, match=r"Target 'many': .*--allow-predicted"):
        require_one([many])
    require_one([many, here])
    assert here.environment is not None and not here.away


@pytest.mark.parametrize(("address", "may_return"), [("cpu", False), ("cpu@10.0.0.5", True)])
def test_only_a_board_with_an_address_may_return(address: str, may_return: bool) -> None:
    target = FoundTarget(profile=load_profile("cpu"), address=parse_target(address), environment=None)
    assert target.may_return is may_return
    prediction: Any = SimpleNamespace()
    assert not replace(target, prediction=prediction).may_return
