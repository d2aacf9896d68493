"""Target addresses are read from text, or refused in one sentence."""

import pytest
from autocompress.errors import InputError
from autocompress.profiles import TargetAddress, parse_target


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("cpu", TargetAddress(profile="cpu")),
        ("boards/edge.toml", TargetAddress(profile="boards/edge.toml")),
        ("jetson@ann@10.0.0.5", TargetAddress(profile="jetson", user="ann", host="10.0.0.5")),
        ("jetson@bench-2", TargetAddress(profile="jetson", host="bench-2")),
        (
            "edge.toml@ann@host.local:2222",
            TargetAddress(profile="edge.toml", user="ann", host="host.local", port=2222),
        ),
        ("a@b/edge.toml@ann@host", TargetAddress(profile="a@b/edge.toml", user="ann", host="host")),
        ("x.tomls/edge.toml@host", TargetAddress(profile="x.tomls/edge.toml", host="host")),
        (
            "jetson@ann@[fe80::1%eth0]:22",
            TargetAddress(profile="jetson", user="ann", host="fe80::1%eth0", port=22),
        ),
        ("jetson@[::1]", TargetAddress(profile="jetson", host="::1")),
        (
            "edge.toml@left+ann@right:22",
            TargetAddress(
                profile="edge.toml",
                host="left",
                others=(TargetAddress(profile="edge.toml", user="ann", host="right", port=22),),
            ),
        ),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, address: TargetAddress) -> None:
    assert parse_target(text) == address
    assert str(address) == text
    assert address.local == ("@" not in text.replace("a@b", ""))


def test_boards_of_one_kind_are_each_a_target_of_the_same_profile() -> None:
    address = parse_target("jetson@left + ann@right:22+[::1]")
    assert [str(board) for board in address.boards] == [
        "jetson@left",
        "jetson@ann@right:22",
        "jetson@[::1]",
    ]
    assert (address.name, address.place) == ("jetson", "left+ann@right:22+[::1]")
    (alone,) = parse_target("jetson@left").boards
    assert str(alone) == "jetson@left"


def test_a_target_is_called_by_its_profile_or_the_name_of_its_file() -> None:
    names = [parse_target(text).name for text in ("jetson@ann@host", "boards/edge.toml@host", "cpu")]
    assert names == ["jetson", "edge", "cpu"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@ann@host", "names no profile"),
        ("jetson@", "has no host"),
        ("jetson@ann@", "has no host"),
        ("jetson@ann@:22", "has no host"),
        ("jetson@ann@-oProxyCommand=x", "'-oProxyCommand=x', which is no host's name"),
        ("jetson@ann@ho st", "'ho st', which is no host's name"),
        ("jetson@ann@host;reboot", "no host's name"),
        ("jetson@ann b@host", "the user 'ann b'"),
        ("jetson@-l@host", "the user '-l'"),
        ("jetson@@host", "the user ''"),
        ("jetson@a@b@c", "too many @"),
        ("jetson@ann@host:0", "the port '0'"),
        ("jetson@ann@host:65536", "the port '65536'"),
        ("jetson@ann@host:", "the port ''"),
        ("jetson@ann@host:²", "the port '²'"),
        ("jetson@ann@[::1]22", "the port '22'"),
        ("jetson@ann@fe80::1", "put it in brackets"),
        ("jetson@ann@[fe80::1", "no IPv6 address in its brackets"),
        ("jetson@ann@[host]", "no IPv6 address in its brackets"),
        ("jetson@ann@[-o::1]", "no IPv6 address in its brackets"),
        ("jetson@left+", "has no host"),
        ("jetson@left+right+ann@left", "names the board ann@left twice"),
        ("jetson@left+a@b@c", "too many @"),
        ("jetson@left+ray", "a node of a Ray cluster among its boards"),
    ],
)
def test_a_wrong_address_is_refused_by_its_part(text: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_target(text)
    assert words in str(refusal.value) and repr(text) in str(refusal.value)
