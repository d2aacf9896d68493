"""Every example of docs/api.md runs, in its order, in one folder."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_examples_of_the_page_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) == 5
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert "<Run runs/digits on cpu: 3 points" in printed and "trial 2" in printed
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    assert (tmp_path / "runs" / "digits" / "report.html").is_file()
    assert (tmp_path / "runs" / "small" / "front.json").is_file()
