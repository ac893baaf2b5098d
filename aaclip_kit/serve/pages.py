"""The two pages of the service, each one file that asks nothing of another host."""

from functools import cache
from typing import Any, Final

from ..report.figures import page_template

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""What a browser is told of the pages: whatever they load is theirs."""


@cache
def drop_page() -> str:
    """Return the page to drop photographs on."""
    return page_template(__package__, "drop.html").render(title="Is there a defect?")


def described(openapi: dict[str, Any]) -> str:
    """Return what OpenAPI says of the service as a page for people."""
    calls = [
        {"method": method.upper(), "path": path, **call, "bodies": _bodies(call)}
        for path, calls in openapi["paths"].items()
        for method, call in calls.items()
    ]
    return page_template(__package__, "docs.html").render(
        title=openapi["info"]["title"], info=openapi["info"], calls=calls
    )


def _bodies(call: dict[str, Any]) -> list[dict[str, Any]]:
    content = call.get("requestBody", {}).get("content", {})
    return [{"kind": kind, "schema": one["schema"]} for kind, one in content.items()]
