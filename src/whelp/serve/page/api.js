// Calls to the server, with the token where one is needed; streams as they come.

const KEY = "whelp-token";
let onTokenNeeded = async () => null;

export function setTokenPrompt(ask) {
  onTokenNeeded = ask;
}

/** The token may come in the address, behind the #, where it is never sent anywhere. */
export function takeTokenFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    sessionStorage.setItem(KEY, found);
    history.replaceState(null, "", `${location.pathname}#chat`);
  }
}

async function call(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers };
    const token = sessionStorage.getItem(KEY);
    if (token) headers.authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is `whelp serve` still running?");
    }
    if (response.status !== 401) return response;
    const given = await onTokenNeeded(token ? await readError(response) : "");
    if (!given) throw new Error("This server needs a token.");
    sessionStorage.setItem(KEY, given);
  }
}

async function readError(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}

const post = (body, signal) => ({
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
});

/** Get JSON; an error carries the server's own words. */
export async function getJson(path) {
  const response = await call(path);
  if (!response.ok) throw new Error(await readError(response));
  return response.json();
}

export async function postJson(path, body, signal) {
  const response = await call(path, post(body, signal));
  if (!response.ok) throw new Error(await readError(response));
  return response.json();
}

/** Yield the events of a stream. */
export async function* streamJson(path, body, signal) {
  const response = await call(path, post({ ...body, stream: true }, signal));
  if (!response.ok) throw new Error(await readError(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The connection broke before the answer was whole.");
    }
    if (part.done) return;
    held += part.value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new Error(value.error.message);
      yield value;
    }
  }
}

/**
 * Continue a text or a conversation; yields {text, tokens, finish}. Tokens have text, logprob and top.
 * request: {model, prompt} or {model, messages}, and settings.
 */
export async function* generate({ model, prompt, messages }, settings, signal) {
  if (messages) {
    const body = { model, messages, ...settings, logprobs: true, top_logprobs: 5 };
    for await (const event of streamJson("/v1/chat/completions", body, signal)) {
      const choice = event.choices[0];
      if (!choice) continue;
      const tokens = (choice.logprobs?.content ?? []).map((entry) => ({
        text: entry.token, logprob: entry.logprob, top: entry.top_logprobs.map((top) => [top.token, top.logprob]),
      }));
      yield { text: choice.delta.content ?? "", tokens, finish: choice.finish_reason };
    }
  } else {
    const body = { model, prompt, ...settings, logprobs: 5 };
    for await (const event of streamJson("/v1/completions", body, signal)) {
      const choice = event.choices[0];
      if (!choice) continue;
      const found = choice.logprobs;
      const tokens = (found?.tokens ?? []).map((text, index) => ({
        text, logprob: found.token_logprobs[index], top: Object.entries(found.top_logprobs[index]),
      }));
      yield { text: choice.text, tokens, finish: choice.finish_reason };
    }
  }
}
