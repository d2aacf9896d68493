"""The search space of several targets: what all of them allow."""

from dataclasses import replace

from autocompress.explore.space.joint_space import ruled_out_by, space_of
from autocompress.explore.space.space import SearchSpace
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork

CPU = replace(PROFILE, name="cpu", storage_bits=(6, 4))
EDGE = replace(PROFILE, name="edge", storage_bits=(4, 2), channel_multiple=16)


def test_one_target_has_its_own_space():
    assert space_of(FakeNetwork(), [CPU]) == SearchSpace.of(FakeNetwork(), CPU)


def test_a_level_must_be_legal_on_all_targets():
    space, alone = (
        space_of(FakeNetwork(), [CPU, EDGE]),
        [SearchSpace.of(FakeNetwork(), profile) for profile in (CPU, EDGE)],
    )
    assert set(space.precisions["layer0"]) == {"float32", "int8", "int4"}
    for group in space.groups:
        levels = [next(other.levels for other in one.groups if other.name == group.name) for one in alone]
        assert set(group.levels) == set(levels[0]) & set(levels[1])


def test_multiples_that_do_not_divide_each_other_leave_their_common_ones():
    space = space_of(
        FakeNetwork((48, 10)), [replace(CPU, channel_multiple=8), replace(EDGE, channel_multiple=12)]
    )
    assert space.groups[0].levels == (24, 48)


def test_what_a_target_excludes_has_the_reason_of_that_target():
    space = space_of(FakeNetwork(), [CPU, replace(EDGE, precisions=("float32",))])
    assert space.precisions == {}
    assert {item.reason for item in space.excluded if item.name == "layer1"} == {"target 'edge' runs no int8"}


def test_each_target_is_told_with_what_it_alone_rules_out():
    cpu, edge = ruled_out_by(FakeNetwork(), [CPU, EDGE])
    assert (cpu.target, cpu.reasons) == ("cpu", ("int2 for 4 layers",))
    assert (edge.target, edge.reasons) == (
        "edge",
        ("int6 for 4 layers", "5 channel counts that are no multiples of 16"),
    )
    assert (
        ruled_out_by(FakeNetwork(), [CPU])
        == ruled_out_by(FakeNetwork(), [CPU, replace(CPU, name="twin")])
        == []
    )
