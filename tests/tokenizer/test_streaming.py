"""Text out of ids that come one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.tokenizer import Vocabulary


def _pieces(vocabulary: Vocabulary, ids: list[int]) -> list[str]:
    stream = vocabulary.stream()
    return [*(stream.push(token_id) for token_id in ids), stream.finish()]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40))
def test_pieces_are_whole_characters(bpe, text):
    """No piece holds half a character; joined they are the text."""
    pieces = _pieces(bpe, bpe.encode(text).tolist())
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 319), max_size=30))
def test_any_ids_stream_as_they_decode(bpe, ids):
    """For any ids at all, invalid UTF-8 and control tokens included, the joined pieces are decode's text."""
    assert "".join(_pieces(bpe, ids)) == bpe.decode(ids)


def test_every_kind_streams(vocabulary, texts):
    """Each kind's pieces joined are the text, and a stream can be used again."""
    stream = vocabulary.stream()
    for text in texts.to_pylist():
        ids = vocabulary.encode(text).tolist()
        assert "".join(map(stream.push, ids)) + stream.finish() == text


def test_other_kinds_stream_with_their_spaces(prefix_space_json):
    """Where an id's text depends on its neighbours, spaces and characters made of bytes come out right."""
    other = Vocabulary(prefix_space_json, eos_token="</s>")
    for text in ("ab a b", "a 日本 é ab", "日"):
        pieces = _pieces(other, other.encode(text).tolist())
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece for piece in pieces)
    ids = other.encode("a日").tolist()[:-1]
    assert "".join(_pieces(other, ids)) == other.decode(ids)
