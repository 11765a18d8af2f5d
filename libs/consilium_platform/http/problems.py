"""The one table from errors to RFC 9457 ``application/problem+json``."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from consilium_core.errors import (
    Conflict,
    ConsiliumError,
    Corrupt,
    Denied,
    Exhausted,
    Gone,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger()
STATUS: dict[type[ConsiliumError], int] = {
    Unauthenticated: 401,
    Denied: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    Invalid: 400,
    Exhausted: 429,
    Unavailable: 503,
    Corrupt: 500,
}


def status_of(error: ConsiliumError) -> int:
    """Return the HTTP status: the class attribute ``http_status`` if it has one, else that of its branch."""
    own = getattr(error, "http_status", None)
    if isinstance(own, int):
        return own
    return next((status for branch, status in STATUS.items() if isinstance(error, branch)), 500)


def problem_body(
    status: int, code: str, detail: str, mend: str, reference: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return the members of a problem document; facts never override the standard members."""
    standard = {
        "type": f"urn:consilium:problem:{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "mend": mend,
        "instance": f"urn:consilium:request:{reference}",
    }
    return {
        **{k: v for k, v in facts.items() if isinstance(v, str | int | float | bool | list | dict)},
        **standard,
    }


def problem_response(
    status: int, code: str, detail: str, *, mend: str, reference: str, facts: dict[str, Any] | None = None
) -> JSONResponse:
    """Return a problem document with the headers its status asks for."""
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    facts = facts or {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="consilium"'
    if "retry_after_s" in facts:
        headers["Retry-After"] = str(max(1, round(float(facts["retry_after_s"]))))
    body = problem_body(status, code, detail, mend, reference, facts)
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def reference_of(request: Request) -> str:
    """Return the request's reference id, as the middleware set it."""
    return str(request.scope.get("consilium.reference", ""))


def answer_of(request: Request, error: ConsiliumError) -> JSONResponse:
    """Return the problem document of one of our errors."""
    status = status_of(error)
    if status >= 500:
        log.warning("request_failed", code=error.code, reference=reference_of(request))
    return problem_response(
        status, error.code, error.detail, mend=error.mend, reference=reference_of(request), facts=error.facts
    )


def install_problems(app: FastAPI) -> None:
    """Teach the app to answer every error as a problem document."""

    @app.exception_handler(ConsiliumError)
    async def ours(request: Request, error: ConsiliumError) -> JSONResponse:
        return answer_of(request, error)

    @app.exception_handler(TimeoutError)
    async def late(request: Request, error: TimeoutError) -> JSONResponse:
        return answer_of(request, Unavailable("Something behind this service did not answer in time. Try again."))

    @app.exception_handler(RequestValidationError)
    async def unprocessable(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = [{"at": ".".join(map(str, e["loc"])), "message": str(e["msg"])} for e in error.errors()]
        words = "; ".join(f"{f['at']}: {f['message']}" for f in fields[:5])
        return problem_response(
            422,
            "request-invalid",
            f"The request does not fit: {words}.",
            mend="caller",
            reference=reference_of(request),
            facts={"fields": fields},
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = {
            404: "not-found",
            405: "method-not-allowed",
            413: "too-large",
            415: "unsupported-media-type",
        }.get(error.status_code, "refused")
        response = problem_response(
            error.status_code, code, str(error.detail), mend="caller", reference=reference_of(request)
        )
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("request_crashed", error=type(error).__name__, reference=reference_of(request), exc_info=error)
        return problem_response(
            500,
            "internal-error",
            "Something broke on our side. Quote the reference to the operator.",
            mend="vendor",
            reference=reference_of(request),
        )
