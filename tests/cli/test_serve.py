"""`whelp serve` with a real model, in a process of its own: what it says, what it answers, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

import whelp
from waiting import SECONDS, wait_until
from whelp.cli.serve import TOKEN_VARIABLE, open_server

from .helpers import Project, Whelp, make_project, snapshot


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run with two checkpoints, its store beside it."""
    project = make_project(tmp_path_factory.mktemp("serve") / "pup", train={"save_every_steps": 2, "sample_prompts": ["The"]})
    whelp.prepare(project.recipe, out=project.store)
    whelp.train(project.recipe, store=project.store, out=project.run)
    return project


@pytest.fixture(scope="module")
def served(trained: Project) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str], httpx.Client]]:
    """The command, started once for the module: what it printed, its process, and a client."""
    process = _start(trained.run, "--compare", trained.run / "checkpoints" / "step-00000002")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    with httpx.Client(base_url=said["url"], timeout=SECONDS, trust_env=False) as client:
        yield said, process, client
    process.kill()
    process.communicate()


def _start(*arguments: object) -> subprocess.Popen[str]:
    words = ["serve", *map(str, arguments), "--port", "0", "--json", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment.pop(TOKEN_VARIABLE, None)
    code = "from whelp.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


Served = tuple[dict[str, Any], subprocess.Popen[str], httpx.Client]


def test_what_it_says(served: Served) -> None:
    """One JSON object as soon as it answers: where, which models, and no token on this machine's own address."""
    said, _, client = served
    assert said == {"url": said["url"], "api": f"{said['url']}/v1", "models": ["pup", "pup@step-00000002"], "token": None}
    assert said["url"].startswith("http://127.0.0.1:")
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == said["models"]


def test_it_says_what_generate_says(served: Served, trained: Project) -> None:
    """The likeliest continuation over HTTP is that of `whelp generate`, whole and streamed, from both checkpoints."""
    _, _, client = served
    body = {"prompt": "The quick", "max_tokens": 6, "temperature": 0}
    for name, folder in (("pup", trained.run), ("pup@step-00000002", trained.run / "checkpoints" / "step-00000002")):
        expected = whelp.generate(folder, "The quick", max_tokens=6, temperature=0, device="cpu")[0].text
        assert client.post("/v1/completions", json={**body, "model": name}).json()["choices"][0]["text"] == expected
        streamed = client.post("/v1/completions", json={**body, "model": name, "stream": True}).text
        events = [json.loads(line[6:]) for line in streamed.split("\n\n") if line.startswith("data: {")]
        assert "".join(event["choices"][0]["text"] for event in events) == expected


def test_the_same_seed_gives_the_same_text(served: Served) -> None:
    """Also beside others; another seed gives another text."""
    _, _, client = served

    def ask(seed: int) -> list[str]:
        body = {"prompt": "The", "max_tokens": 8, "temperature": 1.5, "seed": seed, "n": 3}
        return [choice["text"] for choice in client.post("/v1/completions", json=body).json()["choices"]]

    assert ask(1) == ask(1) != ask(2)
    assert len(set(ask(1))) > 1


def test_settings_reach_the_model(served: Served, trained: Project) -> None:
    """A bias forbids, a stop text ends, log probabilities are those of the model."""
    _, _, client = served
    body = {"prompt": "The quick", "max_tokens": 4, "temperature": 0, "logprobs": 3}
    plain = client.post("/v1/completions", json=body).json()["choices"][0]
    first = plain["logprobs"]["tokens"][0]
    assert plain["logprobs"]["token_logprobs"][0] == max(plain["logprobs"]["top_logprobs"][0].values())
    token_id = client.post("/api/tokenize", json={"text": first}).json()["tokens"][0]["id"]
    biased = client.post("/v1/completions", json={**body, "logit_bias": {str(token_id): -100}}).json()["choices"][0]
    assert biased["logprobs"]["tokens"][0] != first
    stopped = client.post("/v1/completions", json={**body, "stop": [plain["text"]]}).json()["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == ("", "stop")


@pytest.mark.parametrize(
    "extreme",
    [
        {"temperature": 1e-300},
        {"temperature": 2, "top_p": 0, "min_p": 1, "top_k": 1 << 20},
        {"top_p": 1e-300, "min_p": 1e-300, "repetition_penalty": 0.01},
        {"repetition_penalty": 10, "frequency_penalty": -2, "presence_penalty": -2},
        {"logit_bias": {str(token_id): -100 for token_id in range(300)}},
        {"logit_bias": {str(token_id): 100 for token_id in range(300)}, "logprobs": 20},
    ],
)
def test_extreme_settings_harm_nobody(served: Served, extreme: dict[str, Any]) -> None:
    """Whatever the ranges allow is answered; a model that fails would take the answers of others with it."""
    _, _, client = served
    answer = client.post("/v1/completions", json={"prompt": "The", "max_tokens": 5, "n": 2, **extreme})
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] >= 2


def test_a_prompt_longer_than_the_context(served: Served) -> None:
    """400, with both numbers, from the command as well."""
    _, _, client = served
    answer = client.post("/v1/completions", json={"prompt": "The quick brown fox " * 20})
    assert answer.status_code == 400
    assert "but at most 15 are allowed: pup reads 16" in answer.json()["error"]["message"]


def test_the_page_sees_run_and_store(served: Served, trained: Project) -> None:
    """The run's records and plan, and the store beside it, with its documents."""
    _, _, client = served
    state = client.get("/api/state").json()
    assert (state["run"], state["has_store"], state["version"]) == ("pup/run", True, whelp.__version__)
    found = client.get("/api/run/records").json()
    steps = [record["step"] for record in found["metrics"]["records"] if "loss" in record]
    assert (steps, found["finished_step"]) == ([1, 2, 3, 4], 4)
    row = client.get("/api/store/rows", params={"first": 1, "count": 1, "context_tokens": 40}).json()["rows"][0]
    inspected = whelp.inspect(trained.store, rows="1", context_tokens=40)[0]
    assert [token["id"] for token in row["tokens"]] == inspected.ids
    assert "".join(token["text"] for token in row["tokens"] if not token["padding"]).startswith(inspected.text[:20])
    assert row["documents"] == inspected.documents
    about = client.get("/api/store").json()
    assert (about["plan"], about["context_tokens"]) == ("concat", 16)
    assert about["splits"]["train"]["documents"] + about["splits"]["test"]["documents"] == 24


def test_sigterm_ends_it_with_0(trained: Project) -> None:
    """What runs is finished, the exit code is 0, and the folder is as it was."""
    before = snapshot(trained.folder)
    process = _start(trained.run)
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    body = {"prompt": "The", "max_tokens": 10, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=SECONDS, trust_env=False) as response:
        lines = response.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert snapshot(trained.folder) == before


def test_a_token_is_made_for_other_machines(trained: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed once when none was given; the environment's is taken and not repeated as new."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    made = open_server(trained.run, host="0.0.0.0", port=0, device="cpu")
    assert made.is_new_token
    assert made.token is not None
    assert len(made.token) >= 32
    monkeypatch.setenv(TOKEN_VARIABLE, "mine")
    taken = open_server(trained.run, host="0.0.0.0", port=0, device="cpu")
    assert (taken.token, taken.is_new_token) == ("mine", False)
    for opened in (made, taken):
        opened.close()


def test_a_port_that_is_taken(trained: Project, whelp: Whelp, served: Served) -> None:
    """Says so, and what to do; exit code 1."""
    port = served[0]["url"].rpartition(":")[2]
    outcome = whelp("serve", trained.run, "--port", port, "--device", "cpu")
    assert outcome.code == 1
    assert f"127.0.0.1:{port}: cannot be listened on" in outcome.said
    assert "Choose another --port; 0 finds one." in outcome.said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: there is no such folder, but expected a run"),
        (["{run}", "--store", "{run}"], "is a run, but expected a token store"),
        (["{run}", "--max-rows", "0"], "max_rows is 0, but expected at least 1"),
        (["{run}", "--prefix-cache-bytes", "-1"], "prefix_cache_bytes is -1, but expected at least 0"),
        (["{run}", "--cors-origin", "example.org"], "an origin is a scheme and a host"),
        (["{run}", "--compare", "nowhere"], "nowhere: there is no such folder"),
        (["{run}", "--host", "no.such.host.invalid", "--token", "x"], "--host no.such.host.invalid: there is no such address"),
    ],
)
def test_wrong_arguments(trained: Project, whelp: Whelp, arguments: list[str], message: str) -> None:
    """Told before anything is served, with exit code 1."""
    outcome = whelp("serve", *[argument.replace("{run}", str(trained.run)) for argument in arguments])
    assert outcome.code == 1
    assert message in outcome.said


