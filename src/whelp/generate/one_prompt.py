"""One prompt, no thread: whole texts, or pieces as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from whelp.generate.batch import Batch
from whelp.generate.config import GenerateConfig
from whelp.generate.generation import Completion, Generation, TextPiece
from whelp.generate.interfaces import GeneratingModel, Prompt
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
) -> Iterator[TextPiece]:
    """Continue a prompt; a piece for each token. Nothing is computed before it is asked for; wrong settings fail at once."""
    batch, (generation,) = _start(model, vocabulary, prompt, settings, 1, end_ids)
    return _iter_pieces(batch, generation)


def _iter_pieces(batch: Batch, generation: Generation) -> Iterator[TextPiece]:
    while generation.finish_reason is None:
        batch.step()
        yield from generation.iter_ready()


def _start(
    model: GeneratingModel,
    vocabulary: VocabularyLike,
    prompt: Prompt,
    settings: GenerateConfig,
    n: int,
    end_ids: Iterable[int],
) -> tuple[Batch, list[Generation]]:
    ids = vocabulary.encode(prompt) if isinstance(prompt, str) else prompt
    needed = max(len(ids), 1) + settings.max_tokens  # no more room than that
    batch = Batch(model, vocabulary, max_rows=n, max_context_tokens=needed, end_ids=end_ids)
    return batch, batch.submit(ids, settings, n=n)
