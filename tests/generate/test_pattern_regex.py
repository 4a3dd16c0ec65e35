"""Regular expressions of Python, in the other way to write: texts that are drawn from them match the original."""

import re
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.base.errors import PlanError
from whelp.generate import GenerateConfig
from whelp.generate.pattern import open_patterns
from whelp.generate.pattern_regex import convert_regex

from .helpers import PieceVocabulary

pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')
VOCABULARY = PieceVocabulary([])


def _draw(regex: str, seed: int, longest: int = 200) -> str | None:
    """A text that follows, chosen by chance alone; None: it did not end."""
    random, pattern, written = (
        np.random.default_rng(seed),
        open_patterns(VOCABULARY, [256], "regex").begin(GenerateConfig(regex=regex)),
        b"",
    )
    while len(written) < longest:
        choices = np.flatnonzero(pattern.look())
        token = 256 if choices[-1] == 256 and random.random() < 0.5 else int(random.choice(choices))
        if token == 256:
            return written.decode()
        pattern.take(token)
        written += bytes([token])
        if pattern.is_over:
            return written.decode()
    return None


REGEXES = [
    r"\w{1,5}", r"\W{1,3}", r"\s{1,3}", r"\S{1,4}", r"\d{2}", r"\D{2}", r"[\w.-]{3}", r"[^\W\d]{3}", r"[\S ]{2}", r".{3}",
    r'{"a": \d{,2}}', r"{}", r"x{2}{", r"a{,2}b{1,}c{2,3}", r"[]a]{3}", r"[^]a]{3}", r"[a[b]]{2}", r"[a&&b~~|]{3}", r"[+--]{3}",
    r"\<b\>", r"a\ b\-\#\/", r"^ab$", r"\Aab\Z", r"(?i)straße{2}", r"(?:ab|cd)*e", r"(?P<name>a|b)c?", r"a*?b+?", r"\x41\u00e9\U0001F98A",
    r"[\x41-\x43\u00e9]{2}", r"\t\n\r\f\v", r"[\\\]]{3}", r"(a|)b", r"[|]{2}|[.*+?()]{4}", r"/a//b/", "a/b\n", "é🦊+",
]  # fmt: skip


@pytest.mark.parametrize("regex", REGEXES)
def test_what_is_drawn_matches(regex):
    """Forty texts of each."""
    texts = [text for seed in range(40) if (text := _draw(regex, seed)) is not None]
    assert texts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [text for text in texts if not re.fullmatch(regex, text)] == []


_ATOMS = st.sampled_from(
    [*"ab{}-&~#/<,. é|?", r"\w", r"\S", r"\d", r"\.", r"\[", "[a-c]", "[^b{]", "[[&&-]", "{2}", "{,1}", "{1,2}"]
)


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(_ATOMS, min_size=1, max_size=6), seed=st.integers(0, 99))
def test_anything_drawn_matches(parts, seed):
    """Whatever is put together: where Python reads it and something follows it, the text matches."""
    regex = "".join(parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compiled = re.compile(regex)
        except re.error:
            with pytest.raises(PlanError, match="is none"):
                convert_regex(regex)
            return
        try:
            text = _draw(regex, seed)
        except PlanError as error:
            assert "no text but an empty one" in str(error)  # noqa: PT017
            assert compiled.fullmatch("")
            return
        assert text is None or compiled.fullmatch(text), (regex, text)


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        pytest.param(
            "ab++b",
            "regex: a possessive quantifier at position 2 is not",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.11 has them"),
        ),
        ("a(?#[)b", "regex: a comment at position 1 is not supported. Write it without."),
        ("(?x)a # [", "regex: the flag x at position 0 is not supported"),
        ("(?ix:[^ a])", "regex: the flag x at position 0 is not supported"),
        (r"\w" * 9000, "regex: it has 18,000 characters, but expected at most 16,384. Is it a choice?"),
    ],
    ids=lambda value: value[:9],
)
def test_what_is_refused(regex, message):
    """What would be another pattern in the other way to write, or take too much to write."""
    with pytest.raises(PlanError) as caught:
        convert_regex(regex)
    assert message in str(caught.value)
