"""Texts that follow a pattern: with weights that say nothing, every text does, whatever the vocabulary and the settings."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from whelp.base.errors import ConfigError, MissingExtraError, PlanError, TokenizerError
from whelp.generate import Completion, Engine, GenerateConfig, complete, stream_text
from whelp.generate import pattern as pattern_module
from whelp.generate.batch import Batch
from whelp.generate.pattern import open_patterns
from whelp.tokenizer import LearnConfig, Vocabulary, learn
from whelp.tokenizer.world import make_world_json

from .helpers import PieceVocabulary, ScriptedModel

pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')

TEXT = (
    'Yes, no: "name", {"name": "Ann", "age": 31, "tags": ["a", "b-c"]} and true or false or null. \\ /\n'
    "the cat sat on the mat 0123456789 (it's) -1.5e+7 perhaps, ABC xyz é 🦊 [ ] { } quick brown fox jumps over lazy dogs\n"
) * 30
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["Yes", "no", None]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-c]{1,3}$"}, "maxItems": 2},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}
PATTERNS: dict[str, dict[str, Any]] = {
    "number": {"regex": r"[0-9]{3}-[0-9]{4}"},
    "words": {"regex": r"(the|cat|\w{1,4})( \S{1,3}){1,3}\.?"},
    "braces": {"regex": r'{"a": \d{1,2}, "b[[]": ".{0,3}"}'},
    "choice": {"choice": ["yes", "no", "perhaps", 'the "cat" \\']},
    "schema": {"json_schema": SCHEMA},
    "grammar": {"grammar": 'start: sum\nsum: NUMBER ("+" NUMBER){0,3}\nNUMBER: /[0-9]{1,2}/'},
    "gbnf": {"grammar": 'root ::= word (" " word)? "."\nword ::= [a-z]{2,3}'},
}
ENDS = {"grammar": r"[0-9]{1,2}(\+[0-9]{1,2}){0,3}", "gbnf": r"[a-z]{2,3}( [a-z]{2,3})?\."}


def _make_sentence_pieces(kind: str) -> Vocabulary:
    """As SentencePiece makes them: a space belongs to the word that follows, and none begins a text."""
    letters = sorted(set(TEXT.replace("\n", "").replace(" ", "▁")))
    words = ["▁the", "▁cat", "▁yes", "yes", "▁no", '▁"', '",', "▁{", "▁12"]
    pieces = [
        "<unk>",
        "</s>",
        *letters,
        *words,
        *(["<0x0A>", *(f"<0x{byte:02X}>" for byte in range(128, 256))] * (kind == "bytes")),
    ]
    model = models.Unigram([(piece, -float(place)) for place, piece in enumerate(dict.fromkeys(pieces))], 0, kind == "bytes")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    if kind == "bytes":
        replaced = decoders.Replace("▁", " ")
        tokenizer.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True), AddedToken("</s>", special=True)])
    return Vocabulary(tokenizer.to_str(), eos_token="</s>", unk_token="<unk>")


def _make_world() -> Vocabulary:
    pieces = [bytes([byte]) for byte in range(256)] + [b"the", b" cat", b'": ', b"\xf0\x9f", "é".encode(), b"yes"]
    return Vocabulary(make_world_json({piece: place + 1 for place, piece in enumerate(pieces)}), eos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, Vocabulary]:
    """One of each kind."""
    learned = {
        kind: learn([pa.array([TEXT])], LearnConfig(learn=kind, vocab_size=400, unknown="token"))
        for kind in ("bpe", "unigram", "chars", "words", "wordpiece")
    }
    pieces = {f"sentence-{kind}": _make_sentence_pieces(kind) for kind in ("letters", "bytes")}
    return {**learned, **pieces, "world": _make_world()}


EXACT = ["bpe", "unigram", "chars", "sentence-letters", "sentence-bytes", "world"]


def _check(name: str, completion: Completion, **asked: Any) -> None:
    asked = asked or PATTERNS[name]
    text = completion.text
    assert completion.reason == "stop", text
    if "json_schema" in asked:
        jsonschema.validate(json.loads(text), asked["json_schema"])
    elif "choice" in asked:
        assert text in asked["choice"]
    else:
        assert re.fullmatch(ENDS.get(name) or asked["regex"], text), text


@pytest.fixture(scope="module")
def models_of(make_model: Any, vocabularies: dict[str, Vocabulary]) -> Any:
    """A model of random weights for a vocabulary."""
    made: dict[Any, Any] = {}

    def make(kind: str, family: str = "gpt2", context_tokens: int = 256) -> Any:
        key = kind, family, context_tokens
        if key not in made:
            made[key] = make_model(family, num_ids=vocabularies[kind].size, context_tokens=context_tokens)
        return made[key]

    return make


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("kind", EXACT)
def test_every_text_follows(vocabularies, models_of, kind, name):
    """Drawn as the weights have it, and wilder: not one text departs, and they differ."""
    model, vocabulary = models_of(kind), vocabularies[kind]
    found = []
    for temperature in (1.0, 2.5):
        config = GenerateConfig(max_tokens=250, temperature=temperature, seed=3, **PATTERNS[name])
        found += complete(model, vocabulary, "the cat", config, n=6)
    for completion in found:
        _check(name, completion)
    assert len({completion.text for completion in found}) > 1


_STYLES: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.7, "top_p": 0.5},
    {"temperature": 1.2, "top_k": 3},
    {"temperature": 1.0, "top_k": 30, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.3},
    {"temperature": 1.0, "repetition_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.4},
    {"temperature": 1.0, "logit_bias": {"a": 100.0, "}": -100.0}},
    {"temperature": 1.0, "logprobs": 3, "prompt_logprobs": 1},
    {"temperature": 1.0, "prompt_lookup_tokens": 4},
    {"temperature": 1.0, "ignore_end": True},
]


@pytest.mark.parametrize("style", _STYLES, ids=lambda style: "-".join(style))
def test_with_every_setting(vocabularies, models_of, style):
    """What else bends the choice, or saves steps, keeps to the pattern."""
    vocabulary = vocabularies["bpe"]
    biases = {int(vocabulary.encode(text)[0]): value for text, value in style.get("logit_bias", {}).items()}
    style = {**style, "logit_bias": biases}
    for name in ("number", "schema"):
        config = GenerateConfig(max_tokens=250, seed=5, **style, **PATTERNS[name])
        for completion in complete(models_of("bpe"), vocabulary, 'the cat {"name": "', config, n=3):
            _check(name, completion)


def test_log_probabilities_are_the_models_own(vocabularies, models_of):
    """Of each token that came, before what the pattern rules out."""
    model, vocabulary = models_of("chars"), vocabularies["chars"]
    config = GenerateConfig(temperature=0.0, logprobs=2, max_tokens=3)
    free = complete(model, vocabulary, "the", config)[0]
    bound = complete(model, vocabulary, "the", replace(config, regex="[0-9]{3}"))[0]
    assert bound.logprobs[0].text != free.logprobs[0].text
    assert bound.logprobs[0].top == free.logprobs[0].top
    assert bound.logprobs[0].logprob < min(entry.logprob for entry in bound.logprobs[0].top)


def test_the_likeliest_that_follows_is_taken(vocabularies, models_of):
    """Greedy: at each place, of what may come, the token of the highest logit, found by trying all."""
    model, vocabulary = models_of("chars"), vocabularies["chars"]
    ids = vocabulary.encode("the cat").tolist()
    text = ""
    for _ in range(4):
        asked = GenerateConfig(temperature=0.0, max_tokens=1, logprobs=vocabulary.size)
        ranked = complete(model, vocabulary, ids, asked)[0].logprobs[0].top
        best = next(entry for entry in ranked if re.fullmatch(r"[a-c]{1,2}|[a-c]{2}[0-9]{1,2}", text + entry.text))
        text += best.text
        ids.append(best.id)
    config = GenerateConfig(temperature=0.0, regex="[a-c]{2}[0-9]{2}")
    assert complete(model, vocabulary, "the cat", config)[0].text == text


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "rwkv7"])
def test_many_side_by_side(vocabularies, models_of, family):
    """Requests with patterns of their own and without, joining in few slots: each gets the text that it gets alone."""
    model, vocabulary = models_of("bpe", family), vocabularies["bpe"]
    asked = [*PATTERNS.values(), {}, {}]
    configs = [GenerateConfig(max_tokens=120, temperature=1.0, seed=seed, **each) for seed, each in enumerate(asked)]
    alone = [complete(model, vocabulary, "the cat sat on the mat", config)[0] for config in configs]
    with Engine(model, vocabulary, max_rows=3) as engine:
        together = [engine.submit("the cat sat on the mat", config)[0] for config in configs]
        found = [Completion.collect(generation) for generation in together]
        again = Completion.collect(engine.submit("the cat sat on the mat", configs[0])[0])
    assert [(whole.text, whole.reason) for whole in found] == [(whole.text, whole.reason) for whole in alone]
    assert again == found[0]
    for name, completion in zip(PATTERNS, found, strict=False):
        _check(name, completion)


def test_longer_than_the_context(vocabularies, models_of):
    """The pattern goes on where the later half of the text is read anew."""
    config = GenerateConfig(max_tokens=200, temperature=1.0, when_full="slide", regex="([a-z]{2}[0-9]){40}")
    (completion,) = complete(models_of("chars", context_tokens=24), vocabularies["chars"], "the", config)
    assert completion.num_tokens == 120
    _check("", completion, regex=config.regex)


def test_the_text_as_it_comes(vocabularies, models_of):
    """Pieces, joined, are the whole text."""
    config = GenerateConfig(max_tokens=250, temperature=1.0, seed=2, json_schema=SCHEMA)
    whole = complete(models_of("sentence-bytes"), vocabularies["sentence-bytes"], "the", config)[0]
    pieces = list(stream_text(models_of("sentence-bytes"), vocabularies["sentence-bytes"], "the", config))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert len(pieces) > 5


def _say(script: bytes, *, has_eos: bool = True, **settings: Any) -> tuple[str, str, int]:
    """What comes of a model that wants to say the script, and end-of-text after it."""
    vocabulary = PieceVocabulary([], has_eos=has_eos)
    (whole,) = complete(
        ScriptedModel(vocabulary.size, list(script)), vocabulary, "x", GenerateConfig(temperature=0.0, **settings)
    )
    return whole.text, whole.reason, whole.num_tokens


def test_where_a_text_ends():
    """The model ends it where the pattern is whole, not before; where nothing can follow, it ends by itself, without a token."""
    assert _say(b"12", regex="[0-9]{1,5}") == ("12", "stop", 3)
    text, reason, _ = _say(b"12", regex="[0-9]{5}")
    assert (text[:2], len(text), reason) == ("12", 5, "stop")
    assert _say(b"12345", regex="[0-9]{5}") == ("12345", "stop", 5)
    assert _say(b"12345", regex="[0-9]{5}", max_tokens=5) == ("12345", "stop", 5)
    assert _say(b"12345", regex="[0-9]{5}", has_eos=False) == ("12345", "stop", 5)
    assert _say(b"12", regex="[0-9]{1,5}", ignore_end=True)[0][:2] == "12"
    assert len(_say(b"12", regex="[0-9]{1,5}", ignore_end=True)[0]) == 5


def test_what_cuts_a_text_short():
    """The limit of tokens, said as the reason; a stop text."""
    assert _say(b"12345678", regex="[0-9]{8}", max_tokens=5) == ("12345", "length", 5)
    assert _say(b"12345678", regex="[0-9]{8}", stop=["45"]) == ("123", "stop", 5)
    assert _say(b"1", regex="[0-9]{8}", max_tokens=0) == ("", "length", 0)


def test_the_layout_of_json():
    """No space but one after a comma or a colon, unless the schema says otherwise, in the words of the library."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"const": []}}, "required": ["a", "b"]}
    written = b'{ "a" :\n 1, "b":[]}'
    assert _say(b'{"a":1, "b":[]}', json_schema=schema)[0] == '{"a":1, "b":[]}'
    assert _say(written, json_schema=schema | {"x-guidance": {"whitespace_flexible": True}})[0] == written.decode()
    assert _say(written, json_schema=schema)[0][:5] == '{"a":'


