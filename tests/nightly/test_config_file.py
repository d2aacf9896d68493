"""nightly.toml: what it may say, and one sentence for what it may not."""

from datetime import time
from pathlib import Path

import pytest
from autocompress.errors import InputError
from autocompress.nightly.config_file import read_config, require_tasks
from autocompress.nightly.steps.search_step import search_words

MODEL = '[model.digits]\ntask = "digits"\nbudget = "3m"\n'


def read(folder: Path, text: str):
    file = folder / "nightly.toml"
    file.write_text(text)
    return read_config(file)


def test_three_lines_are_a_configuration(tmp_path):
    config = read(tmp_path, MODEL)
    (model,) = config.models
    assert (model.name, model.task, model.target, model.budget) == ("digits", "digits", "cpu", "3m")
    assert [str(policy) for policy in model.policies] == ["fastest within 1pp"]
    assert config.folder == tmp_path.resolve() / "nightly"
    assert (config.keep, config.until, config.notify) == (14, None, None)


def test_everything_that_can_be_said_is_read(tmp_path):
    config = read(
        tmp_path,
        f"""folder = "out"\nuntil = "07:00"\nkeep = 5\nretry = 2\nretry_wait = "5m"\norder = "priority"
[tolerance]\nlatency = "3%"\ndrop = "0.2pp"\nhypervolume = "7%"\n[canary]\nonnxruntime = "latest"
[notify]\naddresses = "env:TOLD"\nwhen = "changed"\n{MODEL}max_drop = "1pp"\nmax_latency = "2ms"
policies = ["smallest within 0.5pp"]\nmargin = "5%"\ntask_arg = {{ data = "env:DATA" }}
[model.second]\ntask = "x.py:make"\ntrials = 3\npriority = 1\n""",
    )
    assert config.until == time(7)
    assert [model.name for model in config.in_order] == ["second", "digits"]
    assert (config.tolerance.latency, config.tolerance.hypervolume) == (0.03, 0.07)
    assert str(config.tolerance.drop) == "0.2pp"
    assert (config.notify.addresses, config.canary) == ("TOLD", {"onnxruntime": "latest"})
    digits = config.models[0]
    assert (digits.margin, digits.max_latency, digits.arguments) == (0.05, ("2ms",), {"data": "env:DATA"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keeep = 3\n" + MODEL, "unknown key 'keeep': did you mean 'keep'?"),
        (MODEL + 'max_dorp = "1pp"', "unknown key 'model.digits.max_dorp': did you mean 'max_drop'?"),
        ("keep = 1\n" + MODEL, "keep must be at least 2"),
        ("keep = true\n" + MODEL, "keep is true, but must be a whole number"),
        ('until = "7 o\'clock"\n' + MODEL, "must be a time of day"),
        ("", "it names no model"),
        ("[model.x]\nbudget = '1m'", "model.x.task is missing"),
        ("[model.x]\ntask = 'digits'", "budget or trials must say when the search ends"),
        ("[model.'../x']\ntask = 'digits'", "cannot be called so"),
        (MODEL + "deterministic = true", "deterministic needs trials and no budget"),
        (MODEL + 'max_drop = "1"', "model.digits: The drop '1' has no unit"),
        (MODEL + 'policies = ["best"]', "The policy 'best' is none"),
        (MODEL + 'policies = ["fastest within 1pp", "fastest within 1pp"]', "is there twice"),
        (MODEL + "policies = []", "policies must name at least one"),
        (MODEL + 'margin = "2"', 'must be a percentage such as "2%"'),
        (MODEL + 'task_arg = { token = "hf_0123456789abcdefghij" }', "this file is no place for one"),
        (MODEL + '[canary]\nonnxruntime = "-r x.txt"', 'must be "latest" or a version'),
        (MODEL + '[notify]\naddresses = "mailto://a:b@c.d"', "must not be here in the clear"),
        (MODEL + '[tolerance]\ndrop = "0.3abs"', "write 0.3% or 0.3pp"),
        (MODEL + "[tolerance]\nlatency = 3", "tolerance.latency is 3, but must be a text"),
        ("[[model]]\nx = 1", "model is a list, but must be an object"),
        ("model", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_place(tmp_path, text, words):
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert words in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / "nightly.toml"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_config(tmp_path / "nightly.toml")


def test_tasks_are_looked_for_beside_the_file(tmp_path):
    config = read(tmp_path, '[model.x]\ntask = "mine.py:make"\nbudget = "1m"')
    with pytest.raises(InputError, match=r"mine\.py"):
        require_tasks(config)
    (tmp_path / "mine.py").write_text("def make():\n    return None\n")
    require_tasks(config)


def test_a_deterministic_search_is_asked_for_as_such(tmp_path):
    config = read(tmp_path, '[model.x]\ntask = "digits"\ntrials = 3\ndeterministic = true')
    words = search_words(config.models[0], tmp_path / "run", None)
    assert "--deterministic" in words and "--budget" not in words


def test_where_a_model_is_searched_is_said_to_the_search(tmp_path):
    text = '[model.x]\ntask = "digits"\ntrials = 3\ndevice = "cuda:1"\nmemory = "8GB"\nray = "auto"'
    words = search_words(read(tmp_path, text).models[0], tmp_path / "run", None)
    said = [words[words.index(name) + 1] for name in ("--device", "--memory", "--ray")]
    assert said == ["cuda:1", "8GB", "auto"]
    plain = search_words(read(tmp_path, '[model.x]\ntask = "digits"\ntrials = 3').models[0], tmp_path, None)
    assert not {"--device", "--memory", "--ray"} & set(plain)


@pytest.mark.parametrize("line", ['device = "gpu"', 'memory = "much"', 'ray = "ray://10.0.0.5:1"'])
def test_what_the_search_would_refuse_is_refused_when_the_file_is_read(tmp_path, line):
    with pytest.raises(InputError, match=line.split('"')[1]):
        read(tmp_path, f'[model.x]\ntask = "digits"\ntrials = 3\n{line}')


def test_a_search_on_a_part_of_validation_is_asked_for_as_such(tmp_path):
    config = read(tmp_path, '[model.x]\ntask = "digits"\nbudget = "1m"\nvalidation_samples = 500')
    words = search_words(config.models[0], tmp_path / "run", None)
    assert words[words.index("--validation-samples") + 1] == "500"
