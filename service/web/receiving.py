"""Bodies that are files: written as they arrive."""

import hashlib
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool


async def received(request: Request, path: Path, *, most: int, otherwise: Exception) -> str:
    """Writes a body of at most so many bytes to a file; its SHA-256. Raises `otherwise` for a larger one."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise otherwise
            digest.update(chunk)
            await run_in_threadpool(file.write, chunk)
    return digest.hexdigest()