def test_half_a_letter_is_completed():
    """A letter of several bytes comes whole, even where the model ends the text within it."""
    text, reason, _ = _say("a🦊".encode()[:-1], regex="a[🦊é]")
    assert (text, reason) == ("a🦊", "stop")


def test_control_tokens_are_no_text(vocabularies, models_of):
    """The letters of end-of-text can be written, but not by the token."""
    vocabulary = vocabularies["bpe"]
    config = GenerateConfig(max_tokens=60, regex=r"<\|endoftext\|>!", logit_bias={vocabulary.eos_id: 1000.0})
    (completion,) = complete(models_of("bpe"), vocabulary, "the", config)
    assert (completion.text, completion.reason) == ("<|endoftext|>!", "stop")


@pytest.mark.parametrize("kind", ["words", "wordpiece"])
def test_vocabularies_of_words(vocabularies, models_of, kind):
    """What their words can say."""
    config = GenerateConfig(temperature=1.0, max_tokens=40, regex="(the|cat)( (cat|sat|mat)){1,3}")
    for completion in complete(models_of(kind), vocabularies[kind], "the cat", config, n=8):
        _check("", completion, regex=config.regex)


def test_a_text_that_cannot_go_on(vocabularies, models_of):
    """It is an error that shows how far it came; the others go on."""
    model, vocabulary = models_of("words"), vocabularies["words"]
    batch = Batch(model, vocabulary, max_rows=3)
    good = batch.submit("the cat", GenerateConfig(regex="(the|cat)( (cat|sat|mat)){3}", temperature=1.0))[0]
    far = GenerateConfig(grammar="start: TEXT\nTEXT: /the cat[A-Z ]{200}the catalogue/", temperature=1.0)
    bad = batch.submit("the cat", far)[0]
    while batch.step():
        pass
    message = r"^grammar: after '.*the cata' it wants 'l', which no token of the vocabulary writes there\. Ask for a text that the vocab"
    with pytest.raises(PlanError, match=message):
        Completion.collect(bad)
    assert Completion.collect(good).reason == "stop"
    with pytest.raises(PlanError, match=message):
        list(stream_text(model, vocabulary, "the cat", far))


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        ("chars", {"grammar": 'start: "a" x | "a" "b"\nx: "x" /x*#/'}, ["ab"]),
        ("chars", {"json_schema": {"enum": ["x#", "x", 7]}}, ['"x"', "7"]),
        ("chars", {"json_schema": {"type": ["integer", "object"], "maximum": 3, "minimum": 3, "required": ["#"]}}, ["3"]),
        ("sentence-letters", {"json_schema": {"anyOf": [{"type": "string", "pattern": "^a+#$"}, {"const": "a"}]}}, ['"a"']),
        ("words", {"regex": "the [a-z ]{40}dog|cat"}, ["cat"]),
        ("words", {"regex": "the (cat)*alogue|the cat"}, ["the cat"]),
        ("words", {"choice": ["catalogue", "cat", "lazies"]}, ["cat"]),
        ("wordpiece", {"regex": "the [a-z]{1,30}#|the fox|[a-z ]{31}#"}, ["the fox"]),
    ],
)
def test_no_text_ends_in_between(vocabularies, models_of, kind, asked, expected):
    """However far away it is that a vocabulary does not know how to go on, what leads there is left out from the first."""
    config = GenerateConfig(temperature=1.0, max_tokens=120, **asked)
    found = complete(models_of(kind), vocabularies[kind], "the cat", config, n=12)
    assert {completion.text for completion in found} == set(expected)
    assert {completion.reason for completion in found} == {"stop"}


