"""Transcripts of videos on YouTube, one document a video.

Which videos there are, and what they are, says the Data API v3 (https://developers.google.com/youtube/v3/docs) with the user's
own key: 50 videos cost about two of the 10,000 units of a day. The transcripts come from the player's interface.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, get_args
from urllib.parse import parse_qs, urlencode, urlsplit

from whelp.base.errors import ConfigError, SourceError
from whelp.collect.addresses import host_of
from whelp.collect.answers import Answer, Busy, HostRefusesError, NotFetched, read_json_object, read_retry_after
from whelp.collect.document import Document
from whelp.collect.gather import Asking, Found, Item, NotFound, list_problem
from whelp.collect.snippets import join_snippets
from whelp.collect.transcripts import SITE, Kind, Transcripts

API = "https://www.googleapis.com"
KEY_NAME = "YOUTUBE_API_KEY"
_BATCH = 50  # the most that the API gives at once
_LICENCES = {"creativeCommon": "CC BY 3.0", "youtube": "YouTube standard licence"}
_QUOTA = {"quotaExceeded", "dailyLimitExceeded"}
_RATE = {"rateLimitExceeded", "userRateLimitExceeded", "backendError", "internalError"}
_NOT_THERE = {"playlistNotFound", "channelNotFound", "videoNotFound", "notFound", "playlistItemsNotAccessible"}


@dataclass(frozen=True, kw_only=True)
class YouTube:
    """Finds videos and reads their transcripts.

    Args:
        videos: Ids or addresses of videos.
        playlists: Ids or addresses of playlists.
        channels: Ids, handles (`@name`) or addresses of channels: all of their uploads.
        languages: In order of preference.
        kind: `any` (manual before automatic), `manual` or `automatic`.
        with_times: A line for each snippet, with its time; else running text.
        only_creative_commons: Only videos that may be used again.
        api_url: Another server that answers as the Data API.
        site_url: Another server that answers as YouTube.
        key: Of the Data API. Without one, only videos can be asked for, and only their transcripts are known.

    Raises:
        ConfigError: When nothing is asked for, or a key is needed.
    """

    source: ClassVar[str] = "youtube"
    is_of_many_hosts: ClassVar[bool] = False

    videos: Sequence[str] = ()
    playlists: Sequence[str] = ()
    channels: Sequence[str] = ()
    languages: Sequence[str] = ("en",)
    kind: Kind = "any"
    with_times: bool = False
    only_creative_commons: bool = False
    api_url: str | None = None
    site_url: str | None = None
    key: str | None = field(default_factory=lambda: os.environ.get(KEY_NAME) or None, repr=False)

    def __post_init__(self) -> None:
        problems, next_step = [], "`whelp collect youtube --help` shows examples."
        if not (self.videos or self.playlists or self.channels):
            problems.append("nothing is asked for: give videos, playlists or channels")
        has_lists = bool(self.playlists or self.channels)
        if self.videos and not has_lists and not any(len(find_id(video, "v")) == 11 for video in self.videos):
            problems.append(f"{self.videos[0]!r} is no video: give its address, or the 11 letters of its id")
        if self.key is None and (has_lists or self.only_creative_commons):
            problems.append(
                f"{KEY_NAME} is not set, and only videos that are named can be collected without a key of the Data API"
            )
            next_step = "A key is free: https://developers.google.com/youtube/v3/getting-started"
        if self.kind not in get_args(Kind):
            problems.append(f"kind is {self.kind!r}, but any, manual or automatic is expected")
        if not self.languages:
            problems.append("languages is empty: give at least one, such as en")
        if problems:
            raise ConfigError("whelp collect youtube", problems, next_step)

    @property
    def api(self) -> str:
        """Where the Data API is."""
        return self.api_url or API

    @property
    def site(self) -> str:
        """Where the player's interface is."""
        return self.site_url or SITE

    @property
    def hosts(self) -> list[str]:
        """The player's, and with a key the API's."""
        return [host_of(self.site), *([] if self.key is None else [host_of(self.api)])]

    @property
    def asked(self) -> dict[str, Any]:
        """All but the key: no journal holds it."""
        asked = asdict(self) | {"api_url": self.api, "site_url": self.site}
        del asked["key"]
        return asked

    @property
    def notes(self) -> list[str]:
        """What YouTube says about programs, and what stays unknown without a key."""
        notes = [
            "Transcripts come from the interface of YouTube's player. It is not offered to programs: YouTube's terms "
            "(https://www.youtube.com/t/terms) ask for permission, and its robots.txt closes it to crawlers. Collect what you may use.",
        ]
        if self.key is None:
            notes.append(f"Without {KEY_NAME} titles, channels, dates and licences stay unknown.")
        return notes

    def iter_items(self, asking: Asking) -> Iterator[Item | NotFound]:
        """Videos first, then playlists, then channels; what they are is asked for 50 at a time."""
        waiting: list[str] = []
        for entry in self._iter_ids(asking):
            if isinstance(entry, NotFound):
                yield entry
                continue
            waiting.append(entry)
            if len(waiting) == _BATCH:
                yield from self._describe(waiting, asking)
                waiting = []
        if waiting:
            yield from self._describe(waiting, asking)

    def read(self, item: Item, asking: Asking) -> Found:
        """Read the transcript of one video."""
        video = str(item.values["id"])
        transcript = Transcripts(asking.client, self.site).fetch(video, self.languages, self.kind)
        text = join_snippets(transcript.snippets, with_times=self.with_times)
        if not text:
            raise NotFetched("an empty transcript", is_final=True)
        document = Document(
            text=text,
            source="youtube",
            title=item.values.get("title"),
            url=f"{SITE}/watch?v={video}",
            id=video,
            language=transcript.language,
            revision="automatic transcript" if transcript.is_automatic else "manual transcript",
            licence=item.values.get("licence"),
            author=item.values.get("channel"),
            time=item.values.get("published"),
        )
        return Found(document=document, key=video)

    def _iter_ids(self, asking: Asking) -> Iterator[str | NotFound]:
        for text in self.videos:
            video = find_id(text, "v")
            yield video if len(video) == 11 else NotFound(f"video {text}", text, "no id of a video")
        for text in self.playlists:
            yield from self._iter_playlist(find_id(text, "list"), text, asking)
        for text in self.channels:
            yield from self._iter_channel(text, asking)

    def _iter_channel(self, text: str, asking: Asking) -> Iterator[str | NotFound]:
        name = find_id(text, "")
        which = {"id": name} if name.startswith("UC") and len(name) == 24 else {"forHandle": f"@{name.removeprefix('@')}"}
        url = self._address("channels", part="contentDetails", maxResults=1, **which)
        try:
            found = self._ask(url, asking).get("items", [])
        except NotFetched as problem:
            yield list_problem(url, text, problem)
            return
        uploads = found[0].get("contentDetails", {}).get("relatedPlaylists", {}).get("uploads") if found else None
        if not uploads:
            yield NotFound(f"list {text}", text, "list: no such channel, or one without uploads")
            return
        yield from self._iter_playlist(uploads, text, asking)

    def _iter_playlist(self, playlist: str, name: str, asking: Asking) -> Iterator[str | NotFound]:
        token: str | None = ""
        seen = {token}
        while token is not None:
            more = {"pageToken": token} if token else {}
            url = self._address("playlistItems", part="contentDetails", maxResults=_BATCH, playlistId=playlist, **more)
            try:
                answer = self._ask(url, asking)
            except NotFetched as problem:
                yield list_problem(url, name, problem)
                return
            for entry in answer.get("items", []):
                yield entry["contentDetails"]["videoId"]
            token = answer.get("nextPageToken")
            if token in seen:  # a list that leads back into itself has no end
                return
            seen.add(token)

    def _describe(self, videos: Sequence[str], asking: Asking) -> Iterator[Item | NotFound]:
        """Say what videos are; without a key, that is not known."""
        if self.key is None:
            yield from (Item(key=f"video {video}", name=video, values={"id": video}) for video in videos)
            return
        url = self._address("videos", part="snippet,status", id=",".join(videos), maxResults=_BATCH)
        try:
            found = {entry["id"]: entry for entry in self._ask(url, asking).get("items", [])}
        except NotFetched as problem:
            yield list_problem(url, f"{len(videos)} videos", problem)
            return
        for video in videos:
            entry = found.get(video)
            snippet, status = (entry or {}).get("snippet", {}), (entry or {}).get("status", {})
            if entry is None:
                yield NotFound(f"video {video}", video, "no such video, or a private one")
            elif self.only_creative_commons and status.get("license") != "creativeCommon":
                yield NotFound(f"video {video}", snippet.get("title", video), "not under Creative Commons")
            elif snippet.get("liveBroadcastContent", "none") != "none":
                yield NotFound(
                    f"video {video}",
                    snippet.get("title", video),
                    "not over yet: live or to come",
                    is_final=False,
                    is_refused=True,
                )
            else:
                values = {
                    "id": video,
                    "title": snippet.get("title"),
                    "channel": snippet.get("channelTitle"),
                    "published": snippet.get("publishedAt"),
                    "licence": _LICENCES.get(status.get("license", "")),
                }
                yield Item(key=f"video {video}", name=snippet.get("title") or video, values=values)

    def _ask(self, url: str, asking: Asking) -> Any:
        headers = {"X-Goog-Api-Key": self.key or ""}  # in a header, so that no journal and no log holds it
        return asking.list(url, look=check_api, obey_robots=False, headers=headers).json()

    def _address(self, what: str, **parameters: Any) -> str:
        return f"{self.api.rstrip('/')}/youtube/v3/{what}?{urlencode(parameters, errors='replace')}"


