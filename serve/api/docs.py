"""/docs: the OpenAPI document as a page to read and to try, with nothing loaded from another server."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = ("fastapi_swagger", "resources")
"""The package that brings Swagger UI's files, and their folder in it."""


def install_docs(app: FastAPI) -> None:
    """Addresses are relative, so that the page works behind a proxy's prefix as well."""
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
