"""PDF: the text of its pages, where the package pypdf is there."""

from __future__ import annotations

import io
import logging

from whelp.base.errors import say_first_line
from whelp.collect.left_out import LeftOut

NEEDED = 'PDF, which needs `pip install "whelp[pdf]"`'


def read_pdf(data: bytes, max_unpacked_bytes: int) -> str:
    """Make text of a PDF, pages separated by a blank line. Scanned pages have none.

    Raises:
        LeftOut: When pypdf is not there, or the file is damaged, encrypted, or holds too much.
    """
    try:
        import pypdf
    except ImportError:
        raise LeftOut(NEEDED, NEEDED) from None
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    pages: list[str] = []
    num_left = max_unpacked_bytes
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise LeftOut("encrypted", "it is encrypted")
        for page in reader.pages:
            pages.append(page.extract_text().strip())
            num_left -= len(pages[-1])
            if num_left < 0:
                raise LeftOut("unpacks to too much", f"holds more than {max_unpacked_bytes:,} characters")
    except LeftOut:
        raise
    except Exception as error:  # pypdf raises whatever a broken file makes it stumble over
        raise LeftOut("damaged", f"a broken PDF ({say_first_line(error, with_kind=True)})") from None
    return "\n\n".join(page for page in pages if page)
