"""The clients that people use: OpenAI's own, and LangChain's."""

from __future__ import annotations

import warnings

import pytest

from .conftest import Serve
from .fakes import SAYING, make_model

openai = pytest.importorskip("openai", reason="pip install openai")


def test_openai_completions(serve: Serve) -> None:
    """Whole and streamed, with log probabilities and counts."""
    with openai.OpenAI(base_url=f"{serve().url}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["fake"]
        whole = client.completions.create(model="fake", prompt="x", max_tokens=8, n=2, logprobs=2, seed=1)
        assert [choice.text for choice in whole.choices] == [SAYING[:8]] * 2
        assert whole.choices[0].logprobs.text_offset == list(range(8))
        assert whole.usage.completion_tokens == 16
        streamed = client.completions.create(model="fake", prompt="x", max_tokens=8, stream=True)
        assert "".join(event.choices[0].text for event in streamed) == SAYING[:8]


def test_openai_chats(serve: Serve) -> None:
    """Whole and streamed; a reply can be sent back as the client made it; what is not OpenAI's goes as extra."""
    running = serve()
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none") as client:
        messages = [{"role": "user", "content": "Hi"}]
        whole = client.chat.completions.create(
            model="fake", messages=messages, max_tokens=9, logprobs=True, top_logprobs=2, extra_body={"top_k": 5}
        )
        assert whole.choices[0].message.content == SAYING[1:9]
        assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2
        assert running.engine.asked[0][1]["top_k"] == 5
        again = [*messages, whole.choices[0].message, {"role": "user", "content": "More"}]
        streamed = client.chat.completions.create(
            model="fake", messages=again, max_tokens=9, stream=True, stream_options={"include_usage": True}
        )
        events = list(streamed)
        assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == SAYING[1:9]
        assert events[-1].usage.completion_tokens == 9


def test_openai_errors(serve: Serve) -> None:
    """Each mistake is the exception that the client has for it, with our words."""
    running = serve(token="right")
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="right", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="There is no model 'gone'"):
            client.completions.create(model="gone", prompt="x")
        with pytest.raises(openai.BadRequestError, match="temperature is 9, but at most 2 is allowed"):
            client.completions.create(model="fake", prompt="x", temperature=9)
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError, match="The token is wrong"),
    ):
        client.models.list()


def test_openai_hears_why_a_stream_ends(serve: Serve) -> None:
    """A stream that takes too long ends with an error that the client raises."""
    running = serve(make_model(seconds=0.05), request_seconds=0.2)
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIError, match=r"not ready within 0\.2 seconds"),
    ):
        list(client.completions.create(model="fake", prompt="x", max_tokens=300, stream=True))


def test_langchain(serve: Serve) -> None:
    """`ChatOpenAI`, whole, streamed, and many at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, while they are imported
        langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    running = serve()
    chat = langchain.ChatOpenAI(base_url=f"{running.url}/v1", api_key="none", model="fake", max_tokens=9)
    reply = chat.invoke([("system", "Be brief."), ("human", "Hi")])
    assert reply.content == SAYING[1:9]
    assert reply.usage_metadata["output_tokens"] == 9
    assert "".join(chunk.content for chunk in chat.stream("Hi")) == SAYING[1:9]
    assert [reply.content for reply in chat.batch(["a", "b", "c"])] == [SAYING[1:9]] * 3
