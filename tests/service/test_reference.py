"""docs/rest.md is what OpenAPI says."""

from pathlib import Path

from autocompress.service.web.reference import rest_markdown


def test_the_reference_is_made_of_openapi():
    written = Path(__file__).resolve().parents[2] / "docs" / "rest.md"
    assert written.read_text() == rest_markdown(), (
        "python -m autocompress.service.web.reference > docs/rest.md"
    )