@pytest.mark.parametrize("kind", ["words", "wordpiece"])
def test_counts_come_out_right(vocabularies, models_of, kind):
    """Where only some tokens are as long as what is left."""
    config = GenerateConfig(temperature=1.0, max_tokens=120, regex="([a-z]{1,9} ?){4}[a-z ]{25} (fox|the)")
    for completion in complete(models_of(kind), vocabularies[kind], "the cat", config, n=12):
        _check("", completion, regex=config.regex)


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        (
            "bpe",
            {"regex": "(a"},
            "regex: '(a' is none (missing ), unterminated subpattern at position 0), but expected a regular",
        ),
        (
            "bpe",
            {"regex": "a(?=b)"},
            "it cannot be followed (look-around, including look-ahead and look-behind, is not supported)",
        ),
        ("bpe", {"regex": r"(a)\1"}, "regex: it cannot be followed (backreferences are not supported). Ask for a simpler one."),
        ("bpe", {"regex": r"\bthe"}, "regex: it cannot be followed (invalid regex"),
        (
            "bpe",
            {"json_schema": {"type": "objet"}},
            "json_schema: it cannot be followed (failed to compile JSON schema: Invalid type",
        ),
        ("bpe", {"json_schema": {"not": {}}}, 'Unimplemented keys: ["not"]'),
        (
            "bpe",
            {"json_schema": {"type": "string", "minLength": 3, "maxLength": 1}},
            "minLength (3) is greater than maxLength (1)",
        ),
        ("bpe", {"grammar": "start: nothing"}, 'grammar: it cannot be followed (unknown name: "nothing")'),
        ("bpe", {"grammar": 'root ::= "a'}, "grammar: it cannot be read ("),
        *(
            ("bpe", asked, "its multipleOf, all together, has more remainders than are followed, but expected a least common")
            for asked in (
                {"json_schema": {"type": "integer", "multipleOf": 999983}},
                {"json_schema": {"type": "integer", "multipleOf": 99730000}},
                {"json_schema": {"allOf": [{"type": "integer", "multipleOf": 9973}, {"multipleOf": 0.9967}]}},
                {"grammar": 'start: "a" %json {"type": "number", "multiple\\u004ff": 999.983, "default": 1' + "0" * 5000 + "}"},
            )
        ),
        ("bpe", {"regex": "a{0}"}, "regex: no text but an empty one follows it. Ask for a text."),
        ("chars", {"regex": "[A-C]?#+"}, "regex: the tokens of the vocabulary write no text of it: after 'A' it wants '#'."),
        (
            "chars",
            {"choice": ["yes", "#1", "é✓"]},
            "choice: the vocabulary cannot write '#', '✓'. Ask for a text of its letters.",
        ),
        ("chars", {"json_schema": {"enum": ["#"]}}, "json_schema: the vocabulary cannot write '#'."),
        (
            "chars",
            {"grammar": 'start: "a" X\nX: /b{1,3}#/'},
            "grammar: the tokens of the vocabulary write no text of it: after 'ab",
        ),
        ("words", {"regex": "Zoo"}, "regex: the tokens of the vocabulary write no text of it: it begins with 'Z'."),
        (
            "words",
            {"regex": "the catalogue"},
            "regex: the tokens of the vocabulary write no text of it: after 'the cata' it wants 'l'. Ask for a text that the "
            "vocabulary can write.",
        ),
        ("words", {"regex": "the cat[A-Z ]{200}the catalogue"}, "regex: the tokens of the vocabulary write no text of it: "),
        ("wordpiece", {"regex": "(([a-z]|cat)){2,90} "}, "regex: the tokens of the vocabulary write no text of it: "),
        (
            "words",
            {"choice": ["catalogue", "lazies"]},
            "choice: the tokens of the vocabulary write no text of it: after 'cata' it",
        ),
        (
            "chars",
            {"json_schema": {"type": "array", "items": {"const": "#"}, "minItems": 1}},
            "json_schema: the vocabulary cannot write '#'.",
        ),
        (
            "wordpiece",
            {"json_schema": SCHEMA},
            "json_schema: the tokens of the vocabulary write no text of it: after '{' it wants '\"'.",
        ),
    ],
)
def test_what_is_no_pattern(vocabularies, models_of, kind, asked, message):
    """Said when it is asked for, before anything is read."""
    with pytest.raises(PlanError) as caught:
        Batch(models_of(kind), vocabularies[kind], max_rows=1).submit("the", GenerateConfig(**asked))
    assert message in str(caught.value)


