"""`whelp chat`: a conversation with a model, in the terminal or from Python."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.counts import say_count
from whelp.base.errors import ConfigError, PlanError, SourceError, WhelpError, explain_os_error
from whelp.base.files import write_json
from whelp.base.paths import as_path
from whelp.cli.generate import LoadedModel, load_model, make_settings

if TYPE_CHECKING:
    from whelp.generate import PrefixCache, TextPiece

STYLE: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1, "max_tokens": 256, "when_full": "end"}
HELP = """/help               this list
/reset              forget the conversation (not the system message)
/system TEXT        set the system message; without TEXT: remove it
/set NAME=VALUE     change a setting, for example /set temperature=0.2; without: show them
/retry              another answer to the last message
/save FILE          write the conversation as JSON
/load FILE          go on with a saved conversation
/quit               leave (as Ctrl-D does); Ctrl-C stops an answer
A line that ends in \\ goes on in the next one."""


class Chat:
    """A conversation: what was said, and the settings of the next answer.

    Without a chat template (a model that was never taught to talk) everything said and answered is one text, which the
    model continues.
    """

    def __init__(self, loaded: LoadedModel, *, system: str | None = None, **settings: Any) -> None:
        self.loaded = loaded
        self.has_template = loaded.vocabulary.chat_template is not None
        self.messages: list[dict[str, str]] = []
        self.system = system
        self.settings: dict[str, Any] = {**STYLE, **settings}
        self._prefixes: PrefixCache | None = None  # what was read already
        self._check(self.settings)
        self.num_forgotten = 0  # messages left out of the last prompt for lack of room
        self.num_answers = 0  # each has a seed of its own

    def __repr__(self) -> str:
        asked = sum(message["role"] == "user" for message in self.messages)
        template = "its chat template" if self.has_template else "no chat template: all is one text"
        return f"<Chat with {self.loaded.folder}: {say_count(asked, 'message')} so far; {template}>"

    def ask(self, text: str) -> str:
        """Say something; the whole answer."""
        return "".join(piece.text for piece in self.stream(text))

    def stream(self, text: str) -> Iterator[TextPiece]:
        """Say something; the answer as it comes. An answer that is broken off is kept as far as it came."""
        if not isinstance(text, str):
            raise PlanError("the message", f"is a {type(text).__name__}", "a text")
        self.messages.append({"role": "user", "content": text})
        return self._answer()

    def retry(self) -> Iterator[TextPiece]:
        """Another answer to the last message."""
        while self.messages and self.messages[-1]["role"] != "user":
            self.messages.pop()
        if not self.messages:
            raise ConfigError("/retry", ["there is no message yet"], "Say something first.")
        return self._answer()

    def reset(self) -> None:
        """Forget the conversation."""
        self.messages, self.num_answers = [], 0

    def set(self, name: str, value: str) -> None:
        """Change a setting of the next answers.

        Raises:
            ConfigError: When there is no such setting, or not with this value.
            PlanError: When it is a pattern that no text can follow.
        """
        changed = {**self.settings, name: _read_value(name, value)}
        self._check(changed)
        self.settings = changed

    def _check(self, settings: dict[str, Any]) -> None:
        """Refuse wrong settings, and patterns that are none, now and not after the next message."""
        from whelp.generate.pattern import open_patterns

        config = make_settings(settings)
        if config.pattern_name is not None:
            open_patterns(self.loaded.vocabulary, self._find_end_ids(), config.pattern_name).begin(config)

    def _find_end_ids(self) -> list[int]:
        from whelp.generate.chat import find_end_ids

        vocabulary = self.loaded.vocabulary
        own = [] if vocabulary.eos_id is None else [vocabulary.eos_id]
        return [*self.loaded.end_ids, *own, *(find_end_ids(vocabulary) if self.has_template else [])]

    def to_dict(self) -> dict[str, Any]:
        """The conversation as JSON."""
        return {
            "model": str(self.loaded.folder),
            "system": self.system,
            "messages": self.messages,
            "settings": self.settings,
        }

    def load(self, path: Path) -> None:
        """Go on with a conversation that `to_dict` describes.

        Raises: SourceError: When the file holds none.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            messages = [{"role": str(entry["role"]), "content": str(entry["content"])} for entry in values["messages"]]
        except (ValueError, KeyError, TypeError):
            raise SourceError(path, "holds no conversation", "a file written by /save") from None
        self.messages, self.system = messages, values.get("system")
        self.num_answers = sum(message["role"] == "assistant" for message in messages)

    def _answer(self) -> Iterator[TextPiece]:
        from whelp.generate import PrefixCache, stream_text
        from whelp.generate.prefix_cache import choose_bytes

        settings = make_settings({**self.settings, "seed": self.settings.get("seed", 0) + self.num_answers})
        self.num_answers += 1
        ids = self._make_prompt(min(settings.max_tokens, self.loaded.model.context_tokens // 2))
        self._prefixes = self._prefixes or PrefixCache(choose_bytes(self.loaded.device))
        pieces = stream_text(
            self.loaded.model,
            self.loaded.vocabulary,
            ids,
            settings,
            end_ids=self._find_end_ids(),
            prefixes=self._prefixes,
        )
        return self._keep(pieces)

    def _keep(self, pieces: Iterator[TextPiece]) -> Iterator[TextPiece]:
        answer = ""
        try:
            for piece in pieces:
                answer += piece.text
                yield piece
        finally:
            self.messages.append({"role": "assistant", "content": answer})

    def _make_prompt(self, room: int) -> list[int]:
        """The ids of the conversation, its oldest turns left out until there is room for an answer."""
        from whelp.generate.chat import make_chat_ids

        vocabulary, longest = self.loaded.vocabulary, self.loaded.model.context_tokens - room
        head = [] if self.system is None else [{"role": "system", "content": self.system}]
        if not self.has_template:
            text = "\n".join(message["content"] for message in [*head, *self.messages])
            ids: list[int] = vocabulary.encode(text).tolist()
            self.num_forgotten = int(len(ids) > longest)
            return ids[-longest:]
        for first in range(len(self.messages)):
            if self.messages[first]["role"] != "user":
                continue  # a conversation begins with what a person says
            self.num_forgotten = first
            ids = make_chat_ids(vocabulary, [*head, *self.messages[first:]])
            if len(ids) <= longest:
                break
        return ids


def chat(
    model: str | Path | LoadedModel,
    *,
    system: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    **settings: Any,
) -> Chat:
    """Open a conversation with a model: `chat("run").ask("Hello!")`.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder, or what `load_model` gave.
        system: A system message, where the model's template knows one.
        precision: As for `load_model`.
        settings: Any field of `GenerateConfig`.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device, precision=precision)
    return Chat(loaded, system=system, **settings)


def _read_value(name: str, value: str) -> Any:
    """The value of a setting, as /set has it: YAML, but a regular expression or a grammar as it stands, and choices with commas."""
    import yaml

    is_none = value in ("", "null")
    if name in ("regex", "grammar", "json_schema") and is_none:
        return None
    if name in ("regex", "grammar"):
        return value
    if name == "choice":
        return [] if is_none else value.split(",")
    try:
        parsed = yaml.safe_load(value) if value else value
    except (yaml.YAMLError, ValueError):
        parsed = value
    return [parsed] if name == "stop" and isinstance(parsed, str) else parsed


class Terminal:
    """Reads lines, runs commands, writes answers."""

    def __init__(self, conversation: Chat, *, say: Callable[[str], None], write: Callable[[str], None]) -> None:
        self.chat, self.say, self.write = conversation, say, write
        self.is_typed = sys.stdin.isatty()

    def run(self) -> None:
        """Until /quit or the end of the input."""
        if self.is_typed:
            with contextlib.suppress(ImportError):  # not on every system
                import readline  # noqa: F401  (arrow keys in `input`)
            kind = "" if self.chat.has_template else " It was not taught to talk: it continues what you write."
            self.say(f"Talking to {self.chat.loaded.folder}. /help lists what you can do, Ctrl-D leaves.{kind}")
        while (line := self._read()) is not None:
            if not line.strip():
                continue
            try:
                if line.startswith("/"):
                    if line.split()[0] in ("/quit", "/exit"):
                        return
                    self._command(line)
                else:
                    self._show(self.chat.stream(line))
            except WhelpError as error:
                self.say(f"error: {error}")
            except BrokenPipeError:  # nobody reads any more
                raise
            except OSError as error:
                self.say(f"error: {explain_os_error(error) or error}")

    def _read(self) -> str | None:
        lines: list[str] = []
        while True:
            try:
                line = input("> " if self.is_typed and not lines else "")
            except EOFError:
                return "\n".join(lines) if lines else None
            except KeyboardInterrupt:
                if not self.is_typed:
                    raise
                self.say("\n/quit or Ctrl-D leaves")
                lines = []
                continue
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _show(self, pieces: Iterator[TextPiece]) -> None:
        if self.chat.num_forgotten:
            self.say("note: the conversation is longer than the context; its oldest part is left out")
        try:
            for piece in pieces:
                self.write(piece.text)
        except KeyboardInterrupt:
            if not self.is_typed:
                raise
            self.write(" ...")
        finally:
            self.write("\n")

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "/help":
            self.say(HELP)
        elif name == "/reset":
            self.chat.reset()
            self.say("forgotten")
        elif name == "/system":
            self.chat.system = rest or None
            self.say("the system message is set" if rest else "the system message is removed")
        elif name == "/retry":
            self._show(self.chat.retry())
        elif name == "/set":
            self._set(rest)
        elif name in ("/save", "/load"):
            self._file(name, rest)
        else:
            self.say(f"error: there is no {name}; /help lists what there is")

    def _set(self, rest: str) -> None:
        from whelp.generate import GenerateConfig

        name, equals, value = rest.partition("=")
        if equals:
            self.chat.set(name.strip(), value.strip())
        settings = make_settings(self.chat.settings)
        shown = [name.strip()] if equals else [field.name for field in fields(GenerateConfig)]
        self.say("  ".join(f"{name}={getattr(settings, name)!r}" for name in shown))

    def _file(self, name: str, rest: str) -> None:
        paths = shlex.split(rest)
        if len(paths) != 1:
            raise ConfigError(name, ["give one file"], f"For example: {name} talk.json")
        path = as_path(paths[0])
        if name == "/save":
            write_json(path, self.chat.to_dict())
        else:
            self.chat.load(path)
        self.say(f"{'saved' if name == '/save' else 'loaded'}: {len(self.chat.messages)} messages, {path}")
