"""One logger for what people should know besides results: `log.info`, `log.warning`."""

import logging

log = logging.getLogger("whelp")
log.addHandler(logging.NullHandler())
