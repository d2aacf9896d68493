"""The pages."""

from fastapi import FastAPI


def add_pages(app: FastAPI) -> None:
    """Adds the pages."""
    del app
