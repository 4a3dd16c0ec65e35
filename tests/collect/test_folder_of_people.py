"""Mail, chats, subtitles and documents of LibreOffice: what people wrote, and nothing of what stands around it."""

from __future__ import annotations

import gzip
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.limited_process import Limits, call_within
from whelp.collect.folder.chat import read_whatsapp
from whelp.collect.folder.chat_exports import read_chat_export
from whelp.collect.folder.office import read_odt
from whelp.collect.folder.subtitles import read_subtitles
from whelp.collect.left_out import LeftOut

from .test_folder import collect, make_zip

NAMESPACES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
)
ODT = f"""<office:document-content {NAMESPACES}><office:body><office:text>
<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion></text:changed-region></text:tracked-changes>
<text:h text:outline-level="2">Dogs</text:h>
<text:p>A  <text:span>whelp</text:span><text:s text:c="2"/>is<text:line-break/>young<text:note><text:note-body><text:p>note</text:p>
</text:note-body></text:note>.</text:p>
<text:list><text:list-item><text:p>one</text:p></text:list-item><text:list-item><text:p>two</text:p></text:list-item></text:list>
<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p>
</table:table-cell></table:table-row></table:table></office:text></office:body></office:document-content>"""


def test_odt() -> None:
    """Headings, lists, rows of tables; no footnotes, no deleted text; blanks where an element says them."""
    assert read_odt(make_zip({"content.xml": ODT}), 10_000) == "## Dogs\n\nA whelp  is\nyoung.\n\n- one\n- two\n\na\tb"
    with pytest.raises(LeftOut, match=r"it has no content\.xml"):
        read_odt(make_zip({"x": ""}), 10_000)
    bomb = ODT.replace('text:c="2"', 'text:c="999999999999"')
    assert len(read_odt(make_zip({"content.xml": bomb}), 10_000)) < 2_000


SRT = "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>A whelp &amp; a dog\r\n\r\n2\r\n00:00:02,600 --> 00:00:04,000 X1:1\r\n"
SRT += "are {\\an8}young.\r\n42\r\n"
SRT += "\r\n3\r\n00:01:00,000 --> 00:01:01,000\r\n- Yes?\r\n"
VTT = "WEBVTT - a film\nKind: captions\n\nNOTE\nnobody says this\n\n00:01.000 --> 00:02.000 align:start\none line\n\n"
VTT += "00:02.000 --> 00:03.000\none line\n<c.yellow>and</c> the next\n"


def test_subtitles() -> None:
    """Running text with a paragraph after a pause; a line that rolls up is said once; notes are no speech."""
    assert read_subtitles(SRT) == "A whelp & a dog are young. 42\n\n- Yes?"
    assert read_subtitles(VTT) == "one line and the next"
    with pytest.raises(LeftOut, match="no subtitles"):
        read_subtitles("a text\nof another kind\n")


IPHONE = (
    "[12.03.24, 18:00:01] Ann Müller: \u200eMessages are encrypted.\r\n[12.03.24, 18:00:05] Ann Müller: Hi: so\r\nthere\r\n"
)
IPHONE += "\u200e[12.03.24, 18:01:00] Bob: \u200eimage omitted\r\n[12.03.24, 18:02:00] Bob: Yes.\r\n"
ANDROID = "3/12/24, 6:00\u202fPM - Messages are encrypted.\n3/12/24, 6:00\u202fPM - Ann: Hi\n3/12/24, 6:01\u202fPM - Bob: <Media omitted>\n"
ANDROID += "below a picture\n3/12/24, 6:02\u202fPM - Bob: 1 < 2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (IPHONE, "Ann Müller: Hi: so\nthere\nBob: Yes."),
        (ANDROID, "Ann: Hi\nBob: below a picture\nBob: 1 < 2"),
        ("2024-03-12, 18:00 - Ann: a\n\n2024-03-12, 18:00 - Bob: b\n", "Ann: a\nBob: b"),
    ],
    ids=["iphone", "android", "other dates"],
)
def test_whatsapp(text: str, said: str) -> None:
    """Names and words, whatever the telephone; no times, notices, or what stands for pictures."""
    chat = read_whatsapp(text)
    assert chat is not None
    assert chat.text == said


