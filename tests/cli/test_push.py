"""A model goes through a hub and comes back the same; nothing is replaced unasked; what is wrong is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer

import whelp as package
from hub import READER, WRITER, Hub, open_hub
from whelp.base.errors import HubError, MissingExtraError
from whelp.cli import push as push_command
from whelp.cli.generate import load_model
from whelp.cli.screens import show

from .helpers import Project, Whelp, said_once, snapshot

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


def test_what_the_card_says(whelp: Whelp, made: Project, hub: Hub) -> None:
    """It opens the model by its name there, tells of the run, and names no folder of this machine; the dry run shows it."""
    outcome = whelp("push", made.run, "ada/fox", "--license", "mit", "--dry-run")
    assert outcome.code == 0, outcome.stderr
    for words in (
        "branch main: new, public",
        "license: mit",
        "model.safetensors",
        "to train on",
        "mit. The texts",
        "nothing was sent",
    ):
        assert words in outcome.said, words
    assert hub.repositories == {}
    assert not any(request.startswith(("POST", "PUT")) for request in hub.asked)
    card = whelp("push", made.run, "ada/fox", "--json").json["card"]
    assert hub.read("ada/fox")["README.md"].decode() == card
    for words in (
        'from_pretrained("ada/fox")',
        "vllm serve ada/fox",
        "hf download ada/fox --local-dir fox",
        "whelp generate fox --prompt",
    ):
        assert words in card, words
    assert str(made.folder.parent) not in card


def test_a_dry_run_asks_nobody_for_a_token_nor_needs_a_network(
    whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists the files and says that the hub was not asked."""
    monkeypatch.delenv("HF_TOKEN")
    outcome = whelp("push", made.run, "ada/fox", "--dry-run", "--json")
    assert outcome.json["is_new"] is True
    assert "nobody is logged in, so a private repository called ada/fox would not be seen" in outcome.said
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    outcome = whelp("push", made.run, "ada/fox", "--dry-run", "--json")
    assert outcome.json["is_new"] is None
    assert "note the hub was not asked what stands there: ada/fox: http://127.0.0.1:9 cannot be reached" in outcome.said


@pytest.mark.parametrize(("format", "file"), [("gguf", "fox-f16.gguf"), ("onnx", "fox.onnx")])
def test_other_formats(made: Project, hub: Hub, format: str, file: str) -> None:
    """They are those of `whelp export`, called as the repository is."""
    result = package.push(made.run, "ada/fox", format=format)
    assert file in hub.read("ada/fox")
    assert "hf download ada/fox --local-dir fox\n```\n\n" in result.card
    assert f"fox/{file}" in result.card


def test_an_export_goes_as_it_stands(whelp: Whelp, made: Project, hub: Hub) -> None:
    """Whoever has edited the card finds it there; hidden files stay behind; what the card opens is compared with the name."""
    assert whelp("export", made.run, "--out", "mine", "--license", "mit").code == 0
    card = Path("mine/README.md").read_text() + "\nMy words.\n"
    Path("mine/README.md").write_text(card)
    Path("mine/.env").write_text("KEY=secret")
    Path("mine/pictures").mkdir()
    Path("mine/pictures/fox.png").write_bytes(b"\x89PNG")
    outcome = whelp("push", "mine", "ada/fox")
    assert outcome.code == 0, outcome.stderr
    assert "note mine: hidden files stay behind: .env" in outcome.said
    assert "note the card opens mine, but there it is called ada/fox: change it in mine/README.md" in outcome.said
    assert "names no license" not in outcome.said
    there = hub.read("ada/fox")
    assert there == {
        path.relative_to("mine").as_posix(): path.read_bytes()
        for path in Path("mine").rglob("*")
        if path.is_file() and path.name != ".env"
    }
    message = said_once(whelp("push", "mine", "ada/fox", "--license", "gpl-3.0"), "goes as it stands, and --license would")
    assert message.endswith("Push the run that it is of, or change README.md.")


