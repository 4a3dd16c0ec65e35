"""Answers of another form than any that was seen: counted or said, never a traceback, never a loop without end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.errors import SourceError

from .sites import MANNERS, Answers, Reply, Request, json_reply, serving
from .tube_site import KEY, make_tube, video_id
from .wiki_site import make_wiki

VALUES: list[Any] = [None, 7, "\ud800", {}, [{}]]
PLACES = range(10)


def spoil(answers: Answers, place: int, value: Any) -> Answers:
    """Put a value in place of a part of each JSON answer: its parts are numbered from the outside in."""

    def answer(request: Request) -> Reply:
        reply = answers(request)
        try:
            whole = {"whole": json.loads(reply.body)}
        except ValueError:
            return reply
        parts: list[tuple[Any, Any]] = [(whole, "whole")]
        for holder, key in parts:  # grows meanwhile
            inner = holder[key]
            parts += [
                (inner, name)
                for name in (inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ())
            ]
        holder, key = parts[min(place, len(parts) - 1)]
        holder[key] = value
        return json_reply(whole["whole"], status=reply.status)

    return answer


def check(call: str, out: Path, **asked: Any) -> None:
    """Collect; either there is a file of good documents, or a message."""
    try:
        result = getattr(whelp, call)(out=out, **{**MANNERS, "max_retries": 0}, **asked)
    except SourceError as error:
        assert error.found  # noqa: PT017 (either end is good)
        return
    documents = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(documents) == result.num_documents
    for document in documents:
        assert document["text"]
        assert {type(value) for value in document.values()} <= {str, type(None)}


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_wiki_that_answers_oddly(value: Any, tmp_path: Path) -> None:
    """A value in each of the first places of each answer."""
    for place in PLACES:
        with serving(spoil(make_wiki(3).answer, place, value)) as site:
            asked = {"search": ["odd"], "categories": ["Threes"], "links_of": ["Number 1"], "base_url": site.url}
            check("collect_wikipedia", tmp_path / f"{place}.jsonl", **asked)
            assert len(site.requests) < 40


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_youtube_that_answers_oddly(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value in each of the first places of each answer."""
    monkeypatch.setenv("YOUTUBE_API_KEY", KEY)
    for place in PLACES:
        with serving(spoil(make_tube(2).answer, place, value)) as site:
            asked = {"videos": [video_id(0)], "channels": ["@dogtalks"], "api_url": site.url, "site_url": site.url}
            check("collect_youtube", tmp_path / f"{place}.jsonl", **asked)
            assert len(site.requests) < 40


def test_halves_of_characters(tmp_path: Path) -> None:
    """What no file can hold is replaced: in texts, in titles, in what is asked for."""
    wiki = make_wiki(2)
    wiki.articles["Half \ud800"] = "A half \udfff is odd."
    with serving(wiki.answer) as site:
        out = tmp_path / "x.jsonl"
        asked = {"search": ["odd"], "titles": ["\udcff"], "base_url": site.url}
        result = whelp.collect_wikipedia(out=out, **MANNERS, **asked)
        assert result.skipped == {"no such article": 1}
        assert [json.loads(line)["title"] for line in out.read_text(encoding="utf-8").splitlines()] == ["Number 1", "Half ?"]
        assert whelp.collect_wikipedia(out=out, **MANNERS, **asked).num_requests == 0
