"""One prompt, no thread: whole texts, or pieces as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from whelp.generate.batch import Batch
from whelp.generate.config import GenerateConfig
from whelp.generate.generation import Completion, Generation, TextPiece
from whelp.generate.interfaces import GeneratingModel, Prompt
from whelp.generate.prefix_cache import PrefixCache
from whelp.generate.prompt import encode_prompt
from whelp.generate.text_stream import VocabularyLike


def complete(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: Prompt,
    settings: GenerateConfig,
    *,
    n: int = 1,
    end_ids: Iterable[int] = (),
) -> list[Completion]:
    """Continue a prompt `n` times; whole texts. For many prompts at a time: `Engine`.

    Args:
        end_ids: Ids that end a text, besides the vocabulary's end-of-text.
    """
    batch, generations = _start(model, vocabulary, prompt, settings, n, end_ids)
    while batch.step():
        pass
    return [Completion.collect(generation) for generation in generations]


def stream_text(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: Prompt,
    settings: GenerateConfig,
    *,
    end_ids: Iterable[int] = (),
    prefixes: PrefixCache | None = None,
) -> Iterator[TextPiece]:
    """Continue a prompt; a piece for each token. Nothing is computed before it is asked for; wrong settings fail at once.

    Args:
        prefixes: What is remembered of earlier texts of this model: their beginnings are not read again, and this text is kept there.
    """
    batch, (generation,) = _start(model, vocabulary, prompt, settings, 1, end_ids, prefixes)
    return _iter_pieces(batch, generation)


def _iter_pieces(batch: Batch, generation: Generation) -> Iterator[TextPiece]:
    try:
        while generation.finish_reason is None:
            batch.step()
            yield from generation.iter_ready()
    except GeneratorExit:  # nobody wants the rest, but what was read may be wanted again
        generation.cancel()
        batch.admit()
        raise


def _start(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: Prompt,
    settings: GenerateConfig,
    n: int,
    end_ids: Iterable[int],
    prefixes: PrefixCache | None = None,
) -> tuple[Batch, list[Generation]]:
    ids = encode_prompt(prompt, vocabulary)
    needed = max(len(ids), 1) + settings.max_tokens  # no more room than that
    batch = Batch(model, vocabulary, max_rows=n, max_context_tokens=needed, end_ids=end_ids, prefixes=prefixes)
    return batch, batch.submit(ids, settings, n=n)
