"""A model and prompts in; streams of text out, many at a time.

    with Engine(model, vocabulary) as engine:
        for piece in engine.submit("def say_hello():", GenerateConfig(max_tokens=50, seed=1))[0]:
            print(piece.text, end="")

    complete(model, vocabulary, "def say_hello():", GenerateConfig(seed=1))[0].text     # one prompt, no thread

`sampling.py` chooses the next token, `batch.py` is the loop over steps, `row.py` one continuation in it, `engine.py` the thread around
it, `one_prompt.py` the way without one, `text_stream.py` turns ids into text as they come, `chat.py` turns a conversation into a prompt,
`call_form.py` finds out how its template writes calls of functions, `prefix_cache.py` remembers what was read already.
`pattern.py` says which tokens go on with a pattern, written down for its library by `pattern_grammar.py` and `pattern_regex.py`;
`pattern_ways.py` looks for whole texts that a vocabulary (`pattern_vocabulary.py`) can write.
Steps are saved by `speculation.py` (which guesses are worth checking), `prompt_lookup.py` (guesses from the text's own past) and, on a GPU,
`run_ahead.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.generate.config import GenerateConfig as GenerateConfig
    from whelp.generate.engine import Engine as Engine
    from whelp.generate.generation import Completion as Completion
    from whelp.generate.generation import Generation as Generation
    from whelp.generate.generation import TextPiece as TextPiece
    from whelp.generate.generation import TokenLogprob as TokenLogprob
    from whelp.generate.one_prompt import complete as complete
    from whelp.generate.one_prompt import stream_text as stream_text
    from whelp.generate.prefix_cache import PrefixCache as PrefixCache

_HOMES = {
    "GenerateConfig": "config",
    "Engine": "engine",
    "Completion": "generation",
    "Generation": "generation",
    "TextPiece": "generation",
    "TokenLogprob": "generation",
    "complete": "one_prompt",
    "stream_text": "one_prompt",
    "PrefixCache": "prefix_cache",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