def test_without_its_packages(trained: Project, whelp: Whelp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install is named."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = whelp("serve", trained.run)
    assert outcome.code == 1
    assert 'whelp serve: the package uvicorn is not installed. Run `pip install "whelp[serve]"`.' in outcome.said


def test_models_of_one_name_are_told_apart(trained: Project, tmp_path: Path) -> None:
    """Runs called run are named after the folder above them; what is still the same gets its step, then a number."""
    opened = open_server(trained.run, compare=[trained.run, trained.run], port=0, device="cpu")
    assert opened.models == ["pup", "pup@step-00000004", "pup@step-00000004-2"]
    opened.close()


TEMPLATE = (
    "{% for message in messages %}<|endoftext|>{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('a reply cannot come first') }}{% endif %}"
    "{% if add_generation_prompt %}<|endoftext|>assistant: {% endif %}"
)


def test_a_chat_template_of_the_model(tmp_path: Path) -> None:
    """It makes the prompt as `transformers` does; control tokens that somebody typed stay text; what it refuses is a 400."""
    project = make_project(tmp_path / "pup", pack={"context_tokens": 256}, train={"num_steps": 1, "batch_tokens": 256})
    whelp.prepare(project.recipe, out=project.store)
    whelp.train(project.recipe, store=project.store, out=project.run)
    checkpoint = project.run / "checkpoints" / "last"
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    reference = AutoTokenizer.from_pretrained(checkpoint)
    expected = len(reference.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"])
    serving = open_server(checkpoint, port=0, device="cpu", drain_seconds=1)
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        with httpx.Client(base_url=serving.url, timeout=SECONDS, trust_env=False) as client:

            def ask(*said: dict[str, str]) -> httpx.Response:
                return client.post("/v1/chat/completions", json={"messages": said, "max_tokens": 1})

            assert ask(*messages).json()["usage"]["prompt_tokens"] == expected
            typed = [messages[0], {"role": "user", "content": "Hi<|endoftext|>"}]
            assert ask(*typed).json()["usage"]["prompt_tokens"] > expected + 5, "one control token would be one id"
            refused = ask({"role": "assistant", "content": "x"})
            assert refused.status_code == 400
            assert "a reply cannot come first" in refused.json()["error"]["message"]
            assert client.get("/api/state").json()["models"][0]["has_chat_template"]
    finally:
        serving.stop()
        thread.join(SECONDS)


def test_a_prompt_is_scored(served: Served, trained: Project) -> None:
    """With echo and no token to add: what each token of the text was given, as evaluation programs ask for it."""
    _, _, client = served
    text = "The quick brown fox 3 jumps"
    body = {"prompt": text, "max_tokens": 0, "logprobs": 1, "echo": True}
    found = client.post("/v1/completions", json=body).json()["choices"][0]
    (expected,) = whelp.generate(trained.run, text, max_tokens=1, prompt_logprobs=1, device="cpu")
    scores = found["logprobs"]
    assert found["text"] == "".join(scores["tokens"]) == text
    assert scores["token_logprobs"][0] is None
    assert scores["token_logprobs"][1:] == pytest.approx([entry.logprob for entry in expected.prompt_logprobs], abs=1e-4)
    assert [text[offset] for offset in scores["text_offset"]] == [token[0] for token in scores["tokens"]]


@pytest.fixture
def watched(trained: Project, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], httpx.Client]]]:
    """A copy of the run, with its first checkpoint as the last one; and a way to serve it here, looking often."""
    run = tmp_path / "pup" / "run"
    shutil.copytree(trained.run, run, symlinks=True)
    point(run, "step-00000002")
    opened = []

    def serve_it() -> httpx.Client:
        serving = open_server(run, port=0, renew_seconds=0.05, device="cpu", drain_seconds=1)
        thread = threading.Thread(target=serving.run)
        thread.start()
        client = httpx.Client(base_url=serving.url, timeout=SECONDS, trust_env=False)
        opened.append((serving, thread, client))
        return client

    yield run, serve_it
    for serving, thread, client in opened:
        client.close()
        serving.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def point(run: Path, target: str | Path) -> None:
    """Let `checkpoints/last` lead elsewhere, as training does."""
    new = run / "checkpoints" / "new"
    new.symlink_to(target)
    new.replace(run / "checkpoints" / "last")


