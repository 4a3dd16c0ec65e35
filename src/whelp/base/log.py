"""One logger for what people should know besides results: `log.info`, `log.warning`."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("whelp")  # without a handler of its own: a script that sets up none gets warnings on standard error


def forward_log(tell: Callable[[int, str], None]) -> None:
    """Hand what is logged, with its level, to somebody who speaks for this process."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.levelno, record.getMessage())

    log.addHandler(Handler())
    log.setLevel(logging.INFO)


@contextmanager
def say_if_long(message: str, *, after_seconds: float = 5.0) -> Iterator[None]:
    """Say, once, what the work inside is doing, if it takes longer than that."""
    timer = threading.Timer(after_seconds, log.info, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
