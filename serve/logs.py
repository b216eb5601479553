"""One JSON object a line on standard output: structured, and without a prompt in it.

Tracebacks are plain: those with local variables would show what people said.
"""

from __future__ import annotations

import structlog

PROCESSORS = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
)


def configure_logs() -> None:
    structlog.configure(processors=[*PROCESSORS])  # which it changes in place, where tests capture logs
