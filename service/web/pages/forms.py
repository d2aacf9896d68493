"""Forms with files: read part by part as they come, each file written to its place at once.

The form proves where it comes from (its first field is the CSRF token) before anything of a file is kept.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from ....errors import AutocompressError
from ...access.caller import Caller
from ...uploads import Arriving, Uploads
from ..callers import require_own_form

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_TEXT, _MOST_PARTS = 256 << 10, 500
_DRAINED = 64 << 20  # of a body that is refused: a browser shows the answer when it has sent all


@dataclass(frozen=True, slots=True, kw_only=True)
class SentForm:
    """The texts and the files of a form by the names of their fields. A field for a file that is empty is
    left out.
    """

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Arriving] = field(default_factory=dict)


async def read_form(request: Request, caller: Caller, uploads: Uploads, held: ExitStack) -> SentForm:
    """The form of a request, be it with files or without. Files that arrived are removed when `held` ends,
    unless they are kept. 403 for a form that is not from a page of ours; InputError and TooManyError for a
    file that is too large; 422 for what is no form.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        texts = {name: str(value) for name, value in (await request.form()).items()}
        require_own_form(request, caller, texts.get("csrf"))
        return SentForm(texts=texts)
    parts, body = _Parts(request, caller, uploads, held), request.stream()
    try:
        parser = MultipartParser(options.get(b"boundary", b""), parts.callbacks)
        async for chunk in body:
            await run_in_threadpool(parser.write, chunk)
        if not parts.whole:
            raise HTTPException(422, "The form did not arrive as a whole: send it again.")
    except FormParserError as error:
        raise HTTPException(422, f"The request is no form with files ({error}).") from error
    except (AutocompressError, HTTPException):
        await _drain(body)
        raise
    require_own_form(request, caller, parts.form.texts.get("csrf"))
    return parts.form


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Reads on for a while."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > _DRAINED:
            return


class _Parts:
    """What the parser of a form calls, in a thread of its own."""

    def __init__(self, request: Request, caller: Caller, uploads: Uploads, held: ExitStack):
        self.form, self.whole = SentForm(), False
        self._request, self._caller, self._uploads, self._held = request, caller, uploads, held
        self._header, self._value, self._about = b"", b"", b""
        self._name, self._text, self._size, self._count = "", bytearray(), 0, 0
        self._file: Arriving | None = None
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise HTTPException(422, f"A form has at most {_MOST_PARTS} fields.")
        self._about, self._name, self._file, self._text = b"", "", None, bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._about = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._about)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if options.get(b"filename"):
            require_own_form(self._request, self._caller, self.form.texts.get("csrf"))
            self._file = self._held.enter_context(self._uploads.receiving(self._caller.user_id))
            self.form.files[self._name] = self._file

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._size += end - start
        if self._size > _MOST_TEXT:
            raise HTTPException(413, f"The texts of a form have at most {_MOST_TEXT >> 10} KB.")
        self._text += data[start:end]

    def _end(self) -> None:
        if self._file is None:
            self.form.texts[self._name] = self._text.decode(errors="replace")

    def _all(self) -> None:
        self.whole = True
