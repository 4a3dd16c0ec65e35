"""docs/vocabulary-walkthrough.md: its commands run, and what they print has the shape and says what the page shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from .helpers import Outcome, run_whelp

PAGE = Path(__file__).parents[2] / "docs" / "vocabulary-walkthrough.md"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "tokenizers"
BLOCK = re.compile(r"```(bash|text)\n(.*?)```", re.DOTALL)
RULE = re.compile(r"^─+$", re.MULTILINE)
CHANGING = ("the most frequent words",)  # which rows there are depends on the Python library


HAS_GPT2 = (SHARED / "gpt2").is_dir()  # OpenAI's encoder.json and vocab.bpe; without them the page works without gpt2

Walk = tuple[list[tuple[str, str, Outcome]], Path]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Every command of the page, in order, in an empty folder: its words, the blocks shown after it, its outcome."""
    folder = tmp_path_factory.mktemp("walk")
    steps: list[tuple[str, list[str], Outcome]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WHELP_TOKENIZERS", str(SHARED))
        for kind, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
            if kind == "text":
                steps[-1][1].append(content)
                continue
            for command in content.splitlines():
                words = shlex.split(command)
                assert words.pop(0) == "whelp", command
                outcome = run_whelp(*(word for word in words if HAS_GPT2 or word != "gpt2"))
                assert outcome.code == 0, outcome.stderr
                steps.append((command, [], outcome))
    return [(command, "\n".join(blocks), outcome) for command, blocks, outcome in steps], folder


def read_tables(text: str) -> dict[str, list[list[str]]]:
    """Tables by their title (a table without one: its head): the cells of the head and of each row, digits as #."""
    tables = {}
    lines = [line.rstrip() for line in text.splitlines()]
    for index, line in enumerate(lines):
        if not RULE.match(line):
            continue
        title = lines[index - 2] if index >= 2 and lines[index - 2] else lines[index - 1]
        end = lines.index("", index) if "" in lines[index:] else len(lines)
        head, *rows = (re.split(r" {2,}", line.strip()) for line in [lines[index - 1], *lines[index + 1 : end]])
        tables[title.strip()] = [head, *([re.sub(r"[\d,.]+", "#", cell) for cell in row] for row in rows)]
    return tables


def test_tables_are_as_shown(walk: Walk) -> None:
    """The titles, heads, names of rows and numbers of columns."""
    num_tables = 0
    for command, shown, outcome in walk[0]:
        printed = read_tables(outcome.text) if "--json" not in command else {}
        for title, expected in read_tables(shown).items():
            found = printed[title]
            num_left_out = int("gpt2" in expected[0] and not HAS_GPT2)
            assert [cell for cell in expected[0] if HAS_GPT2 or cell != "gpt2"] == found[0]
            if not title.startswith(CHANGING):
                assert [row[0] for row in expected[1:]] == [row[0] for row in found[1:]], title
            assert {len(row) - num_left_out for row in expected} >= {len(row) for row in found}
            num_tables += 1
    assert num_tables == 7


def test_what_the_page_says(walk: Walk) -> None:
    """Indents cost nothing any more, keywords are found, more text goes into a token; GPT-2 spends a token on each space."""
    found = next(json.loads(outcome.text) for command, _, outcome in walk[0] if "--json" in command)
    by_name = {one["name"]: one for one in found["vocabularies"]}
    assert list(by_name) == [name for name in ("gpt2", "code-2500", "code-5120") if HAS_GPT2 or name != "gpt2"]
    small, large = by_name["code-2500"], by_name["code-5120"]
    assert large["use"]["total"]["bytes_per_token"] > small["use"]["total"]["bytes_per_token"] > 2.8
    for one in (small, large):
        assert [one["indents"]["spaces_in_code"][length - 1] for length in (4, 8, 12)] == [0, 0, 0]
        assert one["use"]["num_kept"] == one["use"]["num_sampled"] > 0
    for name in ("Python keywords", "Python built-ins"):
        assert len(large["keywords"][name]["missing"]) <= len(small["keywords"][name]["missing"])
        assert large["keywords"][name]["alone"] > small["keywords"][name]["alone"]
    assert "elif" not in small["keywords"]["Python keywords"]["missing"]
    if "gpt2" in by_name:
        gpt2 = by_name["gpt2"]
        assert gpt2["indents"]["spaces"] == list(range(1, 17))
        assert gpt2["use"]["total"]["bytes_per_token"] < small["use"]["total"]["bytes_per_token"]
        assert gpt2["use"]["total"]["tokens_per_word"] < large["use"]["total"]["tokens_per_word"]
        assert gpt2["use"]["never_used_share"] > 0.6
        assert {"elif", "nonlocal"} <= set(gpt2["keywords"]["Python keywords"]["missing"])


def test_pages_json_and_the_size(walk: Walk) -> None:
    """The two pages are there, the JSON is one, and the least computation lies between the smallest and the largest size."""
    steps, folder = walk
    assert (folder / "vocabularies.html").is_file()
    assert (folder / "sizes.html").is_file()
    groups = json.loads(steps[3][2].text)["vocabularies"][0]["use"]["groups"]
    assert [group["name"] for group in groups] == [".py"]
    rows = [row for title, table in read_tables(steps[4][2].text).items() for row in table if title.startswith("ids")]
    marks = [row[8] for row in rows[1:]]
    assert marks.count("least") == 1
    assert marks[0].startswith("+")
    assert marks[-1].startswith("+")