def wait_for(client: httpx.Client, **expected: Any) -> None:
    """Until /health says so."""
    wait_until(lambda: expected.items() <= client.get("/health").json().items())


def ask_for_text(client: httpx.Client) -> tuple[str, str]:
    """The likeliest words, and which weights they are from."""
    body = client.post("/v1/completions", json={"prompt": "The quick", "max_tokens": 6, "temperature": 0}).json()
    return body["choices"][0]["text"], body["system_fingerprint"].rpartition("-")[2]


def test_a_newer_checkpoint_is_taken_up(watched: Any) -> None:
    """When `last` moves, without a new start; the text is that of the newer weights, and the answer says so."""
    run, serve_it = watched
    client = serve_it()
    wait_for(client, steps=[2], taken_up=0)
    texts = {
        step: whelp.generate(run / "checkpoints" / f"step-{step:08}", "The quick", max_tokens=6, temperature=0)[0].text
        for step in (2, 4)
    }
    assert ask_for_text(client) == (texts[2], "2")
    point(run, "step-00000004")
    shutil.rmtree(run / "checkpoints" / "step-00000002")  # as training does with old ones
    wait_for(client, steps=[4], taken_up=1, failed=0)
    assert ask_for_text(client) == (texts[4], "4")
    assert client.get("/api/state").json()["models"][0]["about"]["step"] == 4


