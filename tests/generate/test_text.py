"""Text as it comes: stop texts across token borders, whole characters only."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whelp.base.errors import PlanError
from whelp.generate import GenerateConfig, TextPiece, complete, stream_text
from whelp.tokenizer.streaming import ByteStreamDecoder


class _Vocabulary:
    """Tokens are given pieces of bytes; the last id is end-of-text. Prompts are bytes of their own, ids 0 .. 255."""

    def __init__(self, pieces: list[bytes], *, has_eos: bool = True) -> None:
        self.pieces = [bytes([byte]) for byte in range(256)] + pieces + [b"<end>"]
        self.size = len(self.pieces)
        self.eos_id = self.size - 1 if has_eos else None

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def stream(self) -> ByteStreamDecoder:
        return ByteStreamDecoder(lambda token_id: self.pieces[token_id])


class _Cache:
    """Counts tokens, and remembers which script each row follows."""

    def __init__(self, rows: torch.Tensor, num_tokens: int) -> None:
        self.rows, self.num_tokens, self.capacity = rows, num_tokens, 10**6

    def expand(self, num_rows: int) -> "_Cache":
        return _Cache(torch.arange(num_rows), self.num_tokens)

    def keep_rows(self, rows: torch.Tensor) -> None:
        self.rows = self.rows[rows]


class _Script:
    """A model that says what it is told: one list of ids for each sample, end-of-text after it."""

    context_tokens = 10**6

    def __init__(self, vocabulary: _Vocabulary, *scripts: list[int]) -> None:
        self.vocabulary, self.scripts = vocabulary, scripts
        self.prompt: list[int] = []

    def eval(self) -> None:
        pass

    def make_cache(self, num_rows: int, capacity: int) -> _Cache:
        return _Cache(torch.arange(num_rows), 0)

    def last_logits(self, ids: torch.Tensor, cache: _Cache) -> torch.Tensor:
        if cache.num_tokens == 0:
            self.prompt = ids[0].tolist()
        cache.num_tokens += ids.shape[1]
        place = cache.num_tokens - len(self.prompt)
        logits = torch.full((len(cache.rows), self.vocabulary.size), -1e9)
        for row, sample in enumerate(cache.rows.tolist()):
            script = self.scripts[sample]
            logits[row, script[place] if place < len(script) else self.vocabulary.size - 1] = 0.0
        return logits


def _pieces(chunks: list[bytes], *, prompt: str = "x", has_eos: bool = True, **options) -> list[TextPiece]:
    """What is streamed when the model says these chunks, one token each."""
    vocabulary = _Vocabulary(chunks, has_eos=has_eos)
    model = _Script(vocabulary, [256 + index for index in range(len(chunks))])
    return list(stream_text(model, vocabulary, prompt, GenerateConfig(**{"temperature": 0.0} | options)))


def _text(pieces: list[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_tokens_become_text():
    """One piece for each token; the last has the reason: end-of-text is a stop, and is not shown."""
    assert _pieces([b"Hel", b"lo", b"!"]) == [
        TextPiece(0, "Hel"),
        TextPiece(0, "lo"),
        TextPiece(0, "!"),
        TextPiece(0, "", "stop"),
    ]
    assert _pieces([b"Hel", b"lo", b"!"], max_tokens=2) == [TextPiece(0, "Hel"), TextPiece(0, "lo", "length")]


def test_a_stop_text_across_tokens():
    """The beginning of a stop text is held back until it is one, or is none."""
    pieces = _pieces([b"one E", b"N", b"D", b"more"], stop=["END"])
    assert pieces == [TextPiece(0, "one "), TextPiece(0, ""), TextPiece(0, "", "stop")]
    pieces = _pieces([b"one E", b"N", b"d", b"more"], stop=["END"])
    assert [piece.text for piece in pieces] == ["one ", "", "ENd", "more", ""]


def test_what_is_held_back_is_shown_at_the_end():
    """Half a stop text at the very end was no stop text, however the sample ends."""
    assert _pieces([b"a", b"EN"], stop=["END"])[-1] == TextPiece(0, "EN", "stop")
    assert _pieces([b"a", b"EN"], stop=["END"], max_tokens=2)[-1] == TextPiece(0, "EN", "length")


def test_a_stop_text_in_the_last_token():
    """A stop text that comes with the last allowed token is a stop, not a lack of room."""
    assert _pieces([b"a", b"bENDc"], stop=["END"], max_tokens=2)[-1] == TextPiece(0, "b", "stop")


def test_the_first_of_several_stops():
    """Of several stop texts in one token the earliest counts; an empty one never does."""
    assert _text(_pieces([b"abcdef"], stop=["ef", "", "cd", "def"])) == "ab"


_STOPS = st.lists(st.text("abé", min_size=1, max_size=4), min_size=1, max_size=3)


def _cut(data: bytes, borders: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(border % (len(data) + 1) for border in borders)})
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


@settings(max_examples=150, deadline=None)
@given(text=st.text("abé日🐶 ", max_size=16), stops=_STOPS, borders=st.lists(st.integers(0, 100), max_size=12))
@example(text="aaab", stops=["aab"], borders=[1, 2, 3])
@example(text="ababab", stops=["abab", "ba"], borders=[1, 2, 3, 4, 5])
def test_no_stop_text_is_ever_shown(text, stops, borders):
    """Wherever tokens end: what is shown is the beginning of the text, holds no stop text, and is not half of the one that came."""
    chunks = _cut(text.encode(), borders)
    pieces = _pieces(chunks, stop=stops)
    shown = _text(pieces)
    found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert not any("\ufffd" in piece.text for piece in pieces)
    assert pieces[-1].reason == "stop"
    assert all(piece.reason is None for piece in pieces[:-1])
    if not found:
        assert shown == text
    elif len(stops) == 1:
        assert shown == text[: found[0]]
    else:
        assert len(shown) >= min(found)
        assert any(text[len(shown) :].startswith(stop) for stop in stops)


@settings(max_examples=50, deadline=None)
@given(
    text=st.text("ab", max_size=12), stops=_STOPS, borders=st.lists(st.integers(0, 100), max_size=8), limit=st.integers(1, 8)
)
def test_pieces_joined_are_the_whole(text, stops, borders, limit):
    """Streaming and waiting give the same text and the same reason, with one count for each token."""
    chunks = _cut(text.encode(), borders)
    pieces = _pieces(chunks, stop=stops, max_tokens=limit)
    vocabulary = _Vocabulary(chunks)
    model = _Script(vocabulary, [256 + index for index in range(len(chunks))])
    (whole,) = complete(model, vocabulary, "x", GenerateConfig(temperature=0.0, stop=stops, max_tokens=limit))
    assert (whole.text, whole.reason, whole.num_tokens) == (_text(pieces), pieces[-1].reason, len(pieces))


def test_a_character_is_never_split():
    """Bytes of a character that come one by one are shown when it is whole."""
    assert [piece.text for piece in _pieces([bytes([byte]) for byte in "é日🐶".encode()])] == [
        *("", "é", "", "", "日", "", "", "", "🐶", ""),
    ]


def test_half_a_character_at_the_end():
    """A character that the limit cuts is replaced once, with the last piece and not before."""
    pieces = _pieces([bytes([byte]) for byte in "a日".encode()], max_tokens=3)
    assert [piece.text for piece in pieces] == ["a", "", "\ufffd"]
    assert pieces[-1].reason == "length"


def _vocabulary_of_letters() -> _Vocabulary:
    return _Vocabulary([b"one ", b"two ", b"STOP", b"ST", b"OP", b"three "])


def test_samples_have_their_own_text(make_model, monkeypatch):
    """Samples side by side: each has its own decoder, its own held back text and its own end."""
    vocabulary = _vocabulary_of_letters()
    one, two, stop, st_, op, three = range(256, 262)
    scripts = [[one, st_, op, one], [one, st_, three, st_], [one, stop], [one, two, three, two, two, two]]
    model = _Script(vocabulary, *scripts)  # the first token comes from the prompt, which is read once: it is the same
    options = GenerateConfig(temperature=0.0, n=4, stop=["STOP"], max_tokens=5)
    results = complete(model, vocabulary, "x", options)
    assert [result.text for result in results] == ["one ", "one STthree ST", "one ", "one two three two two "]
    assert [result.reason for result in results] == ["stop", "stop", "stop", "length"]
    assert [result.num_tokens for result in results] == [3, 5, 2, 5]


def test_an_empty_prompt_starts_a_document():
    """Without a prompt the model is given end-of-text; without that either, there is nothing to go on from."""
    vocabulary = _vocabulary_of_letters()
    model = _Script(vocabulary, [256, 257])
    assert complete(model, vocabulary, "", GenerateConfig(temperature=0.0))[0].text == "one two "
    assert model.prompt == [vocabulary.eos_id]
    with pytest.raises(PlanError, match="the prompt: it is empty"):
        _pieces([b"a"], prompt="", has_eos=False)


def test_without_end_of_text_only_the_limit_ends():
    """A vocabulary that has no end-of-text goes on until there are tokens enough."""
    pieces = _pieces([b"a"], has_eos=False, max_tokens=3)
    assert pieces[-1].reason == "length"
    assert len(pieces) == 3


def test_a_real_model_streams_what_it_completes(make_model):
    """With a real model and several samples: the joined pieces are the completions, for any seed."""
    vocabulary = _Vocabulary([b"ab", "é".encode()[:1], "é".encode()[1:]])
    model = make_model("qwen3", num_ids=vocabulary.size, context_tokens=12)
    for seed in range(3):
        options = GenerateConfig(temperature=1.5, n=3, max_tokens=20, seed=seed, stop=["a"])
        texts = [""] * 3
        for piece in stream_text(model, vocabulary, "start", options):
            texts[piece.sample] += piece.text
        assert [result.text for result in complete(model, vocabulary, "start", options)] == texts
        assert not any("a" in text for text in texts)
