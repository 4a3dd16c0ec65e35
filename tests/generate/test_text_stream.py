"""Text as it comes: stop texts across token borders, whole characters only."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whelp.base.errors import PlanError
from whelp.generate import GenerateConfig, TextPiece, complete, stream_text

from .helpers import PieceVocabulary, ScriptedModel


def _pieces(chunks: list[bytes], *, prompt: str = "x", has_eos: bool = True, **options) -> list[TextPiece]:
    """What is streamed when the model says these chunks, one token each."""
    vocabulary = PieceVocabulary(chunks, has_eos=has_eos)
    model = _script(vocabulary, len(chunks))
    return list(stream_text(model, vocabulary, prompt, GenerateConfig(**{"temperature": 0.0} | options)))


def _script(vocabulary: PieceVocabulary, num_chunks: int) -> ScriptedModel:
    return ScriptedModel(vocabulary.size, [256 + index for index in range(num_chunks)])


def _finish(chunks: list[bytes], **options) -> tuple[str, str]:
    """The whole text and why it ended."""
    vocabulary = PieceVocabulary(chunks)
    settings = GenerateConfig(**{"temperature": 0.0} | options)
    (whole,) = complete(_script(vocabulary, len(chunks)), vocabulary, "x", settings)
    return whole.text, whole.reason


def _text(pieces: list[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_tokens_become_text():
    """One piece for each token, end-of-text too, which is not shown."""
    assert _pieces([b"Hel", b"lo", b"!"]) == [
        TextPiece("Hel", [256]),
        TextPiece("lo", [257]),
        TextPiece("!", [258]),
        TextPiece("", [259]),
    ]
    assert _finish([b"Hel", b"lo", b"!"]) == ("Hello!", "stop")
    assert _finish([b"Hel", b"lo", b"!"], max_tokens=2) == ("Hello", "length")


def test_a_stop_text_across_tokens():
    """The beginning of a stop text is held back until it is one, or is none."""
    pieces = _pieces([b"one E", b"N", b"D", b"more"], stop=["END"])
    assert [piece.text for piece in pieces] == ["one ", "", ""]
    pieces = _pieces([b"one E", b"N", b"d", b"more"], stop=["END"])
    assert [piece.text for piece in pieces] == ["one ", "", "ENd", "more", ""]


def test_what_is_held_back_is_shown_at_the_end():
    """Half a stop text at the very end was no stop text, however the text ends."""
    assert _finish([b"a", b"EN"], stop=["END"]) == ("aEN", "stop")
    assert _finish([b"a", b"EN"], stop=["END"], max_tokens=2) == ("aEN", "length")


def test_a_stop_text_in_the_last_token():
    """A stop text that comes with the last allowed token is a stop, not a lack of room."""
    assert _finish([b"a", b"bENDc"], stop=["END"], max_tokens=2) == ("ab", "stop")
    assert _finish([b"a", b"b\xe6"], stop=["\ufffd"], max_tokens=2) == (
        "ab",
        "stop",
    )  # half a character, known as such at the end


def test_the_first_of_several_stops():
    """Of several stop texts in one token the earliest counts; an empty one never does."""
    assert _text(_pieces([b"abcdef"], stop=["ef", "", "cd", "def"])) == "ab"


def test_end_of_text_can_be_ignored():
    """With `ignore_end` a text goes on after end-of-text, which stays unseen."""
    vocabulary = PieceVocabulary([b"a", b"b"])
    model = ScriptedModel(vocabulary.size, [256, vocabulary.eos_id, 257])
    assert complete(model, vocabulary, "x", GenerateConfig(temperature=0.0, max_tokens=3))[0].text == "a"
    settings = GenerateConfig(temperature=0.0, max_tokens=3, ignore_end=True)
    (whole,) = complete(model, vocabulary, "x", settings)
    assert (whole.text, whole.reason, whole.num_tokens) == ("ab", "length", 3)


def test_other_tokens_that_end():
    """A model may have more tokens that end its texts than its vocabulary names."""
    vocabulary = PieceVocabulary([b"a", b"<turn>", b"b"])
    (whole,) = complete(_script(vocabulary, 3), vocabulary, "x", GenerateConfig(temperature=0.0), end_ids=[257])
    assert (whole.text, whole.reason, whole.num_tokens) == ("a", "stop", 2)


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
    assert _finish(chunks, stop=stops) == (shown, "stop")
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
    """Streaming and waiting give the same text, with one piece for each token."""
    chunks = _cut(text.encode(), borders)
    pieces = _pieces(chunks, stop=stops, max_tokens=limit)
    vocabulary = PieceVocabulary(chunks)
    settings = GenerateConfig(temperature=0.0, stop=stops, max_tokens=limit)
    (whole,) = complete(_script(vocabulary, len(chunks)), vocabulary, "x", settings)
    assert (whole.text, whole.num_tokens) == (_text(pieces), len(pieces))


def test_a_character_is_never_split():
    """Bytes of a character that come one by one are shown when it is whole."""
    assert [piece.text for piece in _pieces([bytes([byte]) for byte in "é日🐶".encode()])] == [
        *("", "é", "", "", "日", "", "", "", "🐶", ""),
    ]


def test_half_a_character_at_the_end():
    """A character that the limit cuts is replaced once, with the last piece and not before."""
    pieces = _pieces([bytes([byte]) for byte in "a日".encode()], max_tokens=3)
    assert [piece.text for piece in pieces] == ["a", "", "\ufffd"]


def test_an_empty_prompt_starts_a_document():
    """Without a prompt the model is given end-of-text; without that either, there is nothing to go on from."""
    vocabulary = PieceVocabulary([b"one ", b"two "])
    model = _script(vocabulary, 2)
    assert complete(model, vocabulary, "", GenerateConfig(temperature=0.0))[0].text == "one two "
    assert model.prompt == [vocabulary.eos_id]
    with pytest.raises(PlanError, match="the prompt: it is empty"):
        _pieces([b"a"], prompt="", has_eos=False)


def test_without_end_of_text_only_the_limit_ends():
    """A vocabulary that has no end-of-text goes on until there are tokens enough."""
    assert len(_pieces([b"a"], has_eos=False, max_tokens=3)) == 3


def test_a_real_model_streams_what_it_completes(make_model):
    """With a real model: the joined pieces are the completion, for any seed, and no stop text is in it."""
    vocabulary = PieceVocabulary([b"ab", "é".encode()[:1], "é".encode()[1:]])
    model = make_model("qwen3", num_ids=vocabulary.size, context_tokens=12)
    for seed in range(3):
        options = GenerateConfig(temperature=1.5, max_tokens=20, seed=seed, stop=["a"], when_full="slide")
        text = _text(list(stream_text(model, vocabulary, "start", options)))
        assert complete(model, vocabulary, "start", options)[0].text == text
        assert "a" not in text
