"""What stays on disk after many nights, and what goes."""

from autocompress.nightly.disk import collect
from autocompress.nightly.places import Places
from autocompress.tests.nightly.stand_in import CONFIG, StandIn, a_night, configured


def nights_of(tmp_path, count: int, *, keep: int):
    config, commands = configured(tmp_path, f"keep = {keep}\n{CONFIG}"), StandIn(tmp_path)
    return config, commands, [a_night(config, commands) for _ in range(count)]


def test_only_the_last_nights_stay(tmp_path):
    config, _, nights = nights_of(tmp_path, 4, keep=2)
    places = Places(folder=config.folder)
    assert [night.name for night in places.read_nights()] == [night.name for night in nights[-2:]]
    assert (places.link("digits") / "model.onnx").is_file()


def test_the_night_that_the_next_one_is_compared_with_stays(tmp_path):
    config, commands, nights = nights_of(tmp_path, 1, keep=2)
    for _ in range(3):
        commands.ends["search"] = [2]
        a_night(config, commands)
    assert nights[0].name in [night.name for night in Places(folder=config.folder).read_nights()]
    assert a_night(config, commands).models[0].reference == nights[0].name


def test_equal_artifacts_of_several_nights_are_one_file(tmp_path):
    config, _, nights = nights_of(tmp_path, 2, keep=2)
    runs = [config.folder / night.models[0].run / "artifacts" for night in nights]
    names = sorted(path.name for path in runs[0].iterdir())
    assert names == sorted(path.name for path in runs[1].iterdir())
    assert all((runs[0] / name).samefile(runs[1] / name) for name in names)


def test_a_file_of_the_same_name_with_other_content_stays_its_own(tmp_path):
    config, _, nights = nights_of(tmp_path, 2, keep=2)
    first, second = (config.folder / night.models[0].run / "artifacts" for night in nights)
    changed = next(first.iterdir())
    changed.unlink()
    changed.write_text("damaged")
    collect(Places(folder=config.folder), keep=2)
    assert (second / changed.name).read_text() != "damaged"


def test_a_dry_run_removes_nothing(tmp_path):
    config, _, nights = nights_of(tmp_path, 3, keep=5)
    would = collect(Places(folder=config.folder), keep=2, dry_run=True)
    assert would.nights == (nights[0].name,)
    assert len(Places(folder=config.folder).read_nights()) == 3
