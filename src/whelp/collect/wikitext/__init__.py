"""Wikitext in, clean text out, in time linear in its length, whatever it holds.

    from whelp.collect.wikitext import Wikitext

    Wikitext().clean("A '''whelp''' is a [[dog|young dog]].{{citation needed}}").text   # 'A whelp is a young dog.'

Start reading in `clean.py`, which goes over a page four times: `tags.py` (comments, references, formulas, code), `braces.py`
(templates, tables, links), the rest of the inline markup, and `lines.py` (headings, lists, paragraphs). Templates that stand
for words inside sentences are in `templates.py`; what a link shows is in `links.py`.
"""

from whelp.collect.wikitext.clean import Cleaned as Cleaned
from whelp.collect.wikitext.clean import Wikitext as Wikitext
from whelp.collect.wikitext.links import Namespaces as Namespaces

__all__ = ["Cleaned", "Namespaces", "Wikitext"]
