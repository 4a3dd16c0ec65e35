"""What the cards of models and of data sets share: Markdown, with the front matter that hubs read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

# identifiers that the hub knows; any other license is `other`, with a name
_LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsl-1.0 cc cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-nc-4.0
cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 creativeml-openrail-m ecl-2.0 epl-2.0 eupl-1.2
gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl odbl odc-by openrail openrail++ osl-3.0 pddl unknown
unlicense wtfpl zlib other
"""


def make_head(values: Mapping[str, Any]) -> str:
    """The front matter: https://huggingface.co/docs/hub/model-cards."""
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---"


def name_license(license_name: str | None) -> dict[str, Any]:
    """A license as the head of a card names it.   'My own' -> {'license': 'other', 'license_name': 'my-own'}"""
    if license_name is None:
        return {}
    known = license_name.lower()
    if known in _LICENSES.split():
        return {"license": known}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", known).strip("-")}


def say_license(license_name: str | None, texts: str) -> str:
    """The section on the license; `texts` is a sentence on those of the texts."""
    if license_name is None:
        return f"No license was named: ask whoever gave it to you before you use it. {texts}"
    return f"{license_name}. {texts}"


def make_table(values: Mapping[str, str]) -> str:
    """Names and what they say, as a table of Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {make_cell(value)} |" for name, value in values.items())])


def make_cell(text: str) -> str:
    """A text as a cell of such a table."""
    return text.replace("|", "\\|").replace("\n", " ")
