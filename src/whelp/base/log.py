"""One logger for what people should know besides results: `log.info`, `log.warning`."""

import logging
from collections.abc import Callable

log = logging.getLogger("whelp")
log.addHandler(logging.NullHandler())


def forward_log(tell: Callable[[int, str], None]) -> None:
    """Hand what is logged, with its level, to somebody who speaks for this process."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.levelno, record.getMessage())

    log.addHandler(Handler())
    log.setLevel(logging.INFO)
