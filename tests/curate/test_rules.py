"""The rules that datatrove does not have, or has otherwise, each against an obvious version."""

from __future__ import annotations

import functools
import ipaddress
import random
import re

import ftfy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from whelp.base.errors import ConfigError, MissingExtraError
from whelp.curate.config import (
    AlphanumericConfig,
    BoilerplateLinesConfig,
    C4Config,
    CharactersPerTokenConfig,
    ConfigOrTestConfig,
    EncodingRepairConfig,
    FewSignsOfCodeConfig,
    GeneratedCodeConfig,
    GopherQualityConfig,
    LanguageConfig,
    LengthConfig,
    LineLengthConfig,
    PersonalDataConfig,
)
from whelp.curate.rules import personal_data
from whelp.curate.rules.boilerplate import BoilerplateLines
from whelp.curate.rules.c4 import C4
from whelp.curate.rules.characters_per_token import CharactersPerToken
from whelp.curate.rules.code import ConfigOrTest, FewSignsOfCode, GeneratedCode
from whelp.curate.rules.contamination import Contamination, make_index
from whelp.curate.rules.encoding_repair import EncodingRepair
from whelp.curate.rules.gopher_quality import GopherQuality
from whelp.curate.rules.language import Language
from whelp.curate.rules.lengths import Alphanumeric, Length, LineLengths
from whelp.curate.rules.outcome import Outcome, Rule
from whelp.curate.rules.personal_data import PersonalData
from whelp.curate.texts import Texts

from .samples import iter_random_texts, make_array, make_prose, read_library


def apply(rule: Rule, texts: list[str]) -> Outcome:
    """What a rule says of texts."""
    return rule.apply(Texts(make_array(texts)))


def find_reasons(rule: Rule, texts: list[str]) -> list[str | None]:
    """The reason for each text."""
    outcome = apply(rule, texts)
    return [None if code < 0 else outcome.reasons[code] for code in outcome.codes.tolist()]


def change(rule: Rule, texts: list[str]) -> list[str]:
    """The texts as a rule leaves them."""
    outcome = apply(rule, texts)
    assert set(outcome.codes.tolist()) <= {-1}
    return texts if outcome.texts is None else list(outcome.texts.to_pylist())


def test_lengths() -> None:
    """Characters, not bytes."""
    rule = Length(LengthConfig(min_characters=3, max_characters=5))
    assert find_reasons(rule, ["ab", "éé", "abc", "日本語文字", "abcdef"]) == ["too short", "too short", None, None, "too long"]


def test_letters_and_lines_are_counted_as_codeparrot_does() -> None:
    """Share of letters and digits; mean and longest line."""
    texts = [text for group in iter_random_texts(5, 100) for text in group if text.splitlines()] + read_library(10)
    alphanumeric = find_reasons(Alphanumeric(AlphanumericConfig(min_share=0.5)), texts)
    lines = find_reasons(LineLengths(LineLengthConfig(max_mean=20, max_longest=70)), texts)
    for text, first, second in zip(texts, alphanumeric, lines, strict=True):
        share = np.mean([character.isalnum() for character in text])
        assert (first is not None) == (share < 0.5)
        lengths = [len(line) for line in text.splitlines()]
        expected = "a very long line" if max(lengths) > 70 else "long lines" if np.mean(lengths) > 20 else None
        assert second == expected
    assert {"a very long line", "long lines", None} <= set(lines)


def test_dialogue_is_prose() -> None:
    """As the paper has it, symbols are no words without letters; as datatrove has it, they are."""
    text = "\n".join('"Never," answered the captain, "that have waited; and yourselves?"' for _ in range(10))
    assert find_reasons(GopherQuality(GopherQualityConfig()), [text]) == [None]
    strict = GopherQuality(GopherQualityConfig(symbols_are_words=True))
    assert find_reasons(strict, [text]) == ["words without letters"]


