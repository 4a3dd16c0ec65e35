"""Read files that are zip archives inside (DOCX, EPUB), within bounds; and their XML, without entities."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable
from types import TracebackType
from xml.parsers import expat

from whelp.base.errors import say_first_line
from whelp.collect.left_out import LeftOut

_ENCRYPTED = 0x1


class Archive:
    """A zip archive in memory. Names are looked up in it alone, and no more is unpacked than allowed, whatever it says."""

    def __init__(self, data: bytes, max_unpacked_bytes: int) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
            raise LeftOut("damaged", f"a broken zip archive ({say_first_line(error)})") from None
        self._left, self._most = max_unpacked_bytes, max_unpacked_bytes

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """Unpack one member.

        Raises:
            LeftOut: When it is missing, damaged, encrypted, outside of the archive, or too large.
        """
        inside = posixpath.normpath(name)
        if inside.startswith(("/", "..")) or "\\" in inside or inside[1:2] == ":":
            raise LeftOut("path outside", f"it names {name!r}, which lies outside of it")
        try:
            info = self._zip.getinfo(inside)
            if info.flag_bits & _ENCRYPTED:
                raise LeftOut("encrypted", "it is encrypted")
            with self._zip.open(info) as member:
                data = member.read(self._left + 1)
        except KeyError:
            raise LeftOut("damaged", f"it has no {inside}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise LeftOut("damaged", f"{inside} in it is broken ({say_first_line(error)})") from None
        if len(data) > self._left:
            raise LeftOut("unpacks to too much", f"unpacks to more than {self._most:,} bytes")
        self._left -= len(data)
        return data


def parse_xml(
    data: bytes,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> None:
    """Call back for elements (named without their namespace's prefix) and text.

    Raises:
        LeftOut: When it is broken, or declares a document type: entities in entities fill any memory.
    """

    def refuse(*declaration: object) -> None:
        raise LeftOut("declares entities", "its XML declares a document type or entities of its own")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: start(name.rpartition(":")[2], attributes)
    parser.EndElementHandler = lambda name: end(name.rpartition(":")[2])
    parser.CharacterDataHandler = text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise LeftOut("damaged", f"broken XML ({say_first_line(error)})") from None
