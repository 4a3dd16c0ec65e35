"""Talking: from a script, from Python, with a template and without."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from whelp.base.errors import ConfigError
from whelp.cli.chat import Chat, Terminal, chat
from whelp.cli.generate import generate, load_model
from whelp.model.decoding.decoder import Decoder

from .helpers import Project, Whelp

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


@pytest.fixture
def talking(made: Project, tmp_path: Path) -> Path:
    """The project's model with a chat template."""
    folder = tmp_path / "talking"
    shutil.copytree((made.run / "checkpoints" / "last").resolve(), folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": TEMPLATE}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    return folder


def test_a_script(whelp: Whelp, talking: Path) -> None:
    """Lines from a pipe: one answer each on standard output, what is for people on standard error; the same again."""
    script = "Hello\n/set temperature=0\nAnd \\\nthen?\n/retry\n/nonsense\n/set top_q=1\n/save talk.json\n/quit\nnever\n"
    outcome = whelp("chat", talking, "--set", "max_tokens=6", "--device", "cpu", stdin=script)
    assert outcome.code == 0, outcome.stderr
    assert "error: there is no /nonsense; /help lists what there is" in outcome.said
    assert "unknown key top_q. Did you mean top_p?" in outcome.said
    assert "temperature=0.0" in outcome.said
    saved = json.loads(Path("talk.json").read_text())
    assert [message["role"] for message in saved["messages"]] == ["user", "assistant"] * 2
    assert [message["content"] for message in saved["messages"]][::2] == ["Hello", "And \nthen?"]
    assert saved["settings"]["max_tokens"] == 6
    again = whelp("chat", talking, "--set", "max_tokens=6", "--device", "cpu", "--json", stdin=script).json
    assert again == saved
    answers = [message["content"] for message in saved["messages"]][1::2]
    assert outcome.text.startswith(answers[0] + "\n")
    assert outcome.text.endswith(answers[1] + "\n")
    more = whelp("chat", talking, "--load", "talk.json", "--set", "max_tokens=2", "--json", stdin="Bye\n").json
    assert more["messages"][:4] == saved["messages"]
    assert len(more["messages"]) == 6


def test_the_template_makes_the_prompt(talking: Path) -> None:
    """An answer is the continuation of the rendered conversation, with the system message first."""
    conversation = chat(talking, system="Be good.", device="cpu", temperature=0.0, max_tokens=5)
    answer = conversation.ask("Hi")
    prompt = "system: Be good.\nuser: Hi\nassistant: "
    settings = {"temperature": 0.0, "top_p": 0.9, "repetition_penalty": 1.1, "max_tokens": 5}
    assert answer == generate(talking, prompt, device="cpu", **settings)[0].text
    conversation.reset()
    assert (conversation.messages, conversation.system) == ([], "Be good.")


@pytest.mark.parametrize("broken_off", [False, True])
def test_what_was_said_is_not_read_again(talking: Path, monkeypatch: pytest.MonkeyPatch, broken_off: bool) -> None:
    """Each turn reads what is new in it; the answers are those of the whole conversation, after one that was broken off as well."""
    config = json.loads((talking / "config.json").read_text())
    (talking / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
    read: list[int] = []
    original = Decoder.read

    def note_and_read(self: Decoder, first: int, ids: list[list[int]]) -> torch.Tensor:
        read.append(sum(map(len, ids)))
        return original(self, first, ids)

    monkeypatch.setattr(Decoder, "read", note_and_read)
    settings = {"temperature": 0.0, "top_p": 0.9, "repetition_penalty": 1.1, "max_tokens": 5}
    conversation = chat(talking, system="Be good. " * 10, device="cpu", temperature=0.0, max_tokens=5)
    prompt, answers = f"system: {'Be good. ' * 10}\n", []
    for number in range(3):
        pieces = conversation.stream(f"Question {number}?")
        answer = next(pieces).text if broken_off else "".join(piece.text for piece in pieces)
        pieces.close()
        prompt += f"user: Question {number}?\nassistant: "
        answers.append((prompt, answer))
        prompt += f"{answer}\n"
    readings = list(read)
    assert readings[0] > 60
    assert max(readings[1:]) < 40
    for prompt, answer in answers:
        whole = generate(talking, prompt, device="cpu", **settings)[0].text
        assert whole.startswith(answer) if broken_off else whole == answer


def test_answers_have_seeds_of_their_own(talking: Path) -> None:
    """Trying again gives another answer; starting anew with the same seed gives the same."""
    conversation = chat(talking, device="cpu", temperature=3.0, max_tokens=12, top_p=1.0)
    first = conversation.ask("Hi")
    other = "".join(piece.text for piece in conversation.retry())
    assert first != other
    assert conversation.messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": other}]
    conversation.reset()
    assert conversation.ask("Hi") == first
    with pytest.raises(ConfigError, match="there is no message yet"):
        chat(talking, device="cpu").retry()


def test_long_conversations_lose_their_oldest_turns(talking: Path) -> None:
    """What does not fit the context is left out from the beginning, in whole turns, and it is said."""
    said: list[str] = []
    conversation = chat(talking, device="cpu", temperature=0.0, max_tokens=8)
    terminal = Terminal(conversation, say=said.append, write=lambda text: None)
    for number in range(6):
        terminal._show(conversation.stream(f"Question number {number}?"))
    assert conversation.num_forgotten > 0
    assert conversation.num_forgotten % 2 == 0
    assert any("its oldest part is left out" in line for line in said)
    assert len(conversation.messages) == 12  # nothing is lost from what is saved


def test_without_a_template_text_goes_on(whelp: Whelp, made: Project) -> None:
    """What is typed and what was answered are one text, which is continued; a long one loses its beginning."""
    conversation = chat(made.run, device="cpu", temperature=0.0, max_tokens=4)
    assert not conversation.has_template
    first = conversation.ask("The quick")
    assert first == generate(made.run, "The quick", device="cpu", **conversation.settings)[0].text
    conversation.ask("brown fox " * 20)
    assert conversation.num_forgotten
    outcome = whelp("chat", made.run, stdin="/reset\n/system\n/system Be good.\n/load none.json\n/save\n/help\n/set\n")
    for words in (
        "forgotten",
        "the system message is removed",
        "is set",
        "none.json: there is no such file",
        "give one file",
        "/retry",
    ):
        assert words in outcome.said
    assert "max_tokens=256" in outcome.said


def test_other_tokens_end_an_answer_too(talking: Path) -> None:
    """What generation_config.json says ends a text ends it here: one id, a list, or nothing."""
    conversation = chat(talking, device="cpu", temperature=0.0, max_tokens=5)
    pieces = list(conversation.stream("Hi"))
    assert len(pieces) == 5
    path = talking / "generation_config.json"
    for written, expected in ((pieces[0].token_ids[0], 1), ([7, *pieces[0].token_ids], 1), (None, 5)):
        path.write_text(json.dumps({"eos_token_id": written}))
        again = list(chat(talking, device="cpu", temperature=0.0, max_tokens=5).stream("Hi"))
        assert len(again) == expected
    path.write_text("broken")
    assert load_model(talking, "cpu").end_ids == ()


def test_a_broken_off_answer_is_kept(made: Project) -> None:
    """Who stops reading keeps what came."""
    conversation = chat(made.run, device="cpu", max_tokens=8, temperature=0.0)
    pieces = conversation.stream("The quick")
    shown = next(pieces).text
    pieces.close()
    assert conversation.messages[-1] == {"role": "assistant", "content": shown}


def test_interrupts(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at an answer ends the answer, at the prompt nothing; Ctrl-D leaves."""
    written: list[str] = []
    said: list[str] = []
    conversation = chat(made.run, device="cpu")

    def break_off(self: Chat) -> object:
        yield from ()
        raise KeyboardInterrupt

    lines = iter(["hello", KeyboardInterrupt(), EOFError()])

    def read(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr(Chat, "_answer", break_off)
    monkeypatch.setattr("builtins.input", read)
    terminal = Terminal(conversation, say=said.append, write=written.append)
    terminal.is_typed = True
    terminal.run()
    assert written == [" ...", "\n"]
    assert said[-1] == "\n/quit or Ctrl-D leaves"
    assert "It was not taught to talk" in said[0]


def test_wrong_settings_are_named(whelp: Whelp, made: Project) -> None:
    """Before anything is said."""
    outcome = whelp("chat", made.run, "--set", "temperature=-1")
    assert outcome.code == 1
    assert "temperature is -1.0, but expected at least 0.0" in outcome.said
    assert whelp("chat", made.run, "--set", "temperature").code == 2


def test_answers_that_follow_a_pattern(whelp: Whelp, talking: Path, tmp_path: Path) -> None:
    """Set, changed and taken back between two answers; patterns are taken as they stand, though they look like YAML."""
    pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}')
    script = (
        "/set max_tokens=30\n/set regex=[0-9]{2}: [a-c]\nHow many?\n/set regex=\n/set choice=yes,no\nReally?\n/set choice=null\n"
        f"/set json_schema={schema}\nWhich?\n/set json_schema={{type: boolean}}\nSo?\n/set json_schema=null\n"
        "/set regex=(\n/set choice=\n/set\n"  # refused at once: no message follows
    )
    outcome = whelp("chat", talking, "--device", "cpu", stdin=script)
    assert outcome.code == 0, outcome.said
    text = re.sub(r"\s", "", outcome.text)
    assert re.fullmatch(r"[0-9]{2}:[a-c](yes|no)\[[12],[12]\](true|false)", text), text
    assert outcome.said.count("error: regex: '(' is none") == 1
    assert "regex=None choice=[] json_schema=None" in outcome.said