def test_boilerplate_lines() -> None:
    """Usual ones and one's own go; sentences that only mention such things stay."""
    text = "\n".join(
        [
            *("Share this", "© 2024 Example Ltd.", "The story begins here.", "Page 3 of 12", "- 14 -", "", "READ MORE »"),
            *(
                "We share this house with a dog, and read more than others do.",
                "Accept all cookies",
                "XX secret XX",
                "The end.",
            ),
        ]
    )
    kept = "The story begins here.\n\nWe share this house with a dog, and read more than others do.\nXX secret XX\nThe end."
    assert change(BoilerplateLines(BoilerplateLinesConfig()), [text, "Nothing here."]) == [kept, "Nothing here."]
    own = BoilerplateLines(BoilerplateLinesConfig(patterns=["secret", "^end"], with_usual=False))
    assert change(own, [text]) == [text.replace("XX secret XX\n", "")]
    assert apply(own, [text]).changes == {"lines taken out": 1}
    with pytest.raises(ConfigError, match=r"curate\.boilerplate_lines\.patterns: '\(\?<=a\)b' is not a pattern that RE2 knows"):
        BoilerplateLines(BoilerplateLinesConfig(patterns=["(?<=a)b"]))
    with pytest.raises(ConfigError, match=r"2 problems\n  - '\(' is not a pattern.*\n  - '\\ud800' is not a pattern"):
        BoilerplateLines(BoilerplateLinesConfig(patterns=["(", "a", "\ud800"]))


