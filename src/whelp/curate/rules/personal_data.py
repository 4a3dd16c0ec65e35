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
from whelp.curate.texts import Mask, Texts, to_mask

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
EMAIL = re.compile(rf"\b{_LOCAL}(?:\.{_LOCAL})*@(?:{_LABEL}\.)+{_LABEL}")
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
IP = re.compile(rf"(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d]|\.\d)")
PHONE = re.compile(
    r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?\d{1,4}(?:[ .-]\d{2,4}){1,4}|\d{1,4}(?:[ .-]\d{2,4}){2,4})"
    r"|(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4})(?![\w-]|\.\d)"
)
# What a text must have so that it is worth looking at, in the syntax of RE2.
_SIGNS = {"email": r"[A-Za-z0-9]@[A-Za-z0-9]", "ip": r"\d\.\d{1,3}\.\d{1,3}\.\d", "phone": r"\+\d|\d{3}[.-]\d{4}"}


class PersonalData:
    """Replaces what names or reaches a person."""

    def __init__(self, config: PersonalDataConfig) -> None:
        masks: list[tuple[str, re.Pattern[str], str | None, Callable[[str], bool]]] = [
            ("email", EMAIL, config.email, lambda found: True),
            ("ip", IP, config.ip, _is_public if config.only_public_ips else _is_address),
            ("phone", PHONE, config.phone, lambda found: True),
        ]
        self._masks = [(name, pattern, mask, check) for name, pattern, mask, check in masks if mask is not None]

    def apply(self, texts: Texts) -> Outcome:
        """The texts with masks."""
        array, changes = texts.array, dict[str, int]()
        for name, pattern, mask, check in self._masks:
            where = to_mask(pc.match_substring_regex(array, _SIGNS[name]))
            if where.any():
                array = self._replace(array, where, name, pattern, str(mask), check, changes)
        return keep_all(len(texts), array if changes else None, changes)

    def _replace(
        self,
        array: pa.LargeStringArray,
        where: Mask,
        name: str,
        pattern: re.Pattern[str],
        mask: str,
        check: Callable[[str], bool],
        changes: dict[str, int],
    ) -> pa.LargeStringArray:
        num_before = changes.get(f"{name} masked", 0)
        num_found = num_before

        def write(match: re.Match[str]) -> str:
            nonlocal num_found
            if not check(match[0]):
                return match[0]
            num_found += 1
            return mask

        made = [pattern.sub(write, array[int(number)].as_py()) for number in np.flatnonzero(where)]
        if num_found > num_before:
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
