"""What stands in a column of rows: its values, and how many rows have each."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from whelp.corpus.measuring.hashes import Texts, hash_texts
from whelp.corpus.measuring.tally import Tally, count_keys

NUM_LISTED = 40
_SHOWN_CHARACTERS = 120
_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/@]*@)?(?P<host>[^/:?#]+)"


class ValueCounter:
    """Count values. Addresses of the web count by their host."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._tally = Tally(pa.large_string())

    def add(self, values: Texts) -> None:
        """Count a large_string array without nulls."""
        hosts = pc.extract_regex(values, _HOST).field("host")
        is_address = pc.match_substring_regex(values, _HOST)
        values = pc.utf8_slice_codeunits(pc.if_else(is_address, hosts, values), 0, _SHOWN_CHARACTERS)
        keys, counts, first = count_keys(hash_texts(values))
        self._tally.add(keys, counts, values.take(pa.array(first)))
        self._num_rows += len(values)

    def finish(self) -> dict[str, Any]:
        """`num_rows` that have a value, `most`: the most frequent values, and `num_missing` from a count at most."""
        _, counts, values = self._tally.top(NUM_LISTED, at_least=1)
        most = [{"text": text, "count": int(count)} for text, count in zip(values.to_pylist(), counts, strict=True)]
        return {"num_rows": self._num_rows, "num_missing": self._tally.num_missing, "most": most}
