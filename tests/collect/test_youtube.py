"""Transcripts: the right one of each video, one document a video, and a reason where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.errors import ConfigError, SourceError
from whelp.collect.snippets import join_snippets

from .sites import MANNERS, Reply, Site, html_reply, json_reply, serving
from .tube_site import KEY, Tube, api_error, make_tube, video_id

CHANNEL = "UC" + "a" * 22
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "youtube"


@pytest.fixture
def tube() -> Tube:
    """Ten videos."""
    return make_tube()


@pytest.fixture
def site(tube: Tube, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A YouTube that answers, and a key for it."""
    monkeypatch.setenv("YOUTUBE_API_KEY", KEY)
    with serving(tube.answer) as site:
        yield site


def collect(site: Site, out: Path, **asked: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Collect; give the result and the documents of the file."""
    result = whelp.collect_youtube(out=out, api_url=site.url, site_url=site.url, **{**MANNERS, **asked})
    return result, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_a_transcript_with_its_provenance(site: Site, tube: Tube, tmp_path: Path) -> None:
    """Running text, a new paragraph after a pause, and what the API says of the video."""
    tube.licences[video_id(4)] = "creativeCommon"
    _, [document] = collect(site, tmp_path / "x.jsonl", videos=[f"https://www.youtube.com/watch?v={video_id(4)}&t=3"])
    assert document.pop("fetched")
    assert document == {
        "text": "This is talk 4, on dogs & wolves.\n\nThank you.",
        "source": "youtube",
        "title": "Video video-00004",
        "url": "https://www.youtube.com/watch?v=video-00004",
        "id": "video-00004",
        "language": "en",
        "revision": "manual transcript",
        "licence": "CC BY 3.0",
        "author": "Dog Talks",
        "time": "2024-05-06T07:08:09Z",
    }


def test_times_are_kept_where_asked(site: Site, tmp_path: Path) -> None:
    """A line for each snippet."""
    _, [document] = collect(site, tmp_path / "x.jsonl", videos=[video_id(4)], with_times=True)
    assert document["text"] == "[00:00:00] This is talk 4,\n[00:00:02] on dogs & wolves.\n[00:00:12] Thank you."


@pytest.mark.parametrize(
    "channel", [CHANNEL, "@dogtalks", "https://www.youtube.com/@dogtalks/videos", f"youtube.com/channel/{CHANNEL}"]
)
def test_all_uploads_of_a_channel(site: Site, tmp_path: Path, channel: str) -> None:
    """Ten videos in four pages; the channel is asked for once; a video that is in two lists is one document."""
    _, documents = collect(site, tmp_path / "x.jsonl", playlists=["PLfirst"], channels=[channel])
    order = [3, 1, 0, 2, *range(4, 10)]
    assert [document["id"] for document in documents] == [video_id(number) for number in order]
    assert len(site.asked("/youtube/v3/channels")) == 1
    assert len(site.asked("/youtube/v3/playlistItems")) == 1 + 4
    assert len(site.asked("/youtube/v3/videos")) == 1


def test_which_transcript(site: Site, tube: Tube, tmp_path: Path) -> None:
    """Languages in the user's order; in each, what people wrote before what a machine heard."""
    english, german = [(0.0, 1.0, "Hello.")], [(0.0, 1.0, "Guten Tag.")]
    tube.videos = {
        "both-kinds-": [("en", True, [(0.0, 1.0, "hello")]), ("en", False, english)],
        "german-only": [("de", True, german)],
        "german-auto": [("de", True, german), ("en", False, english)],
        "french-only": [("fr", False, [(0.0, 1.0, "Bonjour.")])],
    }
    videos = list(tube.videos)

    def kinds(**asked: Any) -> dict[str, tuple[str, str]]:
        name = "-".join(map(str, asked.values())).replace("/", "")
        _, documents = collect(site, tmp_path / f"{name}.jsonl", videos=videos, **asked)
        return {document["id"]: (document["language"], document["revision"].split()[0]) for document in documents}

    assert kinds(languages=["de", "en"]) == {
        "both-kinds-": ("en", "manual"),
        "german-only": ("de", "automatic"),
        "german-auto": ("de", "automatic"),
    }
    assert kinds(languages=["en", "de"], kind="manual") == {"both-kinds-": ("en", "manual"), "german-auto": ("en", "manual")}
    assert kinds(languages=["en"], kind="automatic") == {"both-kinds-": ("en", "automatic")}


def recorded(name: str, otherwise: Any) -> Any:
    """A recorded answer of the player, where the data are; else one of its form."""
    path = RECORDED / f"player_youtube_{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def test_videos_without_a_transcript(site: Site, tube: Tube, tmp_path: Path) -> None:
    """Each is counted under its reason."""
    login = {"status": "LOGIN_REQUIRED", "reason": "This video may be inappropriate for some users."}
    tube.players = {
        video_id(0): recorded("transcripts_disabled", {"playabilityStatus": {"status": "OK"}}),
        video_id(1): recorded("age_restricted", {"playabilityStatus": login}),
        video_id(2): recorded("unplayable", {"playabilityStatus": {"status": "CUSTOM", "reason": "Custom Reason"}}),
        video_id(3): recorded(
            "video_unavailable", {"playabilityStatus": {"status": "ERROR", "reason": "This video is unavailable"}}
        ),
        video_id(5): {"captions": 7},
    }
    tube.videos[video_id(4)] = [("en", False, [(0.0, 1.0, " ")])]
    tube.videos[video_id(6)] = [("ja", True, [(0.0, 1.0, "こんにちは")])]
    tube.private, tube.live = {video_id(7)}, {video_id(8)}
    result, documents = collect(site, tmp_path / "x.jsonl", channels=[CHANNEL], videos=["too short"], max_retries=1)
    assert [document["id"] for document in documents] == [video_id(9)]
    assert result.skipped == {
        "no id of a video": 1,
        "no transcripts": 1,
        "for adults only": 1,
        "the video cannot be played": 1,
        "no such video": 1,
        "an empty transcript": 1,
        "no transcript in en": 1,
        "no such video, or a private one": 1,
        "not over yet: live or to come": 1,
    }
    assert list(result.failed) == ["the answer is not understood (AttributeError)"]


def test_only_what_may_be_used_again(site: Site, tube: Tube, tmp_path: Path) -> None:
    """Other videos are not even asked for their transcripts."""
    tube.licences = {video_id(2): "creativeCommon"}
    result, documents = collect(site, tmp_path / "x.jsonl", channels=["@dogtalks"], only_creative_commons=True)
    assert [document["id"] for document in documents] == [video_id(2)]
    assert result.skipped == {"not under Creative Commons": 9}
    assert len(site.asked("/watch")) == 1


def test_lists_that_are_not_there(site: Site, tmp_path: Path) -> None:
    """An unknown channel ends; so does a list that leads back into itself."""
    site.faults.append(
        lambda request: (
            json_reply({"items": [{"contentDetails": {"videoId": video_id(1)}}], "nextPageToken": "again"})
            if request.query.get("playlistId") == "PLround"
            else None
        )
    )
    result, documents = collect(site, tmp_path / "x.jsonl", channels=["@nobody"], playlists=["PLnone", "PLround"])
    assert len(documents) == 1
    assert result.skipped == {"list: no such channel, or one without uploads": 1, "list: no such playlist, channel or video": 1}


def test_the_quota_is_used_up(site: Site, tmp_path: Path) -> None:
    """It ends with what to do; the same command goes on the next day with what is left; nothing is asked for twice."""
    out = tmp_path / "x.jsonl"
    error = api_error(403, "quotaExceeded", "The request cannot be completed because you have exceeded your quota.")
    site.faults.append(lambda request: error if request.query.get("pageToken") == "token6" else None)
    with pytest.raises(SourceError, match=r"quota of the day is used up\. It begins anew at midnight, Pacific time"):
        collect(site, out, channels=[CHANNEL])
    assert not out.exists()
    site.faults.clear()
    before = len(site.requests)
    _, documents = collect(site, out, channels=[CHANNEL])
    assert len(documents) == 10
    again = [request.query.get("pageToken") for request in site.requests[before:] if "playlistItems" in request.path]
    assert again == ["token6", "token9"]


def test_the_rate_of_the_api_is_kept(site: Site, tmp_path: Path) -> None:
    """A limit of requests a minute is no limit of the day: it is waited for."""
    site.once(api_error(403, "rateLimitExceeded", "Slow down."), path="/youtube/v3/channels")
    result, documents = collect(site, tmp_path / "x.jsonl", channels=[CHANNEL])
    assert (len(documents), result.num_retries) == (10, 1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429, headers={"Retry-After": "0"}),
        Reply(status=500),
        html_reply("<html>half a pa", cut=3),
        Reply(body=b'{"INNERTUBE_API_KEY": ', cut=2),
    ],
)
def test_faults_of_the_player(site: Site, tmp_path: Path, reply: Reply) -> None:
    """Tried again, by our manners and not by the package's."""
    for path in ("/watch", "/youtubei/v1/player", "/api/timedtext"):
        site.once(reply, path=path)
    result, [document] = collect(site, tmp_path / "x.jsonl", videos=[video_id(1)])
    assert document["text"].startswith("This is talk 1,")
    assert result.num_retries == 3


