"""The page of one's uploads."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ..callers import InService, Origin, Reader, Submitter
from ..routes.weights import REMOVED, Digest
from .resources import page

router = APIRouter(include_in_schema=False)


@router.get("/uploads")
def uploads(service: InService, caller: Reader) -> HTMLResponse:
    """What the caller uploaded, and how much room is left."""
    files = service.uploads.of(caller.user_id)
    html = page(
        "uploads.html",
        caller,
        title="Uploads",
        files=files,
        taken=sum(one.size_bytes for one in files),
        most=service.uploads.most_bytes,
    )
    return HTMLResponse(html)


@router.post("/uploads/{digest}/remove")
def remove(digest: Digest, service: InService, caller: Submitter, origin: Origin) -> Response:
    """Removes one."""
    if not service.uploads.remove(caller.user_id, digest):
        raise HTTPException(404, "There is no such upload.")
    service.access.note(caller, REMOVED, digest, origin=origin)
    return RedirectResponse("/uploads", status_code=303)
