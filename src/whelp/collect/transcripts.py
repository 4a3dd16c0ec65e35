"""Transcripts as YouTube's player gets them, through the package youtube-transcript-api.

The package speaks through `requests`; an adapter hands each of its requests to our client, so that rate, retries and limits
are those of all collectors.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import requests
from requests.adapters import BaseAdapter
from youtube_transcript_api import YouTubeTranscriptApi
from youtube_transcript_api import _errors as errors

from whelp.collect.answers import HostRefusesError, NotFetched
from whelp.collect.client import Client

if TYPE_CHECKING:
    from youtube_transcript_api import FetchedTranscript

SITE = "https://www.youtube.com"
Kind = Literal["any", "manual", "automatic"]
_FINAL = {
    errors.TranscriptsDisabled: "no transcripts",
    errors.VideoUnavailable: "no such video",
    errors.InvalidVideoId: "no such video",
    errors.AgeRestricted: "for adults only",
    errors.VideoUnplayable: "the video cannot be played",
}


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What is said in a video.

    Attributes:
        snippets: Start and length in seconds, text.
        language: Its code.
        is_automatic: Whether a machine has listened.
    """

    snippets: Sequence[tuple[float, float, str]]
    language: str
    is_automatic: bool


class Transcripts:
    """Asks for transcripts.

    Args:
        client: Asks hosts.
        site_url: Where YouTube is.
    """

    def __init__(self, client: Client, site_url: str = SITE) -> None:
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", _Adapter(client, site_url))
        session.mount("http://", _Adapter(client, site_url))
        self._api = YouTubeTranscriptApi(http_client=session)

    def fetch(self, video: str, languages: Sequence[str], kind: Kind = "any") -> Transcript:
        """Ask for the transcript in the first language that has one; one that people wrote comes before a machine's.

        Raises:
            NotFetched: When there is none.
            HostRefusesError: When YouTube wants no more requests from here.
        """
        try:
            listed = self._api.list(video)
            find = {
                "any": listed.find_transcript,
                "manual": listed.find_manually_created_transcript,
                "automatic": listed.find_generated_transcript,
            }[kind]
            found: FetchedTranscript = find(languages).fetch()
        except errors.RequestBlocked as error:
            raise HostRefusesError(
                urlsplit(SITE).netloc,
                "YouTube takes these requests for those of a bot",
                "",
                "Run the same command again in some hours, with a longer --delay-seconds; what is collected is kept.",
            ) from error
        except errors.NoTranscriptFound as error:
            what = "transcript" if kind == "any" else f"{kind} transcript"
            raise NotFetched(f"no {what} in {', '.join(languages)}", is_final=True) from error
        except errors.YouTubeTranscriptApiException as error:
            for sort, reason in _FINAL.items():
                if isinstance(error, sort):
                    raise NotFetched(reason, is_final=True) from error
            raise NotFetched(f"the answer is not understood ({type(error).__name__})", is_final=False) from error
        except ParseError as error:
            raise NotFetched("the answer is not understood (ParseError)", is_final=False) from error
        snippets = [(snippet.start, snippet.duration, html.unescape(snippet.text)) for snippet in found]
        return Transcript(snippets=snippets, language=found.language_code, is_automatic=found.is_generated)


class _Adapter(BaseAdapter):
    """Answers the requests of a `requests.Session` through our client."""

    def __init__(self, client: Client, site_url: str) -> None:
        super().__init__()
        self._client, self._site_url = client, site_url.rstrip("/")

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Ask; only for addresses of YouTube."""
        url = str(request.url)
        if not url.startswith(f"{SITE}/"):
            raise NotFetched("leads to a host that was not asked for", is_final=False)
        names = ("accept-language", "content-type", "cookie")
        headers = {name: str(request.headers[name]) for name in names if name in request.headers}
        body = request.body.encode() if isinstance(request.body, str) else request.body or None
        assert body is None or isinstance(body, bytes), type(body)
        answer = self._client.fetch(
            self._site_url + url.removeprefix(SITE),
            content=body if request.method == "POST" else None,
            headers=headers,
            obey_robots=False,
        )
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status, url, request
        response._content = answer.body
        response.encoding = "utf-8"
        return response

    def close(self) -> None:
        """Nothing of its own is open."""
