"""What a link shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_FILE = 6
_MEDIA = -2
_CATEGORY = 14
_FILE_NAMES = (  # beside what a dump says of itself, the names that wikis accept for files
    "file|image|media|datei|bild|fichier|archivo|imagen|immagine|plik|grafika|bestand|afbeelding|ficheiro|imagem|arquivo|"
    "файл|изображение|зображення|attēls|fails|soubor|súbor|tiedosto|kuva|fil|dosya|resim|ファイル|画像|文件|图像|圖像|檔案|"
    "파일|그림|ملف|صورة|קובץ|תמונה|tập tin|hình|berkas|gambar|fájl|kép|fișier|imagine|αρχείο|εικόνα|датотека|слика|slika|"
    "fitxer|imatge|चित्र|پرونده|تصویر|lêer|beeld|skrá|mynd|vaizdas|pilt|dosiero|bestan"
)
_CATEGORY_NAMES = (
    "category|kategorie|catégorie|categoría|categoria|kategoria|categorie|категория|категорія|kategori|カテゴリ|分类|分類"
)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*|simple\Z")
_IN_PARENTHESES = re.compile(r"\s*\([^()]*\)\Z|,.*\Z")


@dataclass(frozen=True)
class Namespaces:
    """Names of a wiki's namespaces, in lower case: of files, of categories, and all.

    >>> namespaces = Namespaces.make({6: "Fails", 14: "Kategoreja"})
    >>> "fails" in namespaces.files, "image" in namespaces.files, "kategoreja" in namespaces.categories
    (True, True, True)
    """

    files: frozenset[str]
    categories: frozenset[str]
    names: frozenset[str]

    @classmethod
    def make(cls, names: Mapping[int, str] | None = None) -> Namespaces:
        """From the numbers and names that a dump gives; the usual names of files and categories are known without."""
        names = names or {}
        own = {number: name.lower().replace("_", " ") for number, name in names.items() if name}
        files = {*_FILE_NAMES.split("|"), *_pick(own, (_FILE, _MEDIA))}
        categories = {*_CATEGORY_NAMES.split("|"), *_pick(own, (_CATEGORY,))}
        return cls(frozenset(files), frozenset(categories), frozenset({*files, *categories, *own.values()}))


def _pick(names: Mapping[int, str], numbers: Iterable[int]) -> list[str]:
    return [names[number] for number in numbers if number in names]


def show_link(content: str, namespaces: Namespaces, counts: Counter[str]) -> str:
    """The text that readers see for what stands between `[[` and `]]`; none for files, categories, other languages.

    >>> namespaces = Namespaces.make()
    >>> [show_link(link, namespaces, Counter()) for link in ("dog|young dogs", "Kid (goat)|", ":Category:Dogs", "fr:Chien")]
    ['young dogs', 'Kid', 'Category:Dogs', '']
    """
    target, bar, label = content.partition("|")
    target = target.strip()
    prefix, colon, rest = target.partition(":")
    if colon and prefix:
        name = prefix.strip().lower().replace("_", " ")
        if name in namespaces.files:
            counts["files"] += 1
            return ""
        if name in namespaces.categories:
            counts["categories"] += 1
            return ""
        if name not in namespaces.names and _LANGUAGE.fullmatch(prefix) and rest[:1] != " ":
            return ""
    if bar and label.strip():
        return label
    if bar:
        return _IN_PARENTHESES.sub("", rest if colon else target)
    return target.removeprefix(":").removeprefix("#")
