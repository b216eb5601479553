"""The one place where an exception becomes an HTTP error, in OpenAI's shape."""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from align import errors as align_errors
from align.state.database import AWAY
from serve import errors

log = structlog.get_logger()

STATUS: dict[type[Exception], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.UnknownAdapter: 404,
    errors.Erased: 410,
    errors.Unprocessable: 422,
    errors.EngineFull: 429,
    errors.RateLimited: 429,
    errors.EngineFailed: 500,
    errors.NotReady: 503,
    errors.DeadlineExceeded: 504,
    align_errors.InvalidSpans: 422,
    align_errors.NotFound: 404,
    align_errors.Conflict: 409,
    align_errors.NothingToLearn: 409,
}
CODES: dict[type[Exception], str] = {
    errors.UnknownAdapter: "model_not_found",
    errors.RateLimited: "rate_limit_exceeded",
}
DATABASE_AWAY = "the server's database cannot be used just now: ask again in a moment"
PLACES = ("body", "header", "path", "query")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    410: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    kind = TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def status_of(error: Exception) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_response(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> JSONResponse:
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    if status == 409:
        headers["x-should-retry"] = "false"  # OpenAI's clients repeat a 409 by default; here it stays one
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(status, message, param, code), status, headers)


def response_to(error: Exception) -> JSONResponse:
    """To an error of `serve` or `align`."""
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    response = error_response(status_of(error), str(error), code=code)
    if isinstance(error, errors.RateLimited):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return response


def response_while_away(path: str, error: Exception) -> JSONResponse:
    """To one of `AWAY`."""
    log.error("the database is away", path=path, exc_info=error)
    return error_response(503, DATABASE_AWAY)


def install_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(errors.ServeError)
    @app.exception_handler(align_errors.AlignError)
    async def known(request: Request, error: Exception) -> JSONResponse:
        response = response_to(error)
        if response.status_code >= 500:
            log.error("request failed", path=request.url.path, error=str(error))
        return response

    async def away(request: Request, error: Exception) -> JSONResponse:
        return response_while_away(request.url.path, error)

    for kind in AWAY:
        app.add_exception_handler(kind, away)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(400, f"the body is not valid JSON: {first['ctx']['error']}")
        where = ".".join(str(part) for part in first["loc"] if part not in PLACES)
        message = (
            f"{where} is not supported here; leave it out"
            if first["type"] == "extra_forbidden"
            else f"{where or 'body'}: {first['msg']}"
        )
        return error_response(400, message, param=where or None)

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        response = error_response(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        # Starlette calls this outside of all middleware, so the request's id comes from the request itself
        request_id = request.state.request_id
        log.exception("unexpected error", request=request_id, path=request.url.path, exc_info=error)
        response = error_response(500, "internal error; the server's log says more")
        response.headers["x-request-id"] = request_id
        return response