def check_api(answer: Answer) -> None:
    """Sort out the errors of the Data API: those of a key, of a quota, of a rate, and of what is not there."""
    if answer.status in (200, 304):
        if answer.status == 200:
            read_json_object(answer)
        return
    if answer.status >= 500:
        return
    error = read_json_object(answer).get("error", {})
    details = error.get("errors") or [{}]
    reason = str(details[0].get("reason", ""))
    if reason in _QUOTA:
        raise HostRefusesError(
            "YouTube Data API",
            "the key's quota of the day is used up",
            "",
            "It begins anew at midnight, Pacific time: run the same command then. What is collected is kept.",
        )
    if reason in _RATE:
        raise Busy(f"the API is busy ({reason})", read_retry_after(answer.headers.get("retry-after")))
    if reason in _NOT_THERE:
        raise NotFetched("no such playlist, channel or video", is_final=True)
    if answer.status in (400, 401, 403):
        message = str(error.get("message", reason))
        raise SourceError("YouTube Data API", f"it answers {answer.status}: {message}", "", f"Check the key in {KEY_NAME}.")


def find_id(text: str, parameter: str) -> str:
    """Find an id in an address of YouTube, or take it as it is.

    >>> find_id("https://www.youtube.com/watch?v=GJLlxj_dtq8&t=5", "v"), find_id("https://youtu.be/GJLlxj_dtq8", "v")
    ('GJLlxj_dtq8', 'GJLlxj_dtq8')
    >>> find_id("https://www.youtube.com/@somebody/videos", ""), find_id("UC_x5XG1OV2P6uZZ5FSM9Ttw", "")
    ('@somebody', 'UC_x5XG1OV2P6uZZ5FSM9Ttw')
    """
    text = text.strip()
    if "/" not in text:
        return text
    parts = urlsplit(text if "://" in text else f"https://{text}")
    named = parse_qs(parts.query).get(parameter)
    if named:
        return named[0]
    steps = [step for step in parts.path.split("/") if step]
    if steps and steps[0] in ("channel", "shorts", "live", "embed", "c", "user"):
        steps = steps[1:]
    return steps[0] if steps else text
