"""Whether there is a hub is found out once, quickly, and without the client's retries."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from snowmelt.models import hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hub.hub_is_reachable.cache_clear()
    yield
    hub.hub_is_reachable.cache_clear()


class Handler(http.server.BaseHTTPRequestHandler):
    status = 200
    requests = 0

    def do_HEAD(self) -> None:
        type(self).requests += 1
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    handler = type("OwnHandler", (Handler,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{running.server_port}")
        yield handler
        running.shutdown()
        thread.join()


def test_decided_once(server: type[Handler]) -> None:
    assert hub.hub_is_reachable() and hub.hub_is_reachable()
    assert server.requests == 1


def test_a_hub_that_refuses_is_not_reachable(server: type[Handler]) -> None:
    server.status = 403
    assert not hub.hub_is_reachable()


def test_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("http://127.0.0.1:9", "nonsense"):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        hub.hub_is_reachable.cache_clear()
        assert not hub.hub_is_reachable()


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(hub, "_answers", lambda _: released.wait(30))
    assert not hub.hub_is_reachable()
    released.set()


def test_offline_is_believed_without_asking(monkeypatch: pytest.MonkeyPatch, server: type[Handler]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.hub_is_reachable()
    assert server.requests == 0
