"""`whelp docs`: pages, sections, and words, from the pages that are installed along."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import whelp as package
from whelp.cli.docs_pages import make_anchor

from .helpers import Whelp

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


def test_every_page_is_listed_with_how_it_begins(whelp: Whelp) -> None:
    """Those for beginners first."""
    outcome = whelp("docs")
    lines = outcome.text.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["index", "getting-started"]
    assert {line.split()[0] for line in lines} == set(PAGES)
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_a_page_is_as_it_is_written(whelp: Whelp) -> None:
    """All of it, as text that can be piped on; by the name of its file, too."""
    shown = whelp("docs", "packing").text
    assert shown.split() == PAGES["packing"].split()
    assert whelp("docs", "docs/packing.md").text == shown


def test_a_section_ends_where_the_next_one_begins(whelp: Whelp) -> None:
    """With what stands below it, and with code whose lines look like headings."""
    shown = whelp("docs", "packing#the-four-plans").text
    assert shown.startswith("## The four plans\n")
    assert "### best_fit" in shown
    assert "## Document boundaries" not in shown
    assert "pip install ." in whelp("docs", "getting-started#install").text


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["gradient", "accumulation"], "training#batch"),
        (["LoRA"], "coming-from#axolotl-trl-and-other-fine-tuners"),
        (["document", "boundaries"], "packing#document-boundaries"),
        (["checkpoints"], "training#checkpoints"),
        (["quarter of an hour"], "getting-started"),
    ],
)
def test_words_are_found(words: list[str], name: str) -> None:
    """The words of others, and our own: the section that is about them comes first, or close to it."""
    assert name in [section.name for section in package.docs(" ".join(words)).sections[:3]]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("how do I resume?", "training#going-on-exactly"),
        ("resume on another machine", "training#going-on-exactly"),
        ("out of memory", "speed#a-gpu-with-little-memory"),
        ("loss is nan", "troubleshooting#training"),
        ("use two gpus", "training#many-processes"),
        ("my own tokenizer", "vocabularies#by-name"),
        ("stop training early", "training#how-long"),
        ("fine-tune gpt2", "training#starting-from-a-model"),
        ("change the learning rate", "training#learning-rate"),
        ("how long will training take", "training#the-plan"),
        ("training is slow", "troubleshooting#training"),
        ("how much text do I need", "choosing#how-large"),
        ("train a chatbot", "talking#teaching-a-model-to-talk"),
        ("read a PDF", "files#a-folder-of-documents"),
        ("use my own dataset from huggingface", "data#datasets-of-the-hub"),
        ("push to Hugging Face", "sharing"),
        ("combine several datasets", "mixtures"),
        ("remove duplicates", "curating"),
        ("what is a token?", "glossary#text-and-tokens"),
        ("the model repeats itself", "troubleshooting#what-the-model-says"),
        ("disk is full", "troubleshooting#training"),
        ("run on a server with Slurm", "clusters#slurm"),
        ("is my GPU used?", "troubleshooting#installing"),
        ("Jupyter notebook", "python#in-a-notebook"),
    ],
)
def test_a_question_is_answered_first(question: str, name: str) -> None:
    """As people ask it, in their own words: the place that answers comes first."""
    assert package.docs(question).sections[0].name == name


def test_words_that_only_make_a_question_find_something() -> None:
    """Where nothing else was asked."""
    assert package.docs("what is it").sections[0].name == "vocabularies#what-is-it"


def test_what_is_found_stands_below_its_place(whelp: Whelp) -> None:
    """However long it is: all of it is indented, and nothing is lost."""
    lines = whelp("docs", "fast accumulation").text.splitlines()
    sections = package.docs("fast accumulation").sections
    assert max(len(section.text) for section in sections) > 140
    assert max(map(len, lines)) <= 140
    assert [line for line in lines if not line.startswith(("whelp docs ", "    ")) or line != line.rstrip()] == []
    shown = " ".join(" ".join(lines).split())
    assert all(" ".join(section.text.split()) in shown for section in sections)


def test_what_is_found_can_be_shown(whelp: Whelp) -> None:
    """Each place that a search names is one that can be asked for, and holds a word of it."""
    for section in whelp("docs", "loss", "mask", "--json").json["sections"]:
        shown = whelp("docs", section["name"]).text
        assert "mask" in shown.lower(), section["name"]
        assert section["text"] in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [("xylophone", "no page is called so, and none holds these words"), ("packing#no-such", "It has the-four-plans, concat,")],
)
def test_what_is_nowhere_is_said(whelp: Whelp, words: str, said: str) -> None:
    outcome = whelp("docs", words)
    assert outcome.code == 1
    assert said in outcome.said


def test_anchors_are_those_of_the_pages() -> None:
    """Every link within the documentation leads to a section by the name that we give it."""
    linked = [target for text in PAGES.values() for target in re.findall(r"\]\(([a-z-]+)\.md#([a-z0-9_-]+)\)", text)]
    assert len(linked) > 50
    for page, anchor in linked:
        assert anchor in {make_anchor(heading) for heading in re.findall(r"^#+ (.*)$", PAGES[page], re.MULTILINE)}, (
            page,
            anchor,
        )


def test_pages_are_installed() -> None:
    """The wheel takes them along where `whelp docs` looks for them."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "docs" in wheel["only-include"]
    assert wheel["sources"]["docs"] == "whelp/_docs"