def test_one_pattern_at_a_time():
    """Two of them, and empty ones, are refused."""
    with pytest.raises(ConfigError, match="regex and choice are given, but a text follows one pattern"):
        GenerateConfig(regex="a", choice=["a"])
    with pytest.raises(ConfigError, match="choice has an empty text"):
        GenerateConfig(choice=["a", ""])


def test_too_complex(monkeypatch):
    """An automaton that would grow without end ends the request, not the program; the other goes on."""
    monkeypatch.setattr(pattern_module, "_MOST_STATES", 60)
    vocabulary = PieceVocabulary([])
    batch = Batch(ScriptedModel(vocabulary.size, list(b"abababab" * 40)), vocabulary, max_rows=2)
    free = GenerateConfig(temperature=0.0, max_tokens=300)
    good, bad = batch.submit("x", free)[0], batch.submit("x", replace(free, regex="(a|b)*a(a|b){200}"))[0]
    while batch.step():
        pass
    with pytest.raises(PlanError, match=r"regex: it is too complex \(.*too many.*\)\. Ask for less, or for shorter texts\."):
        Completion.collect(bad)
    assert Completion.collect(good).num_tokens == 300


def test_texts_do_not_fill_what_they_share(monkeypatch):
    """Of one compiled pattern, each text may come to as many states as if it were alone."""
    monkeypatch.setattr(pattern_module, "_MOST_STATES", 80)
    vocabulary = PieceVocabulary([])
    for script in (b"abbabaab", b"bbbbabbb", b"aaababaa", b"bababbab") * 2:
        model = ScriptedModel(vocabulary.size, list(script * 2))
        config = GenerateConfig(temperature=0.0, regex="(a|b)*a(a|b){10}", max_tokens=40)
        (whole,) = complete(model, vocabulary, "x", config)
        assert whole.reason == "stop"
        assert re.fullmatch(config.regex, whole.text)