def test_encoding_is_repaired_as_ftfy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that are not handed to ftfy would not have been changed by it."""
    texts = [
        "schÃ¶n",
        "â€œquotesâ€\x9d and l’Ã©tÃ©",
        "a &amp; b &lt;c&gt;",
        "“good” quotes – naïve café",
        "bell\x07 \x1b[31mred\x1b[0m",
        "plain",
    ]
    texts += [
        "ï»¿mark",
        "\ufeffmark",
        "ﬁne ＷＩＤＥ",
        "cr\r\nlf",
        "Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
        "привет",
        "日本語",
        "AT&T; no",
        "<b>&amp;</b>",
        "Ã  la",
    ]
    texts += [text for group in iter_random_texts(6, 40) for text in group] + read_library(20)
    options = ftfy.TextFixerConfig(
        fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False, fix_line_breaks=False, normalization=None
    )
    made = change(EncodingRepair(EncodingRepairConfig()), texts)
    assert made == [ftfy.fix_text(text, options) for text in texts]
    assert made[:3] == ["schön", "“quotes” and l’été", "a & b <c>"]
    with monkeypatch.context() as patch:  # good typography is not even looked at
        patch.setattr(ftfy, "fix_text", lambda text, options: pytest.fail(f"handed to ftfy: {text}"))
        change(EncodingRepair(EncodingRepairConfig()), ["“good” quotes – naïve café, l’été", "привет", "日本語"])
    assert change(EncodingRepair(EncodingRepairConfig(uncurl_quotes=True)), ["“so” ﬁne"]) == ['"so" ﬁne']


def test_personal_data() -> None:
    """Telephone numbers as people write them; dates, versions and code stay."""
    config = PersonalDataConfig(email="MAIL", ip="IP", phone="PHONE")
    pairs = {
        "call (555) 123-4567 or 555-123-4567.": "call PHONE or PHONE.",
        "or +49 30 1234 5678, +1 (555) 123 4567": "or PHONE, PHONE",
        "ISBN 978-3-16-148410-0, 2024-01-15, 3.1415926, 1234567890": "ISBN 978-3-16-148410-0, 2024-01-15, 3.1415926, 1234567890",
        "x = a+12 - 555 and 8.8.4.4:80": "x = a+12 - 555 and IP:80",
        "me@example.com, 10.0.0.1": "MAIL, 10.0.0.1",
    }
    outcome = apply(PersonalData(config), list(pairs))
    assert outcome.texts is not None
    assert outcome.texts.to_pylist() == list(pairs.values())
    assert outcome.changes == {"email masked": 1, "ip masked": 1, "phone masked": 4}
    private = PersonalData(PersonalDataConfig(email=None, ip="IP", only_public_ips=False, phone=None))
    assert change(private, ["me@example.com, 10.0.0.1"]) == ["me@example.com, IP"]


_ATOMS = "a b7 @ @ . - + 1 49 555 123 4567 (555) ( ) é ٣ 8.8.8.8 10.0.0.1 1.2.3.4.5 me@example.com 555-123-4567 _ x \\1 日"


def test_masks_are_those_of_an_obvious_version() -> None:
    """Which goes through every text from its start, one kind after the other; for texts full of borders of numbers and addresses."""
    generator = random.Random(5)
    atoms = _ATOMS.split()
    atoms += [" ", " ", "\n", "+1 ", "(555) 123-4567", "+49 30 1234 5678"]
    num_masked = 0
    for _ in range(300):
        texts = ["".join(generator.choices(atoms, k=generator.randint(0, 14))) for _ in range(generator.randint(1, 5))]
        expected = pc.replace_substring_regex(make_array(texts), personal_data.EMAIL, "me2@example.org").to_pylist()
        for pattern, check, mask in (
            (rf"(?<![\d.]){personal_data.IP}(?!\d|\.\d)", lambda found: ipaddress.ip_address(found).is_global, "9.9.9.9"),
            (rf"(?<![\w+.-]){personal_data.PHONE}(?![\w-]|\.\d)", bool, r"\1"),
        ):
            replace = functools.partial(lambda check, mask, found: mask if check(found[0]) else found[0], check, mask)
            expected = [re.sub(pattern, replace, text) for text in expected]
        made = change(PersonalData(PersonalDataConfig(email="me2@example.org", ip="9.9.9.9", phone=r"\1")), texts)
        assert made == expected
        num_masked += made != texts
    assert num_masked > 100


def test_languages() -> None:
    """Others go, and so does what is in none; what is not asked for by its name is another."""
    texts = [
        "The government said on Tuesday that it would not change the law before the end of the year.",
        "Die Regierung sagte am Dienstag, dass sie das Gesetz vor Ende des Jahres nicht ändern werde.",
        "政府は火曜日、年末までに法律を変更しないと述べた。",
        "0101 1010 ---- ==== 3.3 4.4",
    ]
    assert find_reasons(Language(LanguageConfig()), texts) == [None, *["another language"] * 2, "language not sure"]
    assert find_reasons(Language(LanguageConfig(keep=["de", "ja"])), texts[:3]) == ["another language", None, None]
    long = "\n".join([texts[1]] * 20 + [texts[0]] * 200 + [texts[1]] * 20)
    assert find_reasons(Language(LanguageConfig(look_at_characters=500)), [long]) == [None]  # the middle decides


def test_a_language_that_nobody_knows() -> None:
    """A code of another kind would drop every document: it is refused before anything is read."""
    with pytest.raises(
        ConfigError, match=r"keep names english, deu, which the model does not know\. Codes that it knows: af, "
    ):
        Language(LanguageConfig(keep=["en", "english", "deu"]))


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    with pytest.raises(MissingExtraError, match=r'the package ftfy is not installed\. Run `pip install "whelp\[curate\]"`'):
        EncodingRepair(EncodingRepairConfig())


def test_code_is_told_as_codeparrot_does() -> None:
    """Generated, tests and configuration, hardly any code; the obvious version reads line by line."""
    texts = [
        "# Auto-Generated by x\na = 1\n",
        "\n" * 5 + "# autogenerated",
        "# run the unit tests\nx",
        "configure\n" * 9,
        "test " * 3,
    ]
    texts += ["a = b = c = d = e", "a = 1\ndef f(): pass", "", *read_library(60)]
    generated = find_reasons(GeneratedCode(GeneratedCodeConfig()), texts)
    tests = find_reasons(ConfigOrTest(ConfigOrTestConfig(dropped_share=1)), texts)
    signs = find_reasons(FewSignsOfCode(FewSignsOfCodeConfig(dropped_share=1)), texts)
    for number, text in enumerate(texts):
        head = "\n".join(text.splitlines()[:5]).lower()
        assert (generated[number] is not None) == any(word in head for word in GeneratedCodeConfig().words)
        most = int(0.05 * text.count("\n"))
        says = any(word in head for word in ConfigOrTestConfig().words)
        says |= text.lower().count("config") > most or text.lower().count("test") > most
        assert (tests[number] is not None) == says, text[:200]
        lacks = not any(word in text.lower() for word in ("def ", "class ", "for ", "while "))
        expected = "no definition or loop" if lacks else "few assignments" if text.count("=") <= 4 else None
        assert signs[number] == expected
    assert {"no definition or loop", "few assignments", None} <= set(signs)


def test_a_share_is_drawn_by_the_text() -> None:
    """About so many, and always the same, whoever the neighbours are."""
    texts = [f"test number {number}" for number in range(2000)]
    rule = ConfigOrTest(ConfigOrTestConfig(dropped_share=0.7))
    reasons = find_reasons(rule, texts)
    assert 0.66 < np.mean([reason is not None for reason in reasons]) < 0.74
    assert find_reasons(rule, ["é", *texts[:50]])[1:] == reasons[:50]


def test_a_long_word_is_of_its_own_text() -> None:
    """What stands at the end of one text and the start of the next is two words."""
    rule = C4(C4Config(max_word_length=8, min_num_sentences=0))
    texts = ["One two four.", "fifths are short."]
    assert change(rule, texts) == texts
    assert change(rule, ["One two threefold.", texts[1]]) == ["", texts[1]]


class _Bytes:
    """A vocabulary of bytes, where each x is three tokens."""

    def encode_batch(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        lengths = [len(text.encode()) + 2 * text.count("x") for text in texts.to_pylist()]
        return np.zeros(sum(lengths)), np.cumsum([0, *lengths])


def test_characters_per_token() -> None:
    """Characters, not bytes, for each token."""
    rule = CharactersPerToken(CharactersPerTokenConfig(min_ratio=0.5), _Bytes())
    assert find_reasons(rule, ["abcd", "xxxx", "éé", "日本"]) == [
        None,
        "few characters per token",
        None,
        "few characters per token",
    ]


def test_contamination() -> None:
    """A run of 13 words in common, case and symbols aside; a shorter question counts whole; fewer words prove nothing."""
    generator = random.Random(4)
    question = make_prose(generator, 40)
    short = "How many legs do nine spiders and two dogs have?"
    tiny = "What is your name?"
    index = make_index({"exam": [make_array([question, tiny])], "quiz": [make_array([short])]}, 13)
    words = question.replace(".", "").split()
    others = [make_prose(generator, 60) for _ in range(4)]
    texts = [
        others[0],
        f"{others[1]} {', '.join(words[5:18]).upper()} {others[2]}",  # 13 words
        f"{others[1]} {' '.join(words[5:17])} {others[2]}",  # 12 words
        f"He asked: how many legs do\nnine spiders -- and two dogs -- have? {others[3]}",
        f"{others[3]} {tiny}",
    ]
    assert find_reasons(Contamination(index), texts) == [None, "shares words with exam", None, "shares words with quiz", None]
    assert index.num_runs == 40 - 13 + 1 + 1
    assert (
        index.fingerprint == make_index({"exam": [make_array([tiny, question])], "quiz": [make_array([short])]}, 13).fingerprint
    )
    assert index.fingerprint != make_index({"exam": [make_array([question])]}, 13).fingerprint


def test_rules_judge_each_text_by_itself() -> None:
    """However texts lie together, each gets the same answer."""
    texts = [text for group in iter_random_texts(8, 30) for text in group] + read_library(6, 9000)
    rules: list[Rule] = [GopherQuality(GopherQualityConfig(min_words=3)), LineLengths(LineLengthConfig(max_mean=15))]
    for rule in rules:
        together = find_reasons(rule, texts)
        alone = [find_reasons(rule, [text])[0] for text in texts]
        assert together == alone
