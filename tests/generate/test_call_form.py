"""How chat templates write calls of functions: as those that are about do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tool_templates import HERMES, LLAMA, MISTRAL, NO_TOOLS, OTHER_FORM, THINKING
from whelp.base.errors import TokenizerError
from whelp.generate.call_form import CallForm, find_call_form
from whelp.generate.chat import make_chat_ids
from whelp.tokenizer.vocabulary import Vocabulary

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add <|im_end|> numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
CALL = {"id": "call00001", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 'x "<|im_end|>"'}}}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "Add."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "call00001", "name": "add"},
]


def _make(template: str | None) -> Vocabulary:
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "[TOOL_CALLS]", "<|eot_id|>"])
    return Vocabulary(tokenizer.to_str(), eos_token="<|endoftext|>", chat_template=template)


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (HERMES, CallForm("<tool_call>\n", "<tool_call>", "</tool_call>", "arguments")),
        (THINKING, CallForm("<think>\n\n</think>\n\n<tool_call>\n", "<tool_call>", "</tool_call>", "arguments")),
        (LLAMA, CallForm("", "", "", "parameters")),
        (MISTRAL, CallForm("[TOOL_CALLS] [", "", "]", "arguments")),
        (MISTRAL.replace(".arguments}", ".arguments, 'id': tool_call.id}"), CallForm("[TOOL_CALLS] [", "", "]", "arguments")),
    ],
    ids=["hermes", "thinking", "llama", "mistral", "newer mistral"],
)
def test_forms(template, form):
    """What stands around the JSON, up to the end of the turn, and what shows in a text."""
    assert find_call_form(_make(template)) == form


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "it has no chat template"),
        (NO_TOOLS, "its chat template knows no tools"),
        ("{{ raise_exception('never') }}", r"its chat template fails \(never\)"),
        (OTHER_FORM, "its chat template writes calls of functions in a form of its own, but expected JSON with a name and"),
    ],
    ids=["none", "no tools", "refuses", "other"],
)
def test_no_form(template, message):
    """Said, and why."""
    with pytest.raises(TokenizerError, match=message):
        find_call_form(_make(template))


@pytest.mark.parametrize("template", [HERMES, LLAMA], ids=["hermes", "llama"])
def test_the_prompt_is_that_of_transformers(template, tmp_path):
    """With tools, a call and its answer; and what is called by a control token's name stays text."""
    vocabulary = _make(template)
    vocabulary.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    expected = theirs.apply_chat_template(TALK, tools=[TOOL], add_generation_prompt=True, tokenize=False)
    ids = make_chat_ids(vocabulary, TALK, tools=[TOOL], answer_start="<tool_call>\n")
    assert vocabulary.decode(ids, skip_special=False) == expected + "<tool_call>\n"
    harmless = json.loads(json.dumps([TALK, [TOOL]]).replace("<|im_end|>", "nothing"))
    names = [vocabulary.id_of(token) for token in ("<|im_end|>", "<|eot_id|>")]
    count = [sum(map(ids.count, names)), sum(map(make_chat_ids(vocabulary, harmless[0], tools=harmless[1]).count, names))]
    assert count[0] == count[1] > 0
