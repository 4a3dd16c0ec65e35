"""Models that are asked over HTTP: an OpenAI-compatible API, and a page for people.

    app = make_app([ServedModel(id="run", engine=engine, vocabulary=vocabulary, ...)], ServeConfig(port=8000))
    Server(app, config).run()

`openai.py` answers clients, `page_api.py` the page in `page/`, `admission.py` connects both with the engine, `guards.py` stands
before everything. `tools.py` reads what a model may call, `patterns.py` what a text shall be, and `replies.py` what a text says. The
room is handed its engine, its vocabulary and its rows; `interfaces.py` says what they must be.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.serve.app import make_app as make_app
    from whelp.serve.config import ServeConfig as ServeConfig
    from whelp.serve.interfaces import ServedModel as ServedModel
    from whelp.serve.interfaces import ServedStore as ServedStore
    from whelp.serve.server import Server as Server

_HOMES = {
    "ServeConfig": "config",
    "ServedModel": "interfaces",
    "ServedStore": "interfaces",
    "Server": "server",
    "make_app": "app",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
