"""Lines before the header of a CSV file that say how it is cut: `sep=;` of spreadsheets, and those of Anki's cards."""

from __future__ import annotations

from dataclasses import dataclass, field

_MARK = b"\xef\xbb\xbf"
_KEYS = ("separator", "html", "tags", "columns", "notetype", "deck", "if matches")  # that Anki writes, or reads
_OF_COLUMNS = ("guid", "notetype", "deck", "tags")
_SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "colon": ":"}


@dataclass
class Preamble:
    """What the lines say: the separator, and where there is no header, the names of columns, as many as are known.

    `num_bytes` and `num_lines` are what they take.
    """

    delimiter: str | None = None
    num_bytes: int = 0
    num_lines: int = 0
    has_header: bool = True
    columns: list[str] = field(default_factory=list)
    places: dict[int, str] = field(default_factory=dict)

    def name_columns(self, count: int) -> tuple[str, ...]:
        """A name for each of so many columns."""
        names = [self.places.get(place, f"field_{place}") for place in range(1, count + 1)]
        return tuple(self.columns + names[len(self.columns) :])


def read_preamble(head: bytes) -> Preamble:
    r"""Read the lines at the start of a file.

    >>> read_preamble(b"sep=;\na;b\n").delimiter
    ';'
    >>> cards = read_preamble(b"#separator:tab\n#html:true\n#tags column:3\nfront\tback\tgood\n")
    >>> cards.delimiter, cards.num_lines, cards.name_columns(3)
    ('\t', 3, ('field_1', 'field_2', 'tags'))
    """
    found = Preamble()
    for line in head.splitlines(keepends=True):
        said = line.removeprefix(_MARK).rstrip(b"\r\n") if not found.num_lines else line.rstrip(b"\r\n")
        if not line.endswith(b"\n") or not (_read_sep(said, found) or _read_anki(said, found)):
            break
        found.num_bytes += len(line)
        found.num_lines += 1
    return found


def _read_sep(said: bytes, found: Preamble) -> bool:
    if found.num_lines or len(said) != len(b"sep=;") or said[:4].lower() != b"sep=" or said[4] >= 0x80:
        return False
    found.delimiter = chr(said[4])
    return True


def _read_anki(said: bytes, found: Preamble) -> bool:
    """The first of these lines says the separator, or how texts are written: a `#` alone may begin a name."""
    key, colon, value = said.decode(errors="replace").removeprefix("#").partition(":")
    about, _, what = key.lower().partition(" ")
    is_place = what == "column" and about in _OF_COLUMNS and value.strip().isdecimal()
    if not said.startswith(b"#") or not colon or not (is_place or key.lower() in _KEYS):
        return False
    found.has_header = False
    if is_place:
        found.places[int(value)] = about
    elif key.lower() == "separator":
        found.delimiter = _SEPARATORS.get(value.strip().lower(), value if len(value) == 1 else None)
    elif key.lower() == "columns":
        found.columns = value.split(found.delimiter or "\t")
    return True
