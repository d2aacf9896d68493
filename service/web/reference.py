"""docs/rest.md, made of OpenAPI.

python -m autocompress.service.web.reference > docs/rest.md
"""

from collections.abc import Iterator
from typing import Any

from .app import make_api

_HEAD = """# REST

Made of the OpenAPI document that the service has at `/v1/openapi.json` (`python -m
autocompress.service.web.reference`). [service.md](service.md) has the way from a laptop to a team.

Every request but `/healthz` and `/readyz` needs `Authorization: Bearer TOKEN`. Errors are problem details
(RFC 9457, `application/problem+json`) whose `detail` is one sentence with its remedy: 401 no token that
holds, 403 its scope is too small, 404 there is none that you may see, 409 the state does not allow it, 413
the body is too large, 422 the order is wrong, 429 too many (see `Retry-After`), 503 the service cannot do
it now.
"""


def rest_markdown() -> str:
    """The document."""
    schema = make_api().openapi()
    lines = [_HEAD]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            lines += _operation(path, method, operation)
    lines += ["## Records", ""]
    for name, record in sorted(schema["components"]["schemas"].items()):
        if "Validation" not in name:
            lines += _record(name, record)
    return "\n".join(lines).rstrip() + "\n"


def _operation(path: str, method: str, operation: Any) -> Iterator[str]:
    yield f"## {method.upper()} {path}"
    yield ""
    yield " ".join(operation["description"].split())
    yield ""
    for given in operation.get("parameters", []):
        needed = ", required" if given.get("required") and given["in"] != "path" else ""
        yield f"- {given['in']} `{given['name']}`: {_type(given['schema'])}{needed}"
    if body := operation.get("requestBody"):
        content = next(iter(body["content"].values()))
        yield f"- body: {_type(content['schema'])}"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            kinds = [_type(one.get("schema", {})) for one in answer.get("content", {}).values()]
            yield f"- answers {status}{': ' + kinds[0] if kinds and kinds[0] else ''}"
    yield ""


def _record(name: str, record: Any) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if "description" in record:
        yield " ".join(record["description"].split())
        yield ""
    needed = record.get("required", [])
    for key, value in record.get("properties", {}).items():
        about = f": {value['description']}" if "description" in value else ""
        yield f"- `{key}` {_type(value)}{', required' if key in needed else ''}{about}"
    yield ""


def _type(schema: Any) -> str:
    """The type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
    if schema.get("type") == "object":
        return "object"
    return str(schema.get("type", ""))


if __name__ == "__main__":
    print(rest_markdown(), end="")
