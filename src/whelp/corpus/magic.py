"""Files of other kinds than text, known by their first bytes, and what to do with each."""

from __future__ import annotations

from dataclasses import dataclass

TAR_BYTES = 512  # in which an archive of tar shows itself
_TAR_PLACE = 257
PACKED = "packed"
ANOTHER_FORMAT = "another format"
_UNPACK = "Unpack it into a folder, and name that, or export its text."
_RENAME = (
    "Unpack it (an archive into a folder, and name that); or, where it holds text or rows, rename it so that it says so, as in a.txt.gz or "
    "a.jsonl.gz."
)
_ROWS = "Export its rows as CSV, JSON lines or Parquet, or hand them over from Python: whelp.prepare(..., rows=...)."


@dataclass(frozen=True)
class Kind:
    """What a file is, how it is counted where it is skipped, and what to do with it."""

    name: str
    counted_as: str
    next_step: str


_PDF = Kind("PDF data", "PDF", "Take its text with `whelp collect folder`, which reads PDF.")
_ZIP = Kind(
    "zip data",
    PACKED,
    "Unpack it into a folder, and name that. Of .docx, .odt and .epub `whelp collect folder` takes the text; a spreadsheet is read as rows "
    "where its name ends in .xlsx or .ods.",
)
_OFFICE = Kind(
    "a document of an old office program",
    ANOTHER_FORMAT,
    "Save a text as plain text or .docx; a spreadsheet is read where its name ends in .xls.",
)
_WARC = Kind(
    "a WARC archive of web pages",
    ANOTHER_FORMAT,
    "Take the text of its pages with `whelp collect web-archive`; a WET archive (their text already) is read as it is where its name "
    "ends in .wet or .wet.gz, a WAT archive holds no text.",
)
_SQLITE = Kind(
    "a SQLite database",
    ANOTHER_FORMAT,
    "Make rows of a table with `whelp convert FILE --out rows.jsonl`; its name must end in .sqlite or .db.",
)
_PICKLE = Kind(
    "a pickle", ANOTHER_FORMAT, "Opening one may run any program: write its rows as JSON lines or Parquet where it was made."
)
_UNPACK_FIRST = "Unpack it first; .gz, .bz2, .xz and .zst are unpacked while they are read."
_LZ4 = Kind("lz4 data", PACKED, _UNPACK_FIRST)
_TAR = Kind("a tar archive", PACKED, "Unpack it first (tar -xf FILE) into a folder, and name that.")

_POINTER = Kind(
    "a pointer of Git LFS, not the file it stands for", ANOTHER_FORMAT, "Fetch the file itself: run `git lfs pull` there."
)

KINDS = {
    b"\x1f\x8b": Kind("gzip data", PACKED, _RENAME),
    b"\x28\xb5\x2f\xfd": Kind("zstd data", PACKED, _RENAME),
    b"\xfd7zXZ\x00": Kind("xz data", PACKED, _RENAME),
    b"BZh": Kind("bzip2 data", PACKED, _RENAME),
    b"\x04\x22\x4d\x18": _LZ4,
    b"\x5d\x00\x00": Kind("lzma data", PACKED, _UNPACK_FIRST),
    b"\x1f\x9d": Kind("data of the old compress", PACKED, _UNPACK_FIRST),
    b"PK\x03\x04": _ZIP,
    b"7z\xbc\xaf\x27\x1c": Kind("7-zip data", PACKED, _UNPACK),
    b"Rar!\x1a": Kind("RAR data", PACKED, _UNPACK),
    b"%PDF-": _PDF,
    b"PAR1": Kind("Parquet data", PACKED, "Let its name end in .parquet, or set data.source=parquet and data_files."),
    b"ARROW1": Kind("Arrow data", ANOTHER_FORMAT, "Let its name end in .arrow."),
    b"ORC": Kind("ORC data", ANOTHER_FORMAT, _ROWS),
    b"Obj\x01": Kind("Avro data", ANOTHER_FORMAT, _ROWS),
    b"\x89HDF": Kind("HDF5 data", ANOTHER_FORMAT, _ROWS),
    b"\x93NUMPY": Kind(
        "an array of NumPy", ANOTHER_FORMAT, "Of token ids, see `whelp import`; of texts, write them as JSON lines."
    ),
    b"\xd0\xcf\x11\xe0": _OFFICE,
    b"{\\rtf": Kind("RTF, a document with its layout", ANOTHER_FORMAT, "Save it as plain text or .docx."),
    b"SQLite format 3\0": _SQLITE,
    b"WARC/": _WARC,
    b"version https://git-lfs": _POINTER,
    **{b"\x80" + bytes([version, sign]): _PICKLE for version in (2, 3, 4, 5) for sign in b"}]\x95c("},
}
BEGINNINGS = tuple(KINDS)


def find_kind(head: bytes) -> Kind | None:
    """What begins like this (`TAR_BYTES` of it, or all); None for what may be text.

    >>> find_kind(b"%PDF-1.7").name, find_kind(b"ORC is a format")
    ('PDF data', None)
    """
    if head[_TAR_PLACE : _TAR_PLACE + 5] == b"ustar" and b"\0" in head[:_TAR_PLACE]:
        return _TAR
    if not head.startswith(BEGINNINGS):
        return None
    kind = next(kind for magic, kind in KINDS.items() if head.startswith(magic))
    return None if kind.counted_as == ANOTHER_FORMAT and kind not in _OF_TEXT and not _is_binary(head) else kind


def find_kind_of_rows(head: bytes) -> Kind | None:
    """As `find_kind`, of a file that holds rows as its name says, such as CSV, where letters at its beginning say nothing.

    >>> find_kind_of_rows(b"BZh,text\\n1,a\\n"), find_kind_of_rows(b"\\x1f\\x8b\\x08\\0").name
    (None, 'gzip data')
    """
    kind = find_kind(head)
    return kind if kind is not None and (kind is _POINTER or _is_binary(head)) else None


_OF_TEXT = (_WARC, _POINTER, KINDS[b"{\\rtf"])  # which begin with letters, and go on so


def _is_binary(head: bytes) -> bool:
    return b"\0" in head or not head.isascii()