def test_a_conversation_is_read_once(tmp_path: Path) -> None:
    """What a chat sends again is not read again, until there is a newer checkpoint; with 0 bytes it is read each time."""
    project = make_project(
        tmp_path / "pup", pack={"context_tokens": 256}, train={"num_steps": 2, "save_every_steps": 1, "batch_tokens": 256}
    )
    whelp.prepare(project.recipe, out=project.store)
    whelp.train(project.recipe, store=project.store, out=project.run)
    point(project.run, "step-00000001")
    said = [{"role": "user", "content": "The quick brown fox jumps over lazy dogs."}]
    replies: dict[int | None, list[Any]] = {}
    for size in (None, 0):
        serving = open_server(project.run, port=0, device="cpu", drain_seconds=1, renew_seconds=0.05, prefix_cache_bytes=size)
        thread = threading.Thread(target=serving.run)
        thread.start()
        try:
            with httpx.Client(base_url=serving.url, timeout=SECONDS, trust_env=False) as client:

                def ask(messages: list[dict[str, str]], client: httpx.Client = client) -> tuple[str, int, int]:
                    body = {"messages": messages, "max_tokens": 6, "temperature": 0}
                    answer = client.post("/v1/chat/completions", json=body).json()
                    usage = answer["usage"]
                    text = answer["choices"][0]["message"]["content"]
                    return text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

                first = ask(said)
                more = [*said, {"role": "assistant", "content": first[0]}, {"role": "user", "content": "3 jumps over 9."}]
                second = ask(more)
                replies[size] = [first[:2], second[:2]]
                if size is None:
                    assert first[2] == 0
                    assert second[2] >= first[1]
                    point(project.run, "step-00000002")
                    wait_for(client, steps=[2])
                    assert ask(more)[2] == 0
                    assert ask(more)[2] == second[1] - 1
                    point(project.run, "step-00000001")
                else:
                    assert (first[2], second[2]) == (0, 0)
        finally:
            serving.stop()
            thread.join(SECONDS)
    assert replies[None] == replies[0]


def test_another_model_is_not_taken_up(watched: Any, tmp_path: Path) -> None:
    """It is counted, and what is served goes on."""
    run, serve_it = watched
    client = serve_it()
    before = ask_for_text(client)
    shutil.copytree(run / "checkpoints" / "step-00000004", tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    point(run, tmp_path / "other")
    wait_until(lambda: client.get("/health").json()["failed"])
    assert ask_for_text(client) == before
    point(run, "step-00000004")
    wait_for(client, steps=[4], taken_up=1)


def test_a_run_gets_its_model_when_it_has_one(watched: Any, tmp_path: Path) -> None:
    """Served before its first checkpoint: first there is nothing to ask, then there is."""
    run, serve_it = watched
    (run / "checkpoints").rename(tmp_path / "later")
    client = serve_it()
    assert client.get("/health").json()["steps"] == []
    assert "no checkpoint" in client.post("/v1/completions", json={"prompt": "The"}).json()["error"]["message"]
    (tmp_path / "later").rename(run / "checkpoints")
    wait_for(client, steps=[2], taken_up=1)
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["pup"]
    assert ask_for_text(client)[1] == "2"
