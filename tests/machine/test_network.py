"""The probe of the hub: one short question, never a long wait."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from stillhouse.machine.network import is_reachable


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_closed_port_and_offline_mode(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    assert not is_reachable(seconds=2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    assert not is_reachable("http://127.0.0.1:9")
    assert time.monotonic() - start < 1


def test_a_silent_server_is_waited_for_only_as_long_as_said():
    with socket.socket() as listener:  # accepts, but never answers
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        start = time.monotonic()
        assert not is_reachable(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=0.2)
        assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("status", "reachable"), [(200, True), (404, True), (429, True), (403, False), (407, False), (503, False)]
)
def test_a_server_that_answers(monkeypatch, status, reachable):
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert is_reachable(seconds=5) == reachable