@pytest.mark.parametrize(
    "head",
    [
        "12/03/2024, 18:00 - ",
        "12/03/2024 18:00 - ",
        "3/12/24, 6:00 PM - ",
        "12/3/24, 6:00 p.\u00a0m. - ",
        "12/03/2024 à 18:00 - ",
        "12.03.2024 kl. 18.00 - ",
        "12.3.2024 klo 18.00 - ",
        "12. 3. 2024 18:00 - ",
        "2024. 03. 12. 18:00 - ",
        "2024. 3. 12. 오후 6:00 - ",
        "2024/3/12 下午6:00 - ",
        "12.03.24 г., 18:00 - ",
        "12/3/24, 6:00 μ.μ. - ",
        "18:00, 12/03/2024 - ",
        "\u200f١٢\u200f/٣\u200f/٢٠٢٤، ٦:٠٠ م - ",
        "12.3.2024, 18:00 - ",
        "[12.03.24, 18:00:01] ",
        "\u200e[12/03/2024, 18:00:01] ",
        "[3/12/24, 6:00:01\u202fPM] ",
        "[2024/3/12 下午6:00:01] ",
        "[2024. 3. 12. 오후 6:00:01] ",
        "[2024-03-12, 18:00:01] ",
        "[18:00:01, 12/03/2024] ",
    ],
)
def test_whatsapp_in_other_languages(head: str) -> None:
    """Dates and times in the order of the language; a notice has nobody who says it, whatever it quotes."""
    notices = (
        "Messages and calls are end-to-end encrypted. Tap to learn more.",
        "Ann added Bob",
        'Ann changed the subject from "Dogs: a chat" to "Cats: none"',
        "Ann changed the subject from “Dogs” to “Cats: none”",
        "Ann hat den Betreff von „Hunde“ zu „Katzen: keine“ geändert.",
        "Ann a changé le sujet de « Chiens : un » à « Chats »",
        "Анна изменил(а) тему группы с «Собаки: чат» на «Кошки»",
        "Ann ändrade ämnet från ”Hundar: en” till ”Katter”",
        "アンがグループ名を「犬: 一」に変更しました",
        "You created group 'Dogs: all'",
    )
    said = ("Ann: Hi: so", 'O\'Neil "the boss": "Dogs: a chat" is what?', "~\u202fZoë: so")
    text = "\n".join(head + line for line in (*notices[:4], *said, *notices[4:], "Bob:")) + "\nin the line below\n"
    chat = read_whatsapp(text)
    assert chat is not None
    assert [(turn.sender, turn.text) for turn in chat.turns] == [
        ("Ann", "Hi: so"),
        ('O\'Neil "the boss"', '"Dogs: a chat" is what?'),
        ("Zoë", "so"),
        ("Bob", "in the line below"),
    ]


def test_mails_and_pages_by_what_they_are(tmp_path: Path) -> None:
    """Mail folders of Thunderbird and pages of a mirrored site have endings of all kinds, or none; pages that a browser keeps are mails."""
    mails = "From - Mon Jan  1 00:00:00 2024\nSubject: One\n\nHi.\n\nFrom - Mon Jan  1 00:00:01 2024\nSubject: Two\n\nSo.\n"
    page = "<!DOCTYPE html>\n<html><head><title>Dogs</title></head><body><nav>Menu</nav><p>A whelp.</p></body></html>"
    kept = (
        "From: <Saved by Blink>\nSubject: Dogs\nMIME-Version: 1.0\n"
        'Content-Type: multipart/related; type="text/html"; boundary="b"\n\n--b\nContent-Type: text/html; charset="utf-8"\n'
        "Content-Transfer-Encoding: quoted-printable\n\n<html><body><p>A caf=C3=A9.</p></body></html>\n--b--\n"
    )
    files = {"Inbox": mails, "From": "From here on\nall is well\n", "dogs.asp": page, "dogs": f"\ufeff\n{page}", "a.mht": kept}
    files |= {"a.xhtml": page, "say.py": f'PAGE = """{page}"""\n', "b.txt.gz": "\x1f"}
    _, result = collect(tmp_path, {name: text.encode() for name, text in files.items()} | {"b.txt.gz": gzip.compress(b"b")})
    lines = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    read = [(line["url"], line["title"], line["text"]) for line in lines]
    assert read == [
        ("From", "From", "From here on\nall is well"),
        ("Inbox", "One", "Hi."),
        ("Inbox", "Two", "So."),
        ("a.mht", "Dogs", "A café."),
        ("a.xhtml", "Dogs", "A whelp."),
        ("dogs", "Dogs", "A whelp."),
        ("dogs.asp", "Dogs", "A whelp."),
        ("say.py", "say", files["say.py"].strip()),
    ]
    assert [skipped["reason"] for skipped in result.skipped_files] == ["gzip data, not text. Unpack it there."]


