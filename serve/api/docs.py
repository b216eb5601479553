"""/docs: the OpenAPI document as a page to read and to try, with nothing loaded from another server."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = ("fastapi_swagger", "resources")
"""The package that brings Swagger UI's files, and their folder in it."""
FASTAPI_ERROR = "HTTPValidationError"


def install_docs(app: FastAPI) -> None:
    """Addresses are relative, so that the page works behind a proxy's prefix as well."""
    _say_the_truth_of_422(app)
    app.mount("/docs/assets", StaticFiles(packages=[ASSETS]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title} API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
        )


def _say_the_truth_of_422(app: FastAPI) -> None:
    """FastAPI adds its own body of a 422 wherever there is a parameter; here that is a 400 in OpenAI's shape."""
    make = app.openapi

    def document() -> dict[str, Any]:
        made = make()  # the same one each time
        for operations in made["paths"].values():
            for operation in operations.values():
                body = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
                if body.get("schema") == {"$ref": f"#/components/schemas/{FASTAPI_ERROR}"}:
                    del operation["responses"]["422"]
        for name in (FASTAPI_ERROR, "ValidationError"):
            made["components"]["schemas"].pop(name, None)
        return made

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to change the document