def test_a_grammar_of_many_meanings():
    """It is an error before it takes seconds a token."""
    vocabulary = PieceVocabulary(["".join(letters).encode() for letters in itertools.product("ab", repeat=6)])
    config = GenerateConfig(temperature=0.0, max_tokens=200, grammar='start: s\ns: s s s | s s | "a" | "b" | "ab" |')
    with pytest.raises(PlanError, match=r"grammar: it is too complex \(.*[Tt]oo many items"):
        complete(ScriptedModel(vocabulary.size, list(b"ab" * 100)), vocabulary, "x", config)


def test_many_choices():
    """Thousands of them are one automaton."""
    texts = [f"word{number}" for number in range(5000)]
    assert _say(b"word4321", choice=texts)[:2] == ("word4321", "stop")


def test_rules_that_lead_to_rules():
    """However many: the stack of the program holds them."""
    links = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(6000)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**links, "d6000": {"type": "null"}}}
    assert _say(b"null", json_schema=schema)[:2] == ("null", "stop")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"choice": ["x" * 300_000]}, "choice: it is too large: its grammar has 300,"),
        ({"regex": r"\w" * 100}, "regex: it is too large: its grammar has"),
        ({"choice": ["\ud800"]}, "choice: it holds half a surrogate pair, but expected Unicode text."),
        ({"regex": "\ud800"}, "regex: it holds half a surrogate pair, but expected Unicode text."),
        ({"json_schema": {"enum": [json.loads("[" * 900 + "]" * 900)]}}, "json_schema: "),
    ],
    ids=["choice", "words", "surrogate-choice", "surrogate", "deep"],
)
def test_what_is_too_much(asked, message):
    """Refused as a pattern, whatever fails within."""
    with pytest.raises(PlanError) as caught:
        _say(b"a", **asked)
    assert message in str(caught.value)


