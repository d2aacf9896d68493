"""The app: routes, pages, protection."""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from .problems import add_handlers
from .protection import Protection, names_of
from .routes.nights import router as nights
from .routes.operations import router as operations
from .routes.results import router as results
from .routes.searches import router as searches
from .routes.streams import router as streams
from .routes.weights import router as weights
from .routes.work import router as work
from .state import Service

_ABOUT = (
    "Searches by REST. Every request but /healthz and /readyz needs `Authorization: Bearer TOKEN`. "
    "Errors are problem details (RFC 9457) with one sentence and its remedy."
)


def make_api(service: Service | None = None) -> FastAPI:
    """The routes. Without a service they can be described (OpenAPI), and nothing else."""
    app = FastAPI(
        title="autocompress",
        version=version("autocompress"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        generate_unique_id_function=_name_of,
    )
    app.state.service = service
    for router in (searches, weights, streams, results, nights, work, operations):
        app.include_router(router)
    add_handlers(app)
    return app


def make_app(service: Service, *, host: str = "127.0.0.1") -> ASGIApp:
    """The whole app behind its protection; `host` is what it is bound to."""
    from .pages.routes import add_pages

    app, config = make_api(service), service.tasks.config
    add_pages(app)
    protected = Protection(
        app=app,
        rates=service.rates,
        work_rates=service.work_rates,
        hosts=names_of(host, config.hosts),
        body_bytes=config.limits.body_bytes,
    )
    return protected if service.traces is None else service.traces.around(protected)


def _name_of(route: APIRoute) -> str:
    return route.name
