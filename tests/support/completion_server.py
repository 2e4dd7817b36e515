"""An OpenAI-compatible completion server for tests: a tiny model, greedy, on a port of this machine."""

from __future__ import annotations

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class CompletionServer:
    """What the server is asked, and how it behaves."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoTokenizer, LlamaForCausalLM

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.report: list[dict[str, Any]] = [
            {"id": "tiny", "object": "model", "created": 1, "owned_by": "test", "max_model_len": 512}
        ]
        self.calls: list[dict[str, Any]] = []
        """The bodies of the completions that were asked for."""
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.echoes = True
        self.key: str | None = None
        self.fails_after: int | None = None
        self.failure = 500, "the engine died"
        self.redirect: str | None = None
        self.url = ""
        self._at_once = 0
        self._lock = Lock()

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and content of an answer."""
        with self._lock:
            self.calls.append(body)
            if self.fails_after is not None and len(self.calls) > self.fails_after:
                return self.failure[0], {"error": {"message": self.failure[1]}}
        prompts = body["prompt"]
        prompts = [prompts] if isinstance(prompts, str) else prompts
        encoded = [self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt for prompt in prompts]
        one = self._score if body.get("echo") else self._generate
        choices = [{"index": index, **one(ids, body)} for index, ids in enumerate(encoded)]
        return 200, {"choices": choices[::-1]}  # in no particular order

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the calls that are answered at once."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def _logits(self, ids: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self.model(torch.tensor([ids])).logits[0].float()

    def _generate(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        made: list[int] = []
        text = ""
        while len(made) < body["max_tokens"]:
            token = int(self._logits([*ids, *made])[-1].argmax())
            made.append(token)
            text = self.tokenizer.decode(made, skip_special_tokens=True)
            ends = [text.index(stop) for stop in body["stop"] if stop in text]
            if token == self.tokenizer.eos_token_id or ends:
                return {"text": text[: min(ends, default=len(text))], "finish_reason": "stop"}
        return {"text": text, "finish_reason": "length"}

    def _score(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        if not self.echoes:
            return {"text": "x", "finish_reason": "length", "logprobs": None}
        table = self._logits(ids).log_softmax(-1)
        own: list[float | None] = [None]
        best: list[dict[str, float] | None] = [None]
        following = [*ids[1:], int(table[-1].argmax())]
        for row, token in zip(table, following, strict=True):
            own.append(float(row[token]))
            best.append({"best": float(row.max()), "own": float(row[token])})
        return {"text": "", "finish_reason": "length", "logprobs": {"token_logprobs": own, "top_logprobs": best}}


@contextlib.contextmanager
def serving(server: CompletionServer) -> Iterator[CompletionServer]:
    """Listen on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(302 if server.redirect else 200, {"object": "list", "data": server.report})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.headers.append(dict(self.headers))
            with server.counted():
                status, content = server.complete(body)
            self._answer(status, content)

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, status: int, content: Any) -> None:
            if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                status, content = 401, {"error": f"wrong key: {self.headers.get('Authorization')}"}
            data = json.dumps(content).encode()
            self.send_response(status)
            if server.redirect:
                self.send_header("Location", server.redirect)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{listener.server_port}/v1"
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