def test_whatsapp_with_pictures() -> None:
    """Words below a picture, or before one, are said; what the telephone adds to them is not."""
    text = "12.03.24, 18:00 - Ann: \u200eIMG-1.jpg (file attached)\nOur dog.\n12.03.24, 18:01 - Bob: Nice \u200e<This message was edited>\n"
    text += "12.03.24, 18:02 - Ann: I <3 him <3\n12.03.24, 18:03 - Bob: \u200e<attached: a.jpg>\n"
    chat = read_whatsapp(text)
    assert chat is not None
    assert chat.text == "Ann: Our dog.\nBob: Nice\nAnn: I <3 him <3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-03-12 18:00 INFO - started: at once\n2024-03-12 18:01 INFO - ended: well",
        "12.03.24, 18:00 - Ann: one line alone",
        "Dear diary,\n12.03.24, 18:00 - a\n12.03.24, 18:00 - b",
        "12.03.24\nA day.\n",
        "[1] a: b\n[2] c: d\n",
    ],
)
def test_what_is_no_chat_is_a_text(text: str) -> None:
    """A text that begins otherwise, or has no second message, stays as it is."""
    assert read_whatsapp(text) is None


def say(number: int, text: Any, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": "message", "date": "2024-03-01T10:00:00", "from": "Ann", "text": text, **more}


TALK = {
    "name": "Dogs",
    "type": "personal_chat",
    "messages": [
        {"id": 1, "type": "service", "date": "2024-03-01T10:00:00", "actor": "Ann", "text": ""},
        say(2, "Hi"),
        say(3, ["see ", {"type": "link", "text": "https://example.org"}, "!"]),
        say(4, "", photo="x.jpg"),
        say(5, "Yes?", **{"from": None}),
    ],
}
SAID = "Ann: Hi\nAnn: see https://example.org!\nDeleted Account: Yes?"


def test_telegram() -> None:
    """One chat, or all of them; texts in pieces; other JSON is none."""
    both = {"about": "x", "chats": {"list": [TALK, {**TALK, "name": None}]}}
    for export, names in ((TALK, ["Dogs"]), (both, ["Dogs", None])):
        chats = read_chat_export(json.dumps(export))
        assert chats is not None
        assert [(chat.text, chat.title) for chat in chats] == [(SAID, name) for name in names]
    others = [
        '{"messages": [',
        "[]",
        '{"messages": [{"role": "user"}], "type": "x"}',
        '{"messages": 3, "type": "x"}',
        '{"chats": {"messages": 1}}',
    ]
    assert [read_chat_export(text) for text in others] == [None] * len(others)


CLIPPINGS = (
    "\ufeffMoby Dick (Herman Melville)\r\n- Your Highlight on page 1 | Added on Monday\r\n\r\nCall me Ishmael.\r\n==========\r\n"
    "\ufeffNotes\r\n- Ihre Notiz bei Position 2\r\n\r\nMy own\r\nwords.\r\n==========\r\n"
    "Moby Dick (Herman Melville)\r\n- Your Bookmark on page 3\r\n\r\n\r\n==========\r\n"
    "Moby Dick (Herman Melville)\r\n- Your Highlight on page 1\r\n\r\nCall me Ishmael.\r\n==========\r\n"
    "Moby Dick (Herman Melville)\r\n- Your Highlight on page 9\r\n\r\nSome years ago.\r\n==========\r\n"
)


def test_clippings_of_a_kindle(tmp_path: Path) -> None:
    """A document a book, with what was marked, once; other texts with such lines stay as they are."""
    other = "A title\n==========\n\nAnd text.\n==========\n"
    _, result = collect(tmp_path, {"My Clippings.txt": CLIPPINGS.encode(), "other.txt": other.encode()})
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["title"], line["author"], line["text"]) for line in lines] == [
        ("Moby Dick", "Herman Melville", "Call me Ishmael.\n\nSome years ago."),
        ("Notes", None, "My own\nwords."),
        ("other", None, other.strip("\n")),
    ]
    assert result.num_files["read"] == {".txt (clippings)": 1, ".txt": 1}


def make_mail(text: str, subject: str = "Grüße", html: str | None = None, **headers: str) -> EmailMessage:
    mail = EmailMessage()
    for name, value in (
        {"From": "Ann <ann@example.org>", "Subject": subject, "Date": "Mon, 04 Mar 2024 10:00:00 +0100"} | headers
    ).items():
        mail[name] = value
    mail.set_content(text) if html is None else mail.set_content(html, subtype="html")
    return mail


def make_mailbox(*mails: bytes) -> bytes:
    return b"".join(b"From ann@example.org Mon Mar  4 10:00:00 2024\n" + mail + b"\n\n" for mail in mails)


