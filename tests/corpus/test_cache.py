"""Where fetched files are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from whelp.base.errors import PlanError
from whelp.corpus.cache import find_cache_folder


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a container a user may have no name, and so no home."""

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("WHELP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    with pytest.raises(PlanError, match=r"the cache: there is no home folder.*Set the variable WHELP_CACHE"):
        find_cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_cache_folder() == tmp_path / "whelp"
