"""REST: uploads of models and weights."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from ...uploads import DIGEST, PREFIX
from ..callers import InService, Origin, Reader, Submitter
from ..more_schemas import UploadOut
from ..problems import PROBLEMS

router = APIRouter(prefix="/v1/weights", tags=["weights"], responses=PROBLEMS)
UPLOADED, REMOVED = "upload weights", "remove weights"  # in the audit log
_FILE = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
Digest = Annotated[str, Path(pattern=f"^{DIGEST}$", description="The file's SHA-256.")]


@router.get("")
def uploads(service: InService, caller: Reader) -> list[UploadOut]:
    """One's own uploads, the newest first. `name` is what an argument of a task says."""
    return [UploadOut.of(one, f"{PREFIX}{one.digest}") for one in service.uploads.of(caller.user_id)]


@router.put("/{digest}", status_code=204, openapi_extra={"requestBody": _FILE})
async def upload(
    *,
    digest: Digest,
    service: InService,
    caller: Submitter,
    origin: Origin,
    request: Request,
) -> Response:
    """Takes a file of safetensors or ONNX, the body of the request; which one, its content says."""
    uploads, length = service.uploads, request.headers.get("content-length", "")
    if await run_in_threadpool(uploads.path, caller.user_id, digest) is not None:
        return Response(status_code=204)
    announced = int(length) if length.isdecimal() else 0
    uploads.require_size(announced)
    await run_in_threadpool(uploads.require_room, caller.user_id, announced)
    with uploads.receiving(caller.user_id) as arriving:
        async for chunk in request.stream():
            await run_in_threadpool(arriving.write, chunk)
        if arriving.digest != digest:
            raise HTTPException(422, "The file arrived with another SHA-256: send it again.")
        await run_in_threadpool(arriving.keep)
    await run_in_threadpool(service.access.note, caller, UPLOADED, digest, origin=origin)
    return Response(status_code=204)


@router.delete("/{digest}", status_code=204)
def remove(digest: Digest, service: InService, caller: Submitter, origin: Origin) -> None:
    """Removes an upload. Searches that name it fail at their next start."""
    if not service.uploads.remove(caller.user_id, digest):
        raise HTTPException(404, "There is no such upload.")
    service.access.note(caller, REMOVED, digest, origin=origin)
