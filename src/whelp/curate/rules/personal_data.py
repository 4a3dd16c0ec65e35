"""Masks for e-mail addresses, IP addresses and telephone numbers.

The patterns of the first two are those of datatrove, which has them of the Stack's authors; telephone numbers are those of
North America with their area code, and those that begin with + and a country. What only looks like one is masked as well.
"""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.config import PersonalDataConfig
from whelp.curate.rules.outcome import Outcome, keep_all
from whelp.curate.texts import Texts, read_buffers, replace_ranges

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
EMAIL = rf"\b{_LOCAL}(?:\.{_LOCAL})*@(?:{_LABEL}\.)+{_LABEL}"
IP = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
PHONE = (
    r"(?:\+[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?[0-9]{1,4}(?:[ .-][0-9]{2,4}){1,4}|[0-9]{1,4}(?:[ .-][0-9]{2,4}){2,4})"
    r"|(?:\+?1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[.-])[0-9]{3}[.-][0-9]{4})"
)
_EMAIL_SIGN = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]@[A-Za-z0-9]"
# What every such number has in it: less to keep track of than the whole of it, so the search is faster.
_IP_SIGN = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_PHONE_SIGN = r"[0-9]{3}[.-][0-9]{4}|\+[0-9][0-9 .()-]{7}"
_OF_EMAILS = np.isin(np.arange(256), list(b"!#$%&'*+/=?^_`{|}~-.@" + (string.ascii_letters + string.digits).encode()))


@dataclass(frozen=True)
class _Number:
    """A kind of number: a sign of it that RE2 searches for, a pattern that looks around, what stands for those that pass a check.

    `alone` wants that the number is no part of a longer one. RE2 cannot look around, so that is Python's work, which is slow: it
    is done where `run` finds a run of the right characters, and sees the two behind it.
    """

    name: str
    mask: str
    sign: str
    run: re.Pattern[str]
    alone: re.Pattern[str]
    check: Callable[[str], bool]


_IP_RUN, _ALONE_IP = re.compile(r"[0-9][0-9.]{6,}"), re.compile(rf"(?<![\d.]){IP}(?!\d|\.\d)")
_PHONE_RUN, _ALONE_PHONE = re.compile(r"[+(0-9][-+(). 0-9]{8,}"), re.compile(rf"(?<![\w+.-]){PHONE}(?![\w-]|\.\d)")


class PersonalData:
    """Replaces what names or reaches a person.

    One search over all texts, for the signs of all of it, leaves the few in which there may be any.
    """

    def __init__(self, config: PersonalDataConfig) -> None:
        self._email, self._numbers = config.email, list[_Number]()
        if config.ip is not None:
            check = _is_public if config.only_public_ips else _is_address
            self._numbers.append(_Number("ip", config.ip, _IP_SIGN, _IP_RUN, _ALONE_IP, check))
        if config.phone is not None:
            self._numbers.append(_Number("phone", config.phone, _PHONE_SIGN, _PHONE_RUN, _ALONE_PHONE, bool))
        signs = [*([] if self._email is None else [_EMAIL_SIGN]), *(number.sign for number in self._numbers)]
        self._sign = "|".join(signs) or r"[^\s\S]"  # which is nothing

    def apply(self, texts: Texts) -> Outcome:
        """The texts with masks."""
        where = pc.match_substring_regex(texts.array, self._sign)
        array, changes = texts.array.filter(where), dict[str, int]()
        if len(array) and self._email is not None:
            array = _mask_emails(array, self._email, changes)
        for number in self._numbers if len(array) else ():
            array = _mask_numbers(array, number, changes)
        return keep_all(len(texts), pc.replace_with_mask(texts.array, where, array) if changes else None, changes)


def _mask_emails(array: pa.LargeStringArray, mask: str, changes: dict[str, int]) -> pa.LargeStringArray:
    """Look at what stands around each @, as far as there is nothing that no address has."""
    data, offsets = read_buffers(array)
    signs = np.flatnonzero(data == ord("@"))
    if not len(signs):
        return array
    borders = np.concatenate(([-1], np.flatnonzero(~_OF_EMAILS[data]), [len(data)]))
    behind, text = np.searchsorted(borders, signs), np.searchsorted(offsets, signs, side="right")
    starts = np.maximum(borders[behind - 1] + 1, offsets[text - 1])
    starts, first = np.unique(starts, return_index=True)
    stops = np.minimum(borders[behind], offsets[text])[first]
    runs = pa.array([bytes(data[start:stop]) for start, stop in zip(starts, stops, strict=True)]).cast(pa.large_string())
    num_found = int(pc.sum(pc.count_substring_regex(runs, EMAIL)).as_py())
    if not num_found:
        return array
    changes["email masked"] = num_found
    return replace_ranges(array, starts, stops, pc.replace_substring_regex(runs, EMAIL, mask.replace("\\", r"\\")))


def _mask_numbers(array: pa.LargeStringArray, number: _Number, changes: dict[str, int]) -> pa.LargeStringArray:
    where = pc.match_substring_regex(array, number.sign)
    made, num_found = [], 0
    for text in array.filter(where).to_pylist():
        pieces, last = [], 0
        for run in number.run.finditer(text):
            for found in number.alone.finditer(text, run.start(), run.end() + 2):
                if number.check(found[0]):
                    pieces += [text[last : found.start()], number.mask]
                    last = found.end()
        made.append("".join([*pieces, text[last:]]))
        num_found += len(pieces) // 2
    if not num_found:
        return array
    changes[f"{number.name} masked"] = num_found
    return pc.replace_with_mask(array, where, pa.array(made, pa.large_string()))


def _is_address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _is_public(found: str) -> bool:
    return _is_address(found) and ipaddress.ip_address(found).is_global
