"""Who prepares in `prepare.py`, each in a process of its own."""

from __future__ import annotations

from prepare_contestants.ours import alone, alone_jsonl, make_whelp
from prepare_contestants.peers import bark, books, codeparrot, datatrove, nanogpt
from prepare_contestants.task import Contestant

CONTESTANTS: dict[str, Contestant] = {
    "alone": alone,
    "alone-jsonl": alone_jsonl,
    "whelp-jsonl": make_whelp("all.jsonl"),
    "whelp-parquet": make_whelp("all.parquet"),
    "whelp-files": make_whelp("files"),
    "bark": bark,
    "books": books,
    "codeparrot": codeparrot,
    "nanogpt": nanogpt,
    "datatrove": datatrove,
}


PEERS = {"bark": 0, "books": 0, "codeparrot": 0, "datatrove": 50, "nanogpt": 50}
"""Those that `--peer-megabytes` is for, where it is at least so much.

Of 2 and of 8 MB, bark took 5.5 and 19.8 s of processor time (0.8 s for the start, then 2.3 a MB), codeparrot 4.9 and 13.4 (2.1, then
1.4), nanogpt 2.1 and 3.5 (1.6, then 0.23): with 20 MB a start is 2 and 7 % of it, but a quarter of nanogpt's. The
processes of datatrove import everything anew, which counts. So these two read more.
"""
