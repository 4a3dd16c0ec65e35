"""A model and prompt ids in; a stream of token ids, or of text, out.

    settings = GenerateConfig(max_tokens=50, temperature=0.8, top_p=0.95, seed=1)
    for piece in stream_text(model, vocabulary, "def say_hello():", settings):
        print(piece.text, end="")

`sampling.py` chooses the next token, `generate.py` is the loop over tokens, `text.py` the one over text.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.generate.config import GenerateConfig as GenerateConfig
    from whelp.generate.generate import Token as Token
    from whelp.generate.generate import generate_tokens as generate_tokens
    from whelp.generate.text import Completion as Completion
    from whelp.generate.text import TextPiece as TextPiece
    from whelp.generate.text import complete as complete
    from whelp.generate.text import stream_text as stream_text

_HOMES = {
    "GenerateConfig": "config",
    "Token": "generate",
    "generate_tokens": "generate",
    "Completion": "text",
    "TextPiece": "text",
    "complete": "text",
    "stream_text": "text",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
