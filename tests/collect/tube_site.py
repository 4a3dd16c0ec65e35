"""A YouTube that answers as the Data API v3 and as the player's interface do."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .sites import Reply, Request, html_reply, json_reply

KEY = "a key of these tests"
PAGE_SIZE = 3  # small, so that lists have many pages
Track = tuple[str, bool, list[tuple[float, float, str]]]  # language, whether a machine wrote it, snippets


@dataclass
class Tube:
    """Its videos.

    Attributes:
        videos: Id -> tracks; none means that transcripts are disabled.
        titles: Id -> title, where it is not `Video <id>`.
        licences: Id -> licence, where it is not `youtube`.
        live: Videos that are not over.
        private: Videos that the API does not show.
        players: Id -> what the player answers instead.
        playlists: Id -> ids.
        channels: Id -> (handle, uploads playlist).
    """

    videos: dict[str, list[Track]] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    players: dict[str, Any] = field(default_factory=dict)
    playlists: dict[str, list[str]] = field(default_factory=dict)
    channels: dict[str, tuple[str, str]] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """Answer as one of the two hosts."""
        if request.path.startswith("/youtube/v3/"):
            if request.headers.get("x-goog-api-key") != KEY:
                return api_error(400, "badRequest", "API key not valid. Please pass a valid API key.")
            assert "key" not in request.query, "a key in an address ends up in logs"
            return getattr(self, f"_api_{request.path.rpartition('/')[2].lower()}")(request.query)
        if request.path == "/watch":
            return html_reply('<html><script>{"INNERTUBE_API_KEY": "abc-DEF_1"}</script></html>')
        if request.path == "/youtubei/v1/player" and request.method == "POST":
            return json_reply(self._play(json.loads(request.body)["videoId"]))
        if request.path == "/api/timedtext":
            return self._transcript(request.query)
        return Reply(status=404)

    def _api_channels(self, query: dict[str, str]) -> Reply:
        found = [
            {"id": channel, "contentDetails": {"relatedPlaylists": {"uploads": uploads}}}
            for channel, (handle, uploads) in self.channels.items()
            if query.get("id") == channel or query.get("forHandle") == handle
        ]
        return json_reply({"pageInfo": {"totalResults": len(found)}, **({"items": found} if found else {})})

    def _api_playlistitems(self, query: dict[str, str]) -> Reply:
        assert int(query["maxResults"]) <= 50
        videos = self.playlists.get(query["playlistId"])
        if videos is None:
            return api_error(404, "playlistNotFound", "The playlist cannot be found.")
        start = int(query.get("pageToken", "token0").removeprefix("token"))
        value: dict[str, Any] = {
            "items": [{"contentDetails": {"videoId": video}} for video in videos[start : start + PAGE_SIZE]],
            "pageInfo": {"totalResults": len(videos), "resultsPerPage": PAGE_SIZE},
        }
        if start + PAGE_SIZE < len(videos):
            value["nextPageToken"] = f"token{start + PAGE_SIZE}"
        return json_reply(value)

    def _api_videos(self, query: dict[str, str]) -> Reply:
        wanted = query["id"].split(",")
        assert len(wanted) <= 50
        items = [
            {
                "id": video,
                "snippet": {
                    "title": f"Video {video}",
                    "channelTitle": "Dog Talks",
                    "publishedAt": "2024-05-06T07:08:09Z",
                    "liveBroadcastContent": "live" if video in self.live else "none",
                },
                "status": {"license": self.licences.get(video, "youtube")},
            }
            for video in wanted
            if video in self.videos and video not in self.private
        ]
        return json_reply({"items": items})

    def _play(self, video: str) -> Any:
        if video in self.players:
            return self.players[video]
        if video not in self.videos:
            return {"playabilityStatus": {"status": "ERROR", "reason": "This video is unavailable"}}
        tracks = [
            {
                "baseUrl": f"https://www.youtube.com/api/timedtext?v={video}&lang={language}&kind={'asr' if is_automatic else ''}"
                "&fmt=srv3",
                "name": {"runs": [{"text": language}]},
                "languageCode": language,
                "isTranslatable": True,
                **({"kind": "asr"} if is_automatic else {}),
            }
            for language, is_automatic, _ in self.videos[video]
        ]
        value: dict[str, Any] = {"playabilityStatus": {"status": "OK"}}
        if tracks:
            value["captions"] = {"playerCaptionsTracklistRenderer": {"captionTracks": tracks, "translationLanguages": []}}
        return value

    def _transcript(self, query: dict[str, str]) -> Reply:
        for language, is_automatic, snippets in self.videos[query["v"]]:
            if language == query["lang"] and is_automatic == (query["kind"] == "asr"):
                lines = "".join(
                    f'<text start="{start}" dur="{seconds}">{escape(escape(text, quote=False))}</text>'
                    for start, seconds, text in snippets
                )
                text = f'<?xml version="1.0" encoding="utf-8" ?><transcript>{lines}</transcript>'
                return Reply(body=text.encode(), headers={"Content-Type": "text/xml; charset=UTF-8"})
        return Reply(status=404)


def api_error(status: int, reason: str, message: str) -> Reply:
    """An error as the Data API writes it."""
    errors = [{"message": message, "domain": "youtube", "reason": reason}]
    return json_reply({"error": {"code": status, "message": message, "errors": errors}}, status=status)


def video_id(number: int) -> str:
    """Eleven characters.   7 -> 'video-00007'"""
    return f"video-{number:05}"


def make_tube(num_videos: int = 10) -> Tube:
    """Videos of one channel, each with an English transcript that people wrote."""
    tube = Tube()
    for number in range(num_videos):
        said = [(0.0, 2.0, f"This is talk {number},"), (2.0, 3.0, "on dogs & wolves."), (12.0, 1.0, "Thank you.")]
        tube.videos[video_id(number)] = [("en", False, said)]
    tube.channels = {"UC" + "a" * 22: ("@dogtalks", "UU" + "a" * 22)}
    tube.playlists = {"UU" + "a" * 22: list(tube.videos), "PLfirst": [video_id(3), video_id(1)]}
    return tube
