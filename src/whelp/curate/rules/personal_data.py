"""Masks for e-mail addresses, IP addresses and telephone numbers.

The patterns of the first two are those of datatrove, which has them of the Stack's authors; telephone numbers are those of
North America with their area code, and those that begin with + and a country. What only looks like one is masked as well.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.config import PersonalDataConfig
from whelp.curate.rules.outcome import Outcome, keep_all
from whelp.curate.texts import Texts, to_mask

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
EMAIL = rf"\b{_LOCAL}(?:\.{_LOCAL})*@(?:{_LABEL}\.)+{_LABEL}"
IP = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
PHONE = (
    r"(?:\+[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?[0-9]{1,4}(?:[ .-][0-9]{2,4}){1,4}|[0-9]{1,4}(?:[ .-][0-9]{2,4}){2,4})"
    r"|(?:\+?1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[.-])[0-9]{3}[.-][0-9]{4})"
)
# Around a number there is none of these: it is part of a longer one. RE2 cannot look around, so this is Python's work.
_ALONE_IP = re.compile(rf"(?<![\d.]){IP}(?!\d|\.\d)")
_ALONE_PHONE = re.compile(rf"(?<![\w+.-]){PHONE}(?![\w-]|\.\d)")


class PersonalData:
    """Replaces what names or reaches a person."""

    def __init__(self, config: PersonalDataConfig) -> None:
        self._config = config

    def apply(self, texts: Texts) -> Outcome:
        """The texts with masks."""
        config, array, changes = self._config, texts.array, dict[str, int]()
        if config.email is not None:
            array = _replace_emails(array, config.email, changes)
        if config.ip is not None:
            check = _is_public if config.only_public_ips else _is_address
            array = _replace(array, "ip", IP, _ALONE_IP, config.ip, check, changes)
        if config.phone is not None:
            array = _replace(array, "phone", PHONE, _ALONE_PHONE, config.phone, lambda found: True, changes)
        return keep_all(len(texts), array if changes else None, changes)


def _replace_emails(array: pa.LargeStringArray, mask: str, changes: dict[str, int]) -> pa.LargeStringArray:
    where = pc.match_substring_regex(array, r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]@[A-Za-z0-9]")
    counts = pc.count_substring_regex(array.filter(where), EMAIL)
    num_found = int(pc.sum(counts).as_py() or 0)
    if not num_found:
        return array
    changes["email masked"] = num_found
    made = pc.replace_substring_regex(array.filter(where), EMAIL, mask.replace("\\", r"\\"))
    return pc.replace_with_mask(array, where, made)


def _replace(
    array: pa.LargeStringArray,
    name: str,
    sign: str,
    pattern: re.Pattern[str],
    mask: str,
    check: Callable[[str], bool],
    changes: dict[str, int],
) -> pa.LargeStringArray:
    """Look closely at the texts that a pattern for RE2 matches."""
    where = to_mask(pc.match_substring_regex(array, sign))
    num_found = 0

    def write(match: re.Match[str]) -> str:
        nonlocal num_found
        if not check(match[0]):
            return match[0]
        num_found += 1
        return mask

    made = [pattern.sub(write, array[int(number)].as_py()) for number in np.flatnonzero(where)]
    if not num_found:
        return array
    changes[f"{name} masked"] = num_found
    return pc.replace_with_mask(array, pa.array(where), pa.array(made, pa.large_string()))


def _is_address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _is_public(found: str) -> bool:
    return _is_address(found) and ipaddress.ip_address(found).is_global
