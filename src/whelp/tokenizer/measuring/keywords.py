"""Words that code is made of. What is one token here costs a model one step to write."""

from __future__ import annotations

import builtins
import keyword

_LISTS = {
    "JavaScript": "async await break case catch class const continue debugger default delete do else export extends false finally "
    "for function if import in instanceof let new null of return static super switch this throw true try typeof undefined var "
    "void while with yield",
    "C": "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "return short signed sizeof static struct switch typedef union unsigned void volatile while include define ifdef endif NULL",
    "Java": "abstract assert boolean break byte case catch char class const continue default do double else enum extends final "
    "finally float for if implements import instanceof int interface long native new null package private protected public "
    "return short static super switch synchronized this throw throws transient try void volatile while String",
    "Go": "break case chan const continue default defer else fallthrough for func go goto if import interface map package range "
    "return select struct switch type var nil string int bool error make append len",
    "Rust": "as async await break const continue crate dyn else enum extern fn for if impl in let loop match mod move mut pub "
    "ref return self static struct super trait true type unsafe use where while Option Some None Result Ok Err Vec String",
    "SQL": "SELECT FROM WHERE INSERT INTO UPDATE DELETE CREATE TABLE ALTER DROP INDEX JOIN LEFT RIGHT INNER OUTER ON GROUP BY "
    "ORDER HAVING LIMIT DISTINCT UNION AND OR NOT NULL PRIMARY KEY FOREIGN REFERENCES VALUES SET AS",
}


def list_keywords() -> dict[str, list[str]]:
    """Lists by name: the keywords and the built-in names of this Python, then those of other languages."""
    return {
        "Python keywords": [*keyword.kwlist, *(word for word in keyword.softkwlist if word != "_")],
        "Python built-ins": [name for name in dir(builtins) if not name.startswith("_") and not keyword.iskeyword(name)],
        **{f"{name} words": words.split() for name, words in _LISTS.items()},
    }