BLOCKED = {"playabilityStatus": {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you’re not a bot"}}


@pytest.mark.parametrize("how", ["player", "captcha", "429"])
def test_youtube_wants_no_more(site: Site, tube: Tube, tmp_path: Path, how: str) -> None:
    """The first refusal ends it: nine other videos are not asked for, and what was collected is kept."""
    if how == "player":
        tube.players[video_id(1)] = recorded("request_blocked", BLOCKED)
    elif how == "captcha":
        page = html_reply('<html><div class="g-recaptcha"></div></html>')
        site.faults.append(lambda request: page if request.query.get("v") == video_id(1) else None)
    else:
        site.faults.append(lambda request: Reply(status=429) if request.query.get("v") == video_id(1) else None)
    with pytest.raises(SourceError, match=r"what is collected is kept"):
        collect(site, tmp_path / "x.jsonl", channels=[CHANNEL], max_retries=1)
    assert {request.query["v"] for request in site.asked("/watch")} == {video_id(0), video_id(1)}
    result, [document] = collect(site, tmp_path / "x.jsonl", channels=[CHANNEL], finish=True)
    assert document["id"] == video_id(0)
    assert not result.is_finished
    tube.players.clear()
    site.faults.clear()
    result, documents = collect(site, tmp_path / "x.jsonl", channels=[CHANNEL])
    assert (result.is_finished, len(documents)) == (True, 10)
    assert len(site.asked("/watch")) == 2 + 9 + (how == "429")


def test_a_wrong_key(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's words, and where to look; the key is in no file and in no message."""
    monkeypatch.setenv("YOUTUBE_API_KEY", "wrong-key-1234")
    with pytest.raises(SourceError, match=r"it answers 400: API key not valid.*Check the key in YOUTUBE_API_KEY") as caught:
        collect(site, tmp_path / "x.jsonl", channels=[CHANNEL])
    assert "wrong-key" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if b"wrong-key" in path.read_bytes()]


def test_without_a_key(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos that are named can be had; what needs the API is said at once."""
    monkeypatch.delenv("YOUTUBE_API_KEY")
    _, [document] = collect(site, tmp_path / "x.jsonl", videos=[f"https://youtu.be/{video_id(1)}"])
    assert (document["id"], document["title"], document["licence"]) == (video_id(1), None, None)
    assert not [request for request in site.requests if request.path.startswith("/youtube/v3")]
    with pytest.raises(ConfigError, match="YOUTUBE_API_KEY is not set"):
        collect(site, tmp_path / "y.jsonl", channels=[CHANNEL])


@pytest.mark.parametrize(
    ("snippets", "text"),
    [
        ([], ""),
        ([(0, 1, " "), (1, 1, "a")], "a"),
        ([(0, 5, "one"), (2, 5, "two"), (4, 5, "three")], "one two three"),
        ([(0, 1, "one"), (5.1, 1, "two")], "one\n\ntwo"),
        ([(0, 1, "one\n  two\xa0three")], "one two three"),
    ],
)
def test_joining_snippets(snippets: list[tuple[float, float, str]], text: str) -> None:
    """Snippets that overlap are no pauses."""
    assert join_snippets(snippets) == text


@pytest.mark.skipif(not RECORDED.is_dir(), reason="needs ../shared/data/youtube: recorded answers of YouTube")
def test_recorded_answers_of_youtube(site: Site, tube: Tube, tmp_path: Path) -> None:
    """A real list of tracks and a transcript in the real form: escaped tags go, empty snippets too."""
    player = json.loads((RECORDED / "player_youtube.json").read_text(encoding="utf-8"))
    tube.videos["GJLlxj_dtq8"], tube.players["GJLlxj_dtq8"] = [], player
    transcript = Reply(body=(RECORDED / "transcript_srv1.xml").read_bytes(), headers={"Content-Type": "text/xml"})
    site.always(transcript, "/api/timedtext")
    _, [document] = collect(site, tmp_path / "x.jsonl", videos=["GJLlxj_dtq8"], languages=["de", "en"])
    assert document["language"] in ("de", "en")
    assert document["text"] == (
        "Hey, this is just a test this is not the original transcript just something shorter, I made up for testing"
    )