def test_without_the_library(vocabularies, models_of, monkeypatch):
    """What to install."""
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError) as caught:
        complete(models_of("bpe"), vocabularies["bpe"], "the", GenerateConfig(regex="a"))
    assert str(caught.value) == 'regex: the package llguidance is not installed. Run `pip install "whelp[grammar]"`.'


def test_tokens_whose_text_is_not_fixed(models_of):
    """A vocabulary that strikes out spaces at the end of each word by what follows."""
    letters = [*"abc", "a</w>", "b</w>", "<unk>"]
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, [], end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder()
    vocabulary = Vocabulary(tokenizer.to_str())
    with pytest.raises(
        TokenizerError, match="the text of a token depends on the tokens around it, but expected tokens that always"
    ):
        open_patterns(vocabulary, [], "regex")


def test_compiled_once(vocabularies, models_of, monkeypatch):
    """A pattern that comes again, with the same vocabulary, is not compiled again; the vocabulary is read once."""
    from llguidance import LLMatcher

    config, vocabulary = GenerateConfig(regex="[a-f]{3}[0-9]", temperature=1.0), vocabularies["bpe"]
    expected = complete(models_of("bpe"), vocabulary, "the", config)[0].text
    monkeypatch.delattr("llguidance.LLTokenizer")
    monkeypatch.setattr("llguidance.LLMatcher", lambda *_, **__: pytest.fail("compiled again"))
    assert complete(models_of("bpe"), vocabulary, "the", config)[0].text == expected
    assert LLMatcher is not None
