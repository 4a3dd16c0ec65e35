"""What a hub and its library say when something is wrong, in words that help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from whelp.base.counts import list_some
from whelp.base.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# of the clients that the library's versions had, by name: they share no class, and only one is installed
_OF_THE_NETWORK = {"TransportError", "RequestException", "ConnectionError", "TimeoutError", "gaierror", "TimeoutException"}
_TOO_LARGE = re.compile(r"too (?:large|big)|exceeds|maximum (?:file )?size|storage limit|quota", re.IGNORECASE)
_BAD_HEAD = re.compile(r"Invalid metadata in README\.md\.\s*(.*)", re.DOTALL)
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
_STATUS_OF_XET = re.compile(r"HTTP status \w+ error \((\d{3})\b")  # it has no errors of its own for them
_ADDRESS = re.compile(r"(?:for|at|, domain):? (?:url:? )?'?https?://[^\s)]+")  # some hold a key
_AGAIN = "Run the same command again: what has arrived is not sent twice."
_BUSY, _FAILING = 429, 500


def is_missing(error: Exception) -> bool:
    """Whether a hub says that there is no such repository, or no such branch of it; to strangers it says 401 instead."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return False
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
        return True
    asked = getattr(getattr(error, "response", None), "request", None)
    return _read_status(error) == 401 and asked is not None and asked.headers.get("authorization") is None


def is_conflict(error: Exception) -> bool:
    """Whether a hub says that something stands in the way."""
    return _read_status(error) == 409


def explain_problem(error: Exception, name: str, api: HfApi, find_file: Callable[[str], str | None]) -> HubError:
    """An error of the library as one of ours.

    Args:
        name: Of the repository.
        find_file: Says which file has a SHA-256, which is what the hub calls a large one.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    chain = list(_iter_causes(error))
    said = _read_answer(chain)
    status = next((status for one in chain if (status := _read_status(one)) is not None), None)
    if any(isinstance(one, OfflineModeIsEnabled) for one in chain):
        return HubError(name, "HF_HUB_OFFLINE is set, so the hub is not asked", "", "Unset it.")
    if status == 413 or (status != _BUSY and _TOO_LARGE.search(said)):
        digest = _DIGEST.search(said)
        file = (find_file(digest.group()) if digest is not None else None) or _find_file(chain)
        what = "a file" if file is None else file
        advice = "Make it smaller (--dtype bf16 of a model, `whelp split` of rows), or ask the hub for more room."
        return HubError(name, f"{what} is too large for the hub ({_shorten(said)})", "", advice)
    card = next((match.group(1) for one in chain if (match := _BAD_HEAD.search(str(one))) is not None), None)
    if card is not None:
        return HubError(name, f"the hub does not take the head of the card ({_shorten(card)})", "", "Mend README.md.")
    if status is not None:
        return _explain_status(status, said, name, api)
    if any(_OF_THE_NETWORK & {kind.__name__ for kind in type(one).__mro__} for one in chain):
        return HubError(
            name, f"{api.endpoint} cannot be reached ({_shorten(said)})", "", f"Check the network and HF_ENDPOINT. {_AGAIN}"
        )
    return HubError(name, f"the hub's library failed ({type(chain[-1]).__name__}: {_shorten(said)})", "", _AGAIN)


def _explain_status(status: int, said: str, name: str, api: HfApi) -> HubError:
    answer = _shorten(said)
    if status == 401:
        advice = (
            "Make one that may write on the hub's page of tokens, and run `hf auth login`, or set HF_TOKEN, which counts first."
        )
        return HubError(name, f"the hub does not take the token ({answer})", "a valid one", advice)
    if status in (402, 403):
        return _say_no_right(name, _ask_who(api), answer)
    if status in (404, 410):
        return HubError(name, f"it is not there, or not for you to see ({answer})", "", "Check the spelling and the token.")
    if status in (409, 412):
        advice = "Somebody else may be writing. Run the same command again: it looks anew at what stands there."
        return HubError(name, f"it was changed meanwhile ({answer})", "what stood there before", advice)
    if status == _BUSY or status >= _FAILING:
        return HubError(name, f"the hub is busy or failing ({status}: {answer})", "", f"Wait. {_AGAIN}")
    return HubError(name, f"the hub refuses ({status}: {answer})", "", "Nothing else was tried.")


def find_refusal(name: str, api: HfApi) -> HubError | None:
    """Why a hub would not let the owner of the token write, found by asking who that is; None where it does not tell.

    What a hub does not say speaks against nobody: only a token that it does not take, one that may only read, and an owner who is neither
    the user nor an organization of theirs.
    """
    try:
        who = api.whoami()
        user, owners = str(who["name"]), [str(one["name"]) for one in who.get("orgs", [])]
        token = who.get("auth", {}).get("accessToken", {})
        role, may_write = token.get("role"), "write" in str(token.get("fineGrained") or "write")
    except Exception as error:  # a hub that is not reached, or is busy, is found out when it is looked at
        is_refused = any(_read_status(one) == 401 for one in _iter_causes(error))
        return explain_problem(error, name, api, lambda _: None) if is_refused else None
    if role == "read" or not may_write:
        return _say_no_right(name, user, "the token may only read")
    if "orgs" in who and name.partition("/")[0].lower() not in {one.lower() for one in (user, *owners)}:
        return _say_no_right(name, user, f"only for {list_some([user, *owners])}")
    return None


def _say_no_right(name: str, who: str, reason: str) -> HubError:
    owner = name.partition("/")[0]
    advice = f"Take a token that may write for {owner}, ask {owner} to let you, or name a repository of your own."
    return HubError(name, f"{who} may not write there ({reason})", "a right to write", advice)


def _ask_who(api: HfApi) -> str:
    """Who is logged in there, as far as the hub tells."""
    try:
        return str(api.whoami()["name"])
    except Exception:  # it is only for the message
        return "this token"


def _iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _read_status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status
    found = _STATUS_OF_XET.search(str(error))
    return None if found is None else int(found.group(1))


def _read_answer(chain: list[BaseException]) -> str:
    """What the hub itself said, else what the last of the errors says."""
    answers: list[Any] = [getattr(error, "server_message", None) for error in chain]
    return str(next(filter(None, answers), None) or chain[-1] or type(chain[-1]).__name__)


def _find_file(chain: list[BaseException]) -> str | None:
    """The file that the library names as the one it was uploading."""
    found = (re.search(r"uploading '([^']+)'", str(error)) for error in chain)
    return next((match.group(1) for match in found if match is not None), None)


def _shorten(said: str) -> str:
    """All in one line, without the address of the request and without an end of its own."""
    return re.sub(r"\s+", " ", _ADDRESS.sub("", said)).strip()[:200].rstrip(" .:")