def test_nothing_is_replaced_unasked(whelp: Whelp, made: Project, hub: Hub) -> None:
    """It says what would be, with sizes; with --replace it is, and other files stay."""
    weights = b"somebody's weights"
    there = hub.make("herd/fox", files={"config.json": b"{}", "model.safetensors": weights, "notes.txt": b"mine"})
    before = there.branches["main"]
    told = whelp("push", made.run, "herd/fox", "--dry-run")
    assert "2 files there would be replaced, which needs --replace" in told.said
    assert "left as it stands there: 1 other file" in told.said
    message = said_once(
        whelp("push", made.run, "herd/fox"), "herd/fox: 2 files there would be replaced: config.json (2 bytes there, "
    )
    assert "model.safetensors (18 bytes there, " in message
    assert "--replace does it, and the history" in message
    assert there.branches["main"] == before
    result = whelp("push", made.run, "herd/fox", "--replace", "--message", "Step 4", "--json").json
    changes = {one["file"]: one["change"] for one in result["contents"]}
    assert (changes["config.json"], changes["tokenizer.json"], result["others"]) == ("replaced", "added", ["notes.txt"])
    assert hub.read("herd/fox")["notes.txt"] == b"mine"
    assert there.messages[1:] == ["Step 4"]
    again = whelp("push", made.run, "herd/fox", "--json").json
    assert (again["commit"], {one["change"] for one in again["contents"]}) == (None, {"unchanged"})
    assert len(there.messages) == 2


def test_a_branch_and_a_private_repository(whelp: Whelp, made: Project, hub: Hub) -> None:
    """The branch begins with what main has; a stranger does not see what is private."""
    result = whelp("push", made.run, "herd/fox", "--private", "--branch", "step-4", "--json").json
    assert (result["is_private"], result["revision"]) == (True, "step-4")
    there = hub.repositories["model", "herd/fox"]
    assert there.is_private
    assert there.files("main") == {}
    assert "model.safetensors" in there.files("step-4")
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        huggingface_hub.HfApi(endpoint=hub.endpoint, token=READER).model_info("herd/fox")
    hub.make("ada/open")
    message = said_once(whelp("push", made.run, "ada/open", "--private"), "ada/open: it is there already, and public")
    assert "choose another name; nothing was changed." in message


