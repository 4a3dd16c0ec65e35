"""Wikitext to text: what readers see stays, markup goes, and no input takes long."""

from __future__ import annotations

import io
import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.collect.wikitext import Namespaces, Wikitext

CASES = {
    "emphasis": ("''A'' '''b''' '''''c''''' l'''amour''", "A b c lamour"),
    "links": ("[[A]], [[B|b]]s, [[C (x)|]], [[#D]], [[A#B|c]]", "A, bs, C, D, c"),
    "link in a label": ("[[A|an ''italic'' {{nowrap|label}}]]", "an italic label"),
    "link with a colon": (
        "[[Alien: Resurrection]] [[Wikipedia:X|x]] [[:Category:Dogs]]",
        "Alien: Resurrection x Category:Dogs",
    ),
    "other languages": ("Dog.\n[[fr:Chien]]\n[[zh-min-nan:X]]", "Dog."),
    "files": ("A [[File:x.jpg|thumb|a [[link|l]] {{t}} [http://x y]]] b", "A b"),
    "files of this wiki": ("A [[Fails:x.jpg|mini|x]] [[Image:y.png]] b", "A b"),
    "categories": ("A\n[[Category:B|*]]\n[[Kategoreja:B]]", "A"),
    "outer links": ("[http://x.org] [https://x.org/a?b=c the site] http://bare.org", "the site http://bare.org"),
    "templates go": ("A{{citation needed|date={{CURRENTYEAR}}}} b {{Infobox\n| a = {{b|c}}\n}} c", "A b c"),
    "templates that are words": ("{{convert|5|km|mi}}, {{lang|fr|mot}}, {{as of|2011|lc=y}}", "5 km, mot, as of 2011"),
    "a text in other letters": ("{{transl|ar|ALA|ilāh}} {{transl|ja|inu}}", "ilāh inu"),
    "a template in another": ("{{nowrap|{{lang-de|der [[Hund]]}}}}", "der Hund"),
    "quotes are paragraphs": ("A\n{{quote|Said.|Who}}\nb", "A\n\nSaid.\n\nb"),
    "parameters": ("a {{{1|default}}} {{{x}}} b", "a default b"),
    "holes": ("A ({{IPA-en|}}; {{lang|x|}}) b ( , c) , d (, ).", "A b (c), d."),
    "brackets that are all holes": ("A ({{x}}); ({{y}}); ({{z}}) b. C ({{x}}; {{y}}) ; d", "A b. C ; d"),
    "a hole at the end": ("Farrar. {{ISBN|1}}. Next.", "Farrar. Next."),
    "spaced dots stay": ("one . . . two", "one . . . two"),
    "references": ('A<ref>x [[y]]</ref><ref name="a/b" /> b<ref name=c>{{cite|x}}</ref>.', "A b."),
    "a reference that is never closed": ("A <ref>b\n\nc", "A b\n\nc"),
    "comments": ("A<!-- x\n\ny --> b\n<!-- line -->\nc", "A b c"),
    "a comment that is never closed": ("A <!-- b", "A"),
    "formulas": ("A <math>E = \n mc^2</math> b <chem>H2O</chem>", "A $E = mc^2$ b $H2O$"),
    "formulas with braces": ("<math>\\frac{{a}}{[[b]]}</math>", "$\\frac{{a}}{[[b]]}$"),
    "nowiki": ("<nowiki>[[a]] ''b'' {{c}}</nowiki>", "[[a]] ''b'' {{c}}"),
    "code": ("A\n<source lang=c>\nint a[[1]];\n\n  b;\n</source>\nc", "A\n\nint a[[1]];\n\n  b;\n\nc"),
    "lines that begin with a blank": ("A\n R is L\n   IF R > S\n\nb\n c\nd", "A\n\nR is L\nIF R > S\n\nb c d"),
    "tables": ("A\n{| class=x\n! h\n|-\n| a || b\n{|\n| inner\n|}\n|}\nb", "A\n\nb"),
    "a table that templates end": ("A\n{|\n| {{x\n|y}}\n|}}\n|}\nb", "A\n\nb"),
    "rows without a table": ("A\n|-\n| a || b\n! c !! d\nb", "A b"),
    "html tables": ("A <table><tr><td>x</td></tr></table> b", "A\n\nb".replace("\n\n", " ")),
    "headings": ("== A ==\nx\n=== B ===\n=== C ===\n== D ==\n", "== A ==\n\nx"),
    "headings above deeper ones": ("== A ==\n=== B ===\nx", "== A ==\n\n=== B ===\n\nx"),
    "lists": ("* a\n** b\n# c\n# d\n; t : d\n: e", "- a\n  - b\n1. c\n2. d\n\nt : d\n\ne"),
    "items of templates alone": ("* {{cite|x}}\n* {{cite|y}}, also z\n* w", "- also z\n- w"),
    "paragraphs": ("a\nb\n\n\nc<br>d<br /><br/>e", "a b\n\nc\nd\ne"),
    "tags": ("<div style='x'>a</div> <span>b</span> <sup>2</sup> H<sub>2</sub>O", "a\nb ^2 H2O".replace("\n", " ")),
    "entities": ("a&nbsp;b &lt;div&gt; &#91;x&#93; &amp;amp;", "a b <div> [x] &amp;"),
    "switches": ("__NOTOC__ __ДА__ a __init__", "a __init__"),
    "variants": ("-{zh-cn:a; zh-tw:b}-", "a"),
    "stray braces": ("a }} b ]] c |} d", "a b c |} d"),
    "a link that is never closed": ("a [[b c\n\nd", "a b c\n\nd"),
    "a template that is never closed": ("a {{Infobox\n| b = [[c]]\n| d\n\nText.", "a\n\nText."),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_what_readers_see(name: str) -> None:
    """One construct each."""
    wikitext, text = CASES[name]
    cleaner = Wikitext(headings="wiki", namespaces=Namespaces.make({6: "Fails", 14: "Kategoreja", 4: "Wikipedia"}))
    assert cleaner.clean(wikitext).text == text


@pytest.mark.parametrize(
    ("headings", "text"),
    [
        ("wiki", "a\n\n== B ==\n\nc"),
        ("markdown", "a\n\n## B\n\nc"),
        ("plain", "a\n\nB\n\nc"),
        ("none", "a\n\nc"),
    ],
)
def test_headings_as_asked(headings: str, text: str) -> None:
    """Four styles."""
    assert Wikitext(headings=headings).clean("a\n==B==\nc").text == text  # type: ignore[arg-type]


def test_formulas_can_go() -> None:
    """And are counted then."""
    cleaned = Wikitext(formulas=False).clean("a <math>x</math> b")
    assert (cleaned.text, cleaned.counts["formulas"]) == ("a b", 1)
    assert Wikitext().clean("a <math>x</math> b").counts["formulas"] == 0


LANGUAGES = [
    ("de", "{{Zitat|Ich bin da.|Wer}} Ein Hund ({{enS|dog}}, {{laS|''canis''}}), {{Höhe|1234|DE-NHN}} und {{Bruch|1|2}}.",
     "Ich bin da.\n\nEin Hund (englisch dog, lateinisch canis), 1234 m und 1/2."),
    ("fr", "Le {{date|1|janvier|1900}}, {{unité|15|km|2}} au {{s|XIX|e}}, {{citation|oui}}, {{lang|en|dog}} {{1er}} {{s2|V|VI}}.",
     "Le 1 janvier 1900, 15 km au XIXe siècle, « oui », dog 1er Ve et VIe siècles."),
    ("es", "El {{fecha|2|5|1808}}, {{unidad|3|kg}} del {{siglo|XIX||s}}.{{cita requerida}} {{cita|Sí, claro.}}",
     "El 2 de mayo de 1808, 3 kg del siglo XIX.\n\nSí, claro."),
    ("ja", "{{読み仮名|東京|とうきょう}}は{{仮リンク|犬|en|Dog}}、{{lang|en|dog}}。{{要出典|date=x}}", "東京（とうきょう）は犬、dog。"),
    ("it", "Alto {{M|12|k|m}} o {{m|3,5|ul=kg}}, {{converti|5|km|mi}}, nel 44 {{a.C.}}, {{Senza fonte|forse|data=x}}.{{Citazione|Sì.|Dante}}",
     "Alto 12 km o 3,5 kg, 5 km, nel 44 a.C., forse.\n\nSì."),
    ("nl", "In de 19{{e}} eeuw, {{Bron?|misschien|2012}} {{audio|x.ogg|gracht}}.{{Citaat|Ja.|Multatuli}}{{bron?||2012}}",
     "In de 19e eeuw, misschien gracht.\n\nJa."),
    ("pl", "Pies {{lang|en}} {{fakt|szczeka|data=2010}}, {{Link-interwiki|Dog|język=en|tekst=psy}}. {{Cytat|treść=Tak.|autor=x}} "
     "{{Cytat|Nie.|y}}",
     "Pies szczeka, psy.\n\nTak.\n\nNie."),
    ("pt", "Em {{dtlink|2|5|1808}}, {{fmtn|1500|km}}, no {{séc|XIX}}, {{AC|44}}, {{ilc|cão||Dog}} ({{carece de fontes}}). {{Citação|Sim.}}",
     "Em 2 de maio de 1808, 1500 km, no século XIX, 44 a.C., cão.\n\nSim."),
    ("ru", "Пёс ({{lang-en|dog}}, {{lang-la|canis}}), {{date|2|5|1808}}, {{OldStyleDate|5 мая|1813|23 апреля}}, {{num|15|км}}, "
     "{{нп5|Лайка|лайки|en|Laika}} и {{нп5|Рекс||en|Rex}}. {{Цитата|Да.|Лев}}",
     "Пёс (англ. dog, лат. canis), 2 мая 1808, 23 апреля [5 мая] 1813, 15 км, лайки и Рекс.\n\nДа."),
    ("zh", "毛{{bd|1893年|12月26日|1976年|9月9日|catIdx=M}}，李{{bd|1960年|1月1日}}，{{le|狗|Dog}}、{{link-en|犬|Dog|狗狗}}、"
     "{{tsl|en|Cat|貓}}，{{lang-en|dog}}。",
     "毛（1893年12月26日－1976年9月9日），李（1960年1月1日－），狗、狗狗、貓，英語：dog。"),
    ("en", "A {{citation|title=x|1=y}} {{s|XIX}} {{convert|5|km}}.", "A 5 km."),
    ("nobody", "A {{unité|15|km}} {{convert|5|km}}.", "A 5 km."),
]  # fmt: skip


@pytest.mark.parametrize(("language", "wikitext", "text"), LANGUAGES)
def test_templates_of_other_wikipedias(language: str, wikitext: str, text: str) -> None:
    """The same name means different things in different languages."""
    assert Wikitext(language=language).clean(wikitext).text == text


TABLES = {
    "rows": ("A\n{| class=x\n|+ The dogs\n! Name !! Age\n|-\n| Rex || 3\n|- style=x\n|Bello\n|4\n|}\nb",
             "A\n\nThe dogs\nName | Age\nRex | 3\nBello | 4\n\nb"),
    "looks": ('{|\n! scope="col" | # !! align=left|[[A|b]]\n|-\n| style="x" | \'\'c\'\'<ref>r</ref> ||\n|-\n|\n|}', "# | b\nc"),
    "cells of several lines": ("{|\n| a<br>b\n* c\n* d\n| {{convert|5|km}}\n|}", "a b c d | 5 km"),
    "a table in a table": ("{|\n| a\n|\n{|\n| b\n|-\n| c\n|}\n| d\n|}", "a | b; c | d"),
    "no rows": ("a\n{| class=x\n|-\n|}\nb", "a\n\nb"),
    "html": ("<table><caption>T</caption><tr><th>x</th><td class=y>1, 2</td></tr><tr><td></td></tr></table> b", "T\nx | 1, 2\n\nb"),
    "never closed": ("a\n{| class=x\n| b\n\nc", "a b c".replace("b c", "\n\nc").replace(" \n", "\n")),
    "spans": ("{|\n! colspan=3 | Dogs\n|-\n| rowspan='2' | Rex || 1 || a\n|-\n| colspan=\"2\" | 2\n|-\n|x||y||z\n|}",
              "Dogs\nRex | 1 | a\nRex | 2\nx | y | z"),
    "a span to the end": ("{|\n| rowspan=0 | a || b\n|-\n| c\n|-\n| d\n|}", "a | b\na | c\na | d"),
    "entities": ("{|\n| &lt;b&gt; || $&nbsp;5\n|}", "<b> | $ 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_rows(name: str) -> None:
    """A paragraph with a line for each row, every cell in its columns."""
    wikitext, text = TABLES[name]
    cleaned = Wikitext(tables="rows").clean(wikitext)
    assert cleaned.text == text
    assert cleaned.counts["tables"] == 0


def tile(generator: random.Random) -> list[list[tuple[str, int, int]]]:
    """A table without gaps, of cells that span rows and columns: of each cell its name, and how many."""
    num_rows, num_columns = generator.randint(1, 6), generator.randint(1, 6)
    taken: set[tuple[int, int]] = set()
    rows: list[list[tuple[str, int, int]]] = [[] for _ in range(num_rows)]
    for row, column in itertools.product(range(num_rows), range(num_columns)):
        if (row, column) in taken:
            continue
        free = next((far for far in range(column, num_columns) if (row, far) in taken), num_columns) - column
        deep, wide = generator.randint(1, min(3, num_rows - row)), generator.randint(1, min(3, free))
        taken |= set(itertools.product(range(row, row + deep), range(column, column + wide)))
        rows[row].append((f"c{len(taken)}", deep, wide))
    return rows


def test_spans_as_another_reader_has_them() -> None:
    """Wikitext and HTML of random tables: every cell in the rows and columns where pandas puts it."""
    pandas = pytest.importorskip("pandas", reason="needs: pip install pandas")
    generator = random.Random(3)
    num_compared = 0
    while num_compared < 40:
        rows = tile(generator)
        if not all(rows):  # a row of which every cell began above is no row in either
            continue
        cells = [[f"rowspan={deep} colspan='{wide}'" for _, deep, wide in row] for row in rows]
        wiki = "\n|-\n".join(
            "\n".join(f"| {a} | {c[0]}" for a, c in zip(*pair, strict=True)) for pair in zip(cells, rows, strict=True)
        )
        html = "".join(
            "<tr>" + "".join(f"<td {a}>{c[0]}</td>" for a, c in zip(*pair, strict=True)) + "</tr>"
            for pair in zip(cells, rows, strict=True)
        )
        grid = pandas.read_html(io.StringIO(f"<table>{html}</table>"), flavor="lxml")[0].to_numpy().tolist()
        expected = [
            " | ".join("" if n and row[n - 1] == text else text for n, text in enumerate(row)).rstrip(" |") for row in grid
        ]
        for wikitext in (f"{{|\n{wiki}\n|}}", f"<table>{html}</table>"):
            found = Wikitext(tables="rows").clean(wikitext).text.split("\n")
            assert found == [" ".join(line.split()) for line in expected]
        num_compared += 1


def test_tables_go_unless_asked_for() -> None:
    """And are counted then."""
    cleaned = Wikitext().clean(TABLES["rows"][0])
    assert (cleaned.text, cleaned.counts["tables"]) == ("A\n\nb", 1)


def test_what_is_taken_out_is_counted() -> None:
    """By kind."""
    cleaned = Wikitext().clean(
        "{{a}}{{b|{{c}}}}<ref>x</ref><ref name=x/>\n{|\n|}\n[[File:x]][[Category:y]]<gallery>\nz\n</gallery>"
    )
    assert dict(cleaned.counts) == {
        "templates": 3,
        "references": 2,
        "tables": 1,
        "files": 1,
        "categories": 1,
        "galleries and drawings": 1,
    }


def test_control_characters_do_not_reach_the_text() -> None:
    """Not even those that mark held text."""
    assert Wikitext().clean("a\x02b\x03\x020\x03 <nowiki>c\x020\x03</nowiki>").text == "ab0 c0"


MARKUP = st.lists(
    st.sampled_from(
        [*"{}[]|=*#:;'<>&!-_ \n", "{{", "}}", "{{{", "[[", "]]", "{|", "|}", "<ref>", "</ref>", "<!--", "-->", "<math>"]
    )
    | st.sampled_from(
        ["</math>", "<nowiki>", "nowrap|", "File:", "a", "é", "==", "\n{|", "\n|}", "<br>", "__A__", "&lt;", "http://x "]
    ),
    max_size=60,
).map("".join)


@given(MARKUP)
@settings(max_examples=150, deadline=None)
def test_any_markup_gives_some_text(wikitext: str) -> None:
    """No input fails, none leaves a mark of held text, and paragraphs are separated by one blank line."""
    text = Wikitext(tables="rows").clean(wikitext).text
    assert not set("\x02\x03\x04\x05") & set(text)
    assert text == text.strip()


@pytest.mark.parametrize(
    "unit",
    ["{{", "[[", "{{a|", "[[a|", "{|\n", "\n{|\n|", "<ref>", "<!--", "<math>", "<nowiki>", "{{{", "}}", "]]", "\n|}", "{{nowrap|", "<a ",
 "[http:", "(", "( ,", "''", "-{", "__A", "<table>", "{{a}}", "[[a]]", "<ref></ref>", "\n* ", "\n==", "&", ", ", "; ,", " .", "<br> ",
     "\n{|\n|a\n", "\n|colspan=999 rowspan=9999|a\n|-\n|b", "\n|}\n{|\n", "{|\n|a|}\n|", "a|}", "\n{|\n|}"],
)  # fmt: skip
def test_hostile_pages_take_linear_time(unit: str) -> None:
    """Two hundred kilobytes of each: seconds of processor time would mean hours for a page that is a bit larger."""
    wikitext = unit * (200_000 // len(unit))
    before = time.process_time()
    Wikitext(tables="rows").clean(wikitext)
    assert time.process_time() - before < 20


def test_nested_templates_take_linear_time() -> None:
    """Closed, and around a long text: beyond a depth nothing is copied."""
    before = time.process_time()
    Wikitext().clean("{{nowrap|" * 50_000 + "x" * 500_000 + "}}" * 50_000)
    assert time.process_time() - before < 50
