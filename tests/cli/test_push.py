"""A model goes through a hub and comes back the same; nothing is replaced unasked; what is wrong is said."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import constants, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer

import whelp as package
from hub import READER, WRITER, Hub, open_hub
from whelp.base.errors import ConfigError, HubError, MissingExtraError
from whelp.cli.generate import load_model

from .helpers import Project, Whelp, make_project, said_once, snapshot

# the library's own way to send files, which its client of the network calls old
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, and somebody who is logged in to it; large files go as LFS has it."""
    with open_hub(tmp_path / "storage") as opened:
        monkeypatch.setattr(constants, "ENDPOINT", opened.endpoint)
        template = opened.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield opened


@pytest.mark.parametrize("without_xet", [True, False], ids=["lfs", "xet"])
def test_a_model_goes_and_comes_back(
    whelp: Whelp, made: Project, hub: Hub, tmp_path: Path, without_xet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger fetches it, opens it with transformers, and gets our logits; by either way that large files go."""
    if not without_xet:
        pytest.importorskip("hf_xet", reason="comes with huggingface_hub, but not for every system")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", without_xet)
    before = snapshot(made.folder)
    result = whelp("push", made.run, "ada/fox", "--license", "mit", "--json").json
    assert (result["url"], result["is_new"], result["is_private"]) == (f"{hub.endpoint}/ada/fox", True, False)
    assert {one["change"] for one in result["contents"]} == {"added"}
    there = hub.repositories["model", "ada/fox"]
    assert result["commit"] == there.branches["main"]
    assert [one["file"] for one in result["contents"]] == sorted(there.files())
    assert bool(hub.sent) == without_xet
    fetched = snapshot_download("ada/fox", cache_dir=tmp_path / "cache", endpoint=hub.endpoint, token=False)
    ours = load_model(made.run, "cpu")
    text = "The quick café"
    ids = AutoTokenizer.from_pretrained(fetched)(text, return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == ours.vocabulary.encode(text).tolist()
    with torch.no_grad():
        torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(fetched)(ids).logits, ours.model(ids))
    options = {"max_tokens": 8, "temperature": 0.0, "device": "cpu"}
    assert package.generate(fetched, text, **options)[0].text == package.generate(made.run, text, **options)[0].text
    assert snapshot(made.folder) == before
