"""serve.toml: what the administrator says of searches is read strictly."""

import pytest
from autocompress.errors import InputError
from autocompress.service.config import read_serve_config


def read(folder, text):
    (folder / "serve.toml").write_text(text)
    return read_serve_config(folder / "serve.toml")


def test_where_searches_compute_is_said_to_each(tmp_path):
    config = read(tmp_path, '[search]\ndevice = "cuda:1"\nmemory = "8GB"\nray = "auto"')
    assert config.search.words == ["--device", "cuda:1", "--memory", "8GB", "--ray", "auto"]
    assert read(tmp_path, "").search.words == []


@pytest.mark.parametrize(
    "line", ['device = "gpu"', 'memory = "much"', 'ray = "ray://10.0.0.5:1"', "gpus = 1"]
)
def test_what_a_search_would_refuse_is_refused_at_the_start(tmp_path, line):
    with pytest.raises(InputError, match=r"serve\.toml"):
        read(tmp_path, f"[search]\n{line}")