def test_mail(tmp_path: Path) -> None:
    """The words of each mail, with subject, writer and time; no headers, quotes, signatures, attachments."""
    first = make_mail("Hi Bob,\n\nFrom here on: a day.\n\nOn Monday Bob wrote:\n> quoted\n> more\n\nYes.\n\n-- \nAnn\n")
    first.add_attachment(bytes(range(256)) * 10, maintype="image", subtype="jpeg")
    second = make_mail("", html="<p>Only <b>HTML</b></p><style>x</style>")
    quote = make_mail("> quoted alone\n")
    mails = [mail.as_bytes().replace(b"\nFrom here", b"\n>From here") for mail in (first, second, quote)]
    rows, result = collect(tmp_path, {"all.mbox": make_mailbox(*mails), "one.eml": first.as_bytes(), "bad.mbox": b"a text\n"})
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["url"], line["text"]) for line in lines] == [
        ("all.mbox", "Hi Bob,\n\nFrom here on: a day.\n\n\nYes."),
        ("all.mbox", "Only HTML"),
        ("one.eml", "Hi Bob,\n\nFrom here on: a day.\n\n\nYes."),
    ]
    assert {name: lines[0][name] for name in ("title", "author", "time", "source")} == {
        "title": "Grüße", "author": "Ann <ann@example.org>", "time": "2024-03-04T09:00:00Z", "source": "folder"
    }  # fmt: skip
    assert (result.num_documents, result.num_files["read"]) == (3, {".mbox": 1, ".eml": 1})
    assert result.num_files["skipped"] == {"mail: no text": 1, "damaged": 1}
    assert {"path": "all.mbox", "reason": "mail 3: it holds no text of its own"} in result.skipped_files
    assert set(rows) == {"all.mbox", "one.eml"}


@pytest.mark.parametrize(
    "headers",
    [{"Date": "when it rained"}, {"Date": "Mon, 99 Mar 2024 10:00:00 +0100"}, {"Content-Type": "text/plain; charset=no-such"}],
)
def test_odd_mail(tmp_path: Path, headers: dict[str, str]) -> None:
    """A mail with headers that nobody can read costs itself at most; the one after it is read."""
    odd = (
        "".join(f"{name}: {value}\n" for name, value in ({"From": "a", "Subject": "b"} | headers).items()).encode()
        + b"\nwords\n"
    )
    collect(tmp_path, {"all.mbox": make_mailbox(odd, make_mail("good").as_bytes())})
    texts = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert texts[-1] == "good"


def test_a_result_within_its_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is not read itself, and that a source of that folder would have all twice is said."""
    (tmp_path / "a.txt").write_text("A whelp.")
    for name, is_said in (("inside.jsonl", True), ("../outside.jsonl", False)):
        caplog.clear()
        assert whelp.collect_folder(tmp_path, out=tmp_path / name, include_suffixes=[".txt"]).num_documents == 1
        assert ("its texts stand twice" in caplog.text) == is_said


def test_a_folder_of_all(tmp_path: Path) -> None:
    """Chats are counted as such, several documents of a file as several; what Windows puts beside files is hidden."""
    both = {"chats": {"list": [TALK, {**TALK, "name": "Cats"}]}}
    files = {
        "Chat mit Jürgen.txt": ANDROID.encode(),
        "Notiz.txt": b"12.03.24 a day",
        "result.json": json.dumps(both).encode(),
        "silent.json": json.dumps({**TALK, "messages": TALK["messages"][:1]}).encode(),
        "other.json": b'{"a": "messages"}',
        "film.srt": SRT.encode(),
        "a.odt": make_zip({"content.xml": ODT}),
        "b.rtf": b"{\\rtf1 text}",
        "desktop.ini": b"[x]",
        "Thumbs.db": b"x",
        "~$a.docx": b"x",
    }
    _, result = collect(tmp_path, files)
    assert result.num_files["read"] == {".txt": 1, ".txt (chat)": 1, ".json": 1, ".json (chat)": 1, ".srt": 1, ".odt": 1}
    assert result.num_files["skipped"] == {"hidden": 3, "no text": 1, "another format": 1}
    assert result.num_documents == 7
    reasons = {skipped["path"]: skipped["reason"] for skipped in result.skipped_files}
    assert reasons["b.rtf"] == "RTF, a document with its layout, not text. Save it as plain text or .docx."
    assert reasons["silent.json"] == "a chat in which nobody wrote anything"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["title"] for line in lines if line["url"] == "result.json"] == ["Dogs", "Cats"]


def test_whatsapp_of_much_white_space() -> None:
    """The time for a line grows with its length, not with the square of it."""
    line = f"12.03.24, 18:00 - Ann: a{' ' * 500_000}b"
    chat = call_within(Limits(seconds=30), read_whatsapp, f"{line}\n{' ' * 500_000}\u200e<\n{line}")
    assert chat is not None
    assert len(chat.turns) == 2
