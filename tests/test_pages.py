"""What pages say of the product that a change of it would make untrue: messages, commands, recipes, pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from whelp.base.config import list_names
from whelp.cli.main import app
from whelp.cli.recipe import Recipe, find_recipe, load_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md")]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
RUN_OF_WORDS = re.compile(r"[A-Za-z][A-Za-z'-]*(?: [A-Za-z][A-Za-z'-]*)*")


def list_commands(group: object, path: str) -> set[str]:
    """The words of every command, as `whelp corpus report`."""
    found = set()
    for name, command in getattr(group, "commands", {}).items():
        found |= {f"{path} {name}"} | list_commands(command, f"{path} {name}")
    return found


def test_messages_to_look_up_are_messages() -> None:
    """Of each message in the tables of troubleshooting.md, a run of words is in the code: one that went away is not to be looked up."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## Text and rows")[2]
    joined = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    source = re.sub(r'"\s+f?"', "", joined)
    messages = [
        message
        for row in re.findall(r"^\| (`.*?`) \| ", page, re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", row)
        if len(message.split()) > 2
    ]
    assert len(messages) > 20
    runs = {message: RUN_OF_WORDS.findall(message.replace("but expected", "|").replace(" is nan", "")) for message in messages}
    assert [message for message in messages if not any(" " in words and words in source for words in runs[message])] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_blocks_exist(page: Path) -> None:
    """Every `whelp ...` in a block of commands is a command that there is."""
    known = list_commands(typer.main.get_command(app), "whelp")
    groups = {name.rpartition(" ")[0] for name in known if name.count(" ") > 1}
    for kind, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind not in {"bash", "sh", "console"}:
            continue
        for line in block.splitlines():
            found = re.match(r"^(?:\$ )?whelp ([a-z-]+)(?: ([a-z-]+))?", line)
            if found is None or found.group(1).startswith("-"):
                continue
            first, second = found.groups()
            command = f"whelp {first} {second}" if f"whelp {first}" in groups else f"whelp {first}"
            assert command in known, line


def test_recipes_are_told_of() -> None:
    """Every shipped recipe is on its page; every recipe that a page prepares is a file or is shipped."""
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    shipped = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert {name for name in shipped if f"`{name}`" not in page} == set()
    for path in PAGES:
        for name in re.findall(r"^whelp prepare ([a-z0-9-]+) ", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert find_recipe(name).is_file(), (path.name, name)


def test_pictures_are_used() -> None:
    """No picture lies in docs/images that no page shows."""
    pages = "".join(path.read_text(encoding="utf-8") for path in [*PAGES, *DOCS.glob("transcripts/*.md"), ROOT / "mkdocs.yml"])
    assert [path.name for path in sorted((DOCS / "images").iterdir()) if f"images/{path.name}" not in pages] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Links of the pages that mkdocs does not see: to a file that is there, to a heading that it has."""
    page = ROOT / name
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = page.parent / path if path else page
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if anchor and file.is_file() else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        if not file.exists() or (anchor and anchor not in slugs):
            wrong.append(target)
    assert wrong == []


def test_block_of_the_readme_is_of_the_transcript() -> None:
    """The shortened demo says what the transcript says: each of its lines is there."""
    shown = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- demo -->")[2])[0][1]
    transcript = (DOCS / "transcripts" / "demo.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in shown.splitlines() if line not in transcript and line != "..."] == []


def test_commands_of_python_are_callable() -> None:
    """Every `whelp.NAME(` of the pages is a public name."""
    import whelp

    calls = {
        call
        for path in PAGES
        for _, block in FENCE.findall(path.read_text(encoding="utf-8"))
        for call in re.findall(r"\bwhelp\.([a-z_]+)\(", block)
    }
    assert len(calls) > 15
    assert sorted(call for call in calls if not callable(getattr(whelp, call, None))) == []


def test_words_of_the_shell_are_whole() -> None:
    """Blocks for bash can be pasted: their quotes are closed."""
    for page in PAGES:
        for kind, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if kind == "bash" and "#!/bin/bash" not in block:
                shlex.split(block, comments=True)


def test_readme_leads_to_every_page() -> None:
    """Its list of documentation has every page, so nothing after the demo was lost when the demo was written anew."""
    list_of_pages = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Documentation")[2]
    begins_elsewhere = {"index", "infctx", "roadmap", "vocabulary-walkthrough"}
    pages = sorted(path.stem for path in DOCS.glob("*.md") if path.stem not in begins_elsewhere)
    assert [name for name in pages if f"(docs/{name}.md)" not in list_of_pages] == []


def test_options_of_coming_from_are_there() -> None:
    """Every option that the page for users of other trainers names is one of a recipe, and its recipe loads."""
    text = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    options = {place for places in list_names(Recipe).values() for place in places}
    ours = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and line.count("|") >= 3]
    named = {name for cell in ours for name in re.findall(r"\b((?:data|pack|model|train)\.[a-z_0-9]+)", cell)}
    assert len(named) > 40
    assert named - {"train.bin", "data.md"} <= options
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert load_recipe(yaml.safe_load(recipe)).model.n_embd == 768