def test_a_cut_upload_goes_on(whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had arrived is not sent again, and no half of a model is ever there."""
    hub.refusals.append((r"POST .*/commit/", 503, "Service unavailable"))
    message = said_once(whelp("push", made.run, "ada/fox"), "ada/fox: the hub is busy or failing (503: Service unavailable)")
    assert message.endswith("Wait. Run the same command again: what has arrived is not sent twice.")
    assert hub.repositories["model", "ada/fox"].files() == {}
    hub.refusals.clear()
    sent = list(hub.sent)
    assert len(sent) == 1
    assert whelp("push", made.run, "ada/fox").code == 0
    assert hub.sent == sent
    assert "model.safetensors" in hub.read("ada/fox")


def test_somebody_else_writes_meanwhile(made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not looked at is not replaced."""
    there = hub.make("ada/fox")
    send = huggingface_hub.HfApi.upload_folder

    def send_late(self, **options):
        there.commit("main", {"config.json": b"theirs"}, "theirs")
        return send(self, **options)

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", send_late)
    with pytest.raises(HubError, match=r"it was changed meanwhile \(A commit has happened since.*the same command again"):
        package.push(made.run, "ada/fox")
    assert there.files() == {"config.json": b"theirs"}


def test_what_is_left_out_there_is_noticed(made: Project, hub: Hub) -> None:
    """A .gitignore of the repository makes its library leave files out, silently."""
    hub.make("ada/fox", files={".gitignore": b"*.safetensors"})
    with pytest.raises(
        HubError, match=r"model\.safetensors did not arrive, or not as sent, but expected every file\. A \.gitignore"
    ):
        package.push(made.run, "ada/fox")


@pytest.mark.parametrize(
    ("name", "refusal", "words"),
    [
        ("guest/fox", None, "guest/fox: ada may not write there (You don't have the rights to create a model under the names"),
        ("ada/fox", (r"POST /api/repos/create", 401, "Invalid credentials in Authorization header"), "does not take the token"),
        ("ada/fox", (r"POST .*/commit/", 413, "Payload Too Large"), "a file is too large for the hub (Payload Too Large)"),
        ("ada/fox", (r"PUT /large/", 403, "exceeds the storage limit"), "model.safetensors is too large for the hub"),
        ("ada/fox", (r"GET /api/models/ada/fox", 429, "Slow down"), "the hub is busy or failing (429: Slow down). Wait."),
        (
            "ada/fox",
            (r"POST /api/repos/create", 409, "another one"),
            "a model of that name cannot be made: something else has it",
        ),
        ("ada/fox", (r"POST .*/commit/", 422, "No."), "ada/fox: the hub refuses (422: No). Nothing else was tried."),
    ],
)
def test_what_a_hub_refuses(
    whelp: Whelp, made: Project, hub: Hub, name: str, refusal: tuple[str, int, str] | None, words: str
) -> None:
    """Each with the hub's own reason and what to do; a token is never shown."""
    if refusal is not None:
        hub.refusals.append(refusal)
    outcome = whelp("push", made.run, name)
    said_once(outcome, words)
    assert WRITER not in outcome.stderr


def test_what_a_hub_refuses_to_xet(made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hf_xet` asks by itself, and says what it was told in words of its own."""
    pytest.importorskip("hf_xet", reason="comes with huggingface_hub, but not for every system")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.refusals.append(("GET .*/xet-write-token/", 403, "No."))
    with pytest.raises(
        HubError, match=r"ada/fox: ada may not write there \(.*403 Forbidden\)\), but expected a right to write"
    ) as caught:
        package.push(made.run, "ada/fox")
    assert "http" not in str(caught.value)


def test_a_card_that_the_hub_does_not_take(whelp: Whelp, made: Project, hub: Hub) -> None:
    """It says which word, and where it stands."""
    hub.card_problems = [{"message": '"license" must be one of ...'}]
    said_once(
        whelp("push", made.run, "ada/fox"), "does not take the head of the card", '"license" must be one of', "Mend README.md."
    )


def test_nobody_is_logged_in(whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out before anything else, with what to do; a wrong token, too."""
    monkeypatch.delenv("HF_TOKEN")
    message = said_once(whelp("push", made.run, "ada/fox"), "nobody is logged in to the hub on this machine")
    assert "Run `hf auth login`, or put a token that may write into the variable HF_TOKEN." in message
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    outcome = whelp("push", made.run, "ada/fox")
    said_once(outcome, "the hub does not take the token (Invalid credentials in Authorization header)")
    assert "hf_expired" not in outcome.stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said_once(whelp("push", made.run, "ada/fox"), "HF_HUB_OFFLINE is set, so the hub is not asked. Unset it.")


def test_the_folder_is_looked_at_first(whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled one is said to somebody who is not logged in, too, and no hub is asked."""
    monkeypatch.delenv("HF_TOKEN")
    said_once(whelp("push", "nowhere", "ada/fox"), "nowhere: ")
    said_once(whelp("push", "nowhere", "ada/fox", "--dataset"), "nowhere: there is no such file or folder")
    said_once(whelp("push", made.store, "ada/fox"), "is a token store, not a model")
    said_once(whelp("push", made.run, "ada/fox", "--dataset"), "is no data set")
    assert whelp("export", made.run, "--out", "mine").code == 0
    said_once(whelp("push", "mine", "ada/fox", "--license", "mit"), "goes as it stands")
    assert hub.asked == []


_MAY_WRITE = [{"name": "herd", "roleInOrg": "write"}]


@pytest.mark.parametrize(
    ("name", "told", "words"),
    [
        (
            "guest/fox",
            {"orgs": _MAY_WRITE},
            "guest/fox: ada may not write there (only for ada, herd), but expected a right to write",
        ),
        ("ada/fox", {"auth": {"accessToken": {"role": "read"}}}, "ada/fox: ada may not write there (the token may only read)"),
        (
            "ada/fox",
            {
                "auth": {
                    "accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read"]}]}}
                }
            },
            "ada/fox: ada may not write there (the token may only read)",
        ),
    ],
)
def test_rights_are_looked_at_before_the_work(
    whelp: Whelp, made: Project, hub: Hub, name: str, told: dict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is laid out for a hub that would refuse it; a dry run goes on, and says so."""
    hub.told_of_rights = told
    assert f"note a push would be refused: {words}" in whelp("push", made.run, name, "--dry-run").said
    monkeypatch.setattr(push_command, "lay_out_model", lambda *_, **__: pytest.fail("it was laid out"))
    assert "Take a token that may write for " in said_once(whelp("push", made.run, name), words)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Herd/fox", {"orgs": _MAY_WRITE}),
        ("ada/fox", {"orgs": [], "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"global": ["repo.write"]}}}}),
        ("ada/fox", {"orgs": [], "auth": {"accessToken": {"role": "write", "fineGrained": None}}}),
        ("ada/fox", {"orgs": "not a list of organizations"}),
    ],
)
def test_what_does_not_speak_against_a_push(whelp: Whelp, made: Project, hub: Hub, name: str, told: dict) -> None:
    """What a hub tells in another way is not taken for a no."""
    hub.told_of_rights = told
    assert "would be refused" not in whelp("push", made.run, name, "--dry-run").said


def test_no_network(whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was tried is named, and the variable that names another."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = said_once(whelp("push", made.run, "ada/fox"), "ada/fox: http://127.0.0.1:9 cannot be reached (")
    assert "Check the network and HF_ENDPOINT." in message


@pytest.mark.parametrize(
    "name", ["fox", "a/b/c", "ada/", "ada/-fox", "ada/fox--2", "http://hub/ada/fox", "ada/my fox", "ada/fox.git"]
)
def test_names_that_are_none(whelp: Whelp, made: Project, hub: Hub, name: str) -> None:
    """They are refused before anything is asked."""
    said_once(whelp("push", made.run, name), f"{name!r} is no name on a hub, but expected OWNER/NAME, as ada/my-model")
    assert hub.asked == []


def test_what_is_no_model(whelp: Whelp, made: Project, hub: Hub) -> None:
    """A data set, a run that has nothing yet, a folder without either: each is called what it is."""
    said_once(whelp("push", made.store, "ada/x"), "is a token store, not a model. To push it as a data set, add --dataset.")
    said_once(whelp("push", made.run, "ada/x", "--dataset"), "is no data set. To push a model, leave out --dataset.")
    Path("run").mkdir()
    Path("run/plan.json").write_text("{}")
    said_once(whelp("push", "run", "ada/x"), "run: this run has no checkpoint yet")
    Path("empty").mkdir()
    said_once(whelp("push", "empty", "ada/x"), "empty: holds no config.json and no checkpoints")
    said_once(whelp("push", "empty", "ada/x", "--dataset"), "empty: there is nothing to push")
    said_once(whelp("push", "nowhere", "ada/x", "--dataset"), "nowhere: there is no such file or folder")
    said_once(whelp("push", made.store, "ada/x", "--dataset", "--format", "gguf"), "--format is for models")
    said_once(whelp("push", made.run, "ada/x", "--dtype", "q2"), "--dtype is 'q2', but expected one of f32, f16, bf16 for hf")
    assert hub.repositories == {}


def test_a_name_that_is_a_data_set_there(whelp: Whelp, made: Project, hub: Hub) -> None:
    """Hubs let both stand; it is said, for it may be a slip."""
    hub.make("ada/fox", kind="dataset")
    outcome = whelp("push", made.run, "ada/fox")
    assert outcome.code == 0, outcome.stderr
    assert "note ada/fox is a dataset there already; a model of that name stands beside it" in outcome.said
    assert "note the card names no license, so nobody else may know" in outcome.said
    assert hub.read("ada/fox", kind="dataset") == {}


def test_without_the_package(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        MissingExtraError, match=r'the package huggingface-hub is not installed\. Run `pip install "whelp\[hub\]"`'
    ):
        package.push(made.run, "ada/fox")


def test_the_variable_names_the_hub(made: Project, hub: Hub, tmp_path: Path) -> None:
    """In a process of its own, as a user has it: HF_ENDPOINT, a token in HF_TOKEN, and nothing patched."""
    program = [sys.executable, "-c", "from whelp.cli.main import main; main()"]
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITER, "HF_HOME": str(tmp_path / "home")}
    command = [*program, "push", str(made.run), "ada/fox", "--license", "mit", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"{hub.endpoint}/ada/fox"
    assert "model.safetensors" in hub.repositories["model", "ada/fox"].files()
    assert WRITER not in done.stderr


def test_bars_are_the_librarys_and_are_as_before(made: Project, hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    """A call in a script is silent, and leaves the library as it was."""
    assert not huggingface_hub.utils.are_progress_bars_disabled()
    capfd.readouterr()
    package.push(made.run, "ada/fox", license="mit")
    assert capfd.readouterr() == ("", "")
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_stop_leaves_nothing_here(
    whelp: Whelp, made: Project, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while files are sent: the folder that they lay in is gone, and it says that the command goes on."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    laid_out = []

    def stop(self, *, folder_path, **options):
        laid_out.extend(Path(folder_path).iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", stop)
    outcome = whelp("push", made.run, "ada/fox")
    assert outcome.code == 130
    assert "interrupted; what was finished is kept, and the same command goes on" in outcome.said
    assert (len(laid_out), list((tmp_path / "temporary").iterdir())) == (8, [])


def test_systems_without_links(made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """There files are copied."""

    def refuse(*_: object) -> None:
        raise OSError("no right to make links")

    monkeypatch.setattr(os, "symlink", refuse)
    package.push(made.run, "ada/fox")
    assert hub.read("ada/fox")["model.safetensors"] == (made.run / "checkpoints/last/model.safetensors").read_bytes()


def test_what_an_earlier_push_left_is_not_read_with_the_new(whelp: Whelp, made: Project, hub: Hub) -> None:
    """Shards of other weights go with --replace; files that are not read with the new ones stay."""
    shards = {"model-00001-of-00002.safetensors": b"old", "model.safetensors.index.json": b"{}", "fox-q8_0.gguf": b"other"}
    there = hub.make("ada/fox", files=shards)
    message = said_once(whelp("push", made.run, "ada/fox"), "2 files of an earlier push would be removed, else read together")
    assert "model-00001-of-00002.safetensors, model.safetensors.index.json. --replace does it" in message
    assert "2 files there would be removed, which needs --replace" in whelp("push", made.run, "ada/fox", "--dry-run").said
    result = whelp("push", made.run, "ada/fox", "--replace", "--json").json
    assert [one["file"] for one in result["contents"] if one["change"] == "removed"] == sorted(shards)[1:]
    assert result["others"] == ["fox-q8_0.gguf"]
    assert there.files().keys() & shards.keys() == {"fox-q8_0.gguf"}


def test_no_line_is_wider_than_a_terminal(whelp: Whelp, made: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no address is wrapped below itself."""
    monkeypatch.setattr(show.console, "width", 80)
    for options in ([], ["--dry-run"]):
        lines = whelp("push", made.run, "ada/fox", "--license", "mit", *options).stderr.splitlines()
        assert [line for line in lines if len(line) > 80] == []
    assert "           License" in lines


def test_what_others_must_not_read(whelp: Whelp, made: Project, hub: Hub) -> None:
    """A token is refused; folders of this machine are noted, and those that libraries write are left out."""
    assert whelp("export", made.run, "--out", "mine", "--license", "mit").code == 0
    card = Path("mine/README.md").read_text()
    Path("mine/README.md").write_text(card + f"\nMade in {Path.cwd() / 'mine'}.\n")
    assert (
        "note mine: folders of this machine stand in README.md, for all who may see it" in whelp("push", "mine", "ada/a").said
    )
    Path("mine/notes.md").write_text(f"hf_{'x' * 34}")
    said_once(
        whelp("push", "mine", "ada/b"), "mine/notes.md: a token of the hub stands in it, but expected no token. Take it out"
    )
    assert ("model", "ada/b") not in hub.repositories
    shutil.copytree((made.run / "checkpoints/last").resolve(), "model")
    config = json.loads(Path("model/config.json").read_text()) | {"_name_or_path": "/home/ada/secret"}
    Path("model/config.json").write_text(json.dumps(config))
    package.push("model", "ada/c")
    assert b"/home/ada" not in hub.read("ada/c")["config.json"]


def test_a_graph_names_no_folder_of_this_machine(made: Project, hub: Hub) -> None:
    """Its exporter notes at each node the lines of the program, with the folder that whelp is installed in."""
    package.push(made.run, "ada/fox", format="onnx")
    graph = hub.read("ada/fox")["fox.onnx"]
    assert b"language_model.py" not in graph
    assert str(Path(package.__file__).parent).encode() not in graph
