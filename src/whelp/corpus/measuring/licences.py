"""What a corpus says of the rights in it: words that licences and notices are known by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.corpus.measuring.hashes import Texts

# RE2. Only what is nearly always a notice: "MIT" alone is also a university.
_SIGNS = {
    "SPDX identifier": r"SPDX-License-Identifier:",
    "Apache License": r"Apache License,? Version 2|www\.apache\.org/licenses/",
    "MIT licence": r"Permission is hereby granted, free of charge, to any person|\bMIT License\b",
    "BSD licence": r"Redistribution and use in source and binary forms|\bBSD License\b",
    "GNU licence": r"GNU (?:Lesser |Affero )?General Public License|GNU Free Documentation License",
    "Mozilla licence": r"Mozilla Public License|mozilla\.org/MPL/",
    "Python licence": r"(?i)licensed to PSF|PSF LICENSE AGREEMENT",
    "Creative Commons": r"Creative Commons|creativecommons\.org/(?:licenses|publicdomain)/|\bCC[ -]BY\b",
    "Project Gutenberg": r"Project Gutenberg",
    "public domain": r"(?i)public domain",
    "copyright notice": r"(?i)copyright (?:\(c\)|©|[12][0-9]{3})|© ?[12][0-9]{3}",
    "all rights reserved": r"(?i)all rights reserved",
}
# One pass that finds every document with a sign, and a few more: most have none.
_ANY = (
    r"(?i)licen[sc]e|licensed|creative ?commons|\bCC[ -]BY|copyright|©|rights reserved|public domain|project gutenberg|"
    r"permission is hereby granted|redistribution and use"
)


class LicenceCounter:
    """Count the documents in which each sign stands; one document may have several."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_SIGNS, 0)
        self._num_with = 0
        self._examples: dict[str, int] = {}

    def add(self, texts: Texts, find_file: Callable[[int], int]) -> None:
        """Look through some documents; `find_file` gives the number of the k-th one's file."""
        chosen = np.flatnonzero(pc.match_substring_regex(texts, _ANY).to_numpy(zero_copy_only=False))
        if not len(chosen):
            return
        texts = texts.take(pa.array(chosen))
        has_any = np.zeros(len(chosen), bool)
        for name, pattern in _SIGNS.items():
            found = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
            if found.any():
                self._counts[name] += int(found.sum())
                has_any |= found
                self._examples.setdefault(name, find_file(int(chosen[found.argmax()])))
        self._num_with += int(has_any.sum())

    def finish(self) -> dict[str, Any]:
        """`signs`: the documents that have each, most first, and the file of the first; `num_documents` that have any."""
        ordered = sorted((entry for entry in self._counts.items() if entry[1]), key=lambda entry: -entry[1])
        signs = [{"sign": name, "num_documents": count, "file_index": self._examples[name]} for name, count in ordered]
        return {"num_documents": self._num_with, "signs": signs}
