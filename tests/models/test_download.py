"""A hub of our own on this machine: the real client, no network."""

import hashlib
import json
import shutil
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants
from tests.tiny_models import make_tiny_checkpoint

from stillhouse.errors import UserError
from stillhouse.models.checkpoint import find_checkpoint
from stillhouse.models.loading import load_tokenizer

COMMIT = "7" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves `server.repositories`: name -> {file: bytes}, or (status, error code)."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, content=b"", status=200, **headers):
        self.send_response(status)
        for name, value in ({"content-length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self):
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        if path == "/":
            return self.answer()
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = self.server.repositories.get(name)
        if isinstance(files, tuple):
            status, code = files
            return self.answer(b"{}", status, X_Error_Code=code)
        if files is None:
            return self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
        if "/resolve/" in path:
            file = path.split(f"/resolve/{COMMIT}/")[1]
            etag = hashlib.sha256(files[file]).hexdigest()
            return self.answer(files[file], X_Repo_Commit=COMMIT, ETag=f'"{etag}"')
        if "/tree/" in path:
            rows = [{"type": "file", "path": n, "size": len(c), "oid": "1" * 40} for n, c in files.items()]
            return self.answer(json.dumps(rows).encode(), content_type="application/json")
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        return self.answer(json.dumps(info).encode(), content_type="application/json")

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    server.repositories, server.asked = {}, []
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    use_hub(monkeypatch, endpoint, tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def use_hub(monkeypatch, endpoint, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("model"), "roberta", layers=1)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_model_is_downloaded_without_its_pickles_and_the_next_time_read_from_the_cache(hub, model, monkeypatch):
    hub.repositories["owner/name"] = contents(model) | {
        "pytorch_model.bin": b"pickle",
        "onnx/model.safetensors": b"other",
        "README.md": b"words",
    }
    checkpoint = find_checkpoint("owner/name")
    assert checkpoint.name == "name"
    assert load_tokenizer(checkpoint).pad_token == "<pad>"
    assert {file.name for file in checkpoint.folder.iterdir()} == {file.name for file in model.iterdir()}
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint("owner/name").folder == checkpoint.folder
    assert len(hub.asked) == asked


def test_a_partly_cached_model_is_completed(hub, model):
    hub.repositories["owner/name"] = contents(model)
    folder = find_checkpoint("owner/name").folder
    (folder / "model.safetensors").unlink()
    assert find_checkpoint("owner/name").folder == folder
    assert (folder / "model.safetensors").is_file()


def test_a_model_that_the_hub_does_not_have(hub):
    with pytest.raises(UserError, match="the hub has no model owner/nothing"):
        find_checkpoint("owner/nothing")


def test_a_model_behind_a_gate(hub):
    hub.repositories["owner/closed"] = 403, "GatedRepo"
    with pytest.raises(UserError, match="closed to you"):
        find_checkpoint("owner/closed")


def test_a_hub_that_fails_is_said_at_once(hub):
    hub.repositories["owner/name"] = 500, "Broken"
    start = time.monotonic()
    with pytest.raises(UserError, match=r"could not be downloaded: .*500(.|\n)*try again"):
        find_checkpoint("owner/name")
    assert time.monotonic() - start < 5


def test_a_model_with_pickles_only(hub, model):
    files = contents(model)
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    hub.repositories["owner/old"] = files
    with pytest.raises(UserError, match=r"only pickled weights(.|\n)*save_pretrained"):
        find_checkpoint("owner/old")
    hub.repositories["owner/empty"] = {"README.md": b"words"}
    with pytest.raises(UserError, match="owner/empty has no weights"):
        find_checkpoint("owner/empty")
    assert not any("resolve" in path for path in hub.asked)


def test_a_hub_out_of_reach_is_said_at_once(tmp_path, monkeypatch):
    use_hub(monkeypatch, f"http://127.0.0.1:{free_port()}", tmp_path)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached(.|\n)*local model folder, or leave --teacher out"):
        find_checkpoint("owner/name")
    assert time.monotonic() - start < 5


def test_offline_mode_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids"):
        find_checkpoint("owner/name")


def test_a_damaged_copy_in_the_cache_is_said_as_it_is(hub, model):
    hub.repositories["owner/name"] = contents(model)
    folder = find_checkpoint("owner/name").folder
    weights = folder / "model.safetensors"
    cut = weights.read_bytes()[:-5]
    weights.unlink()
    weights.write_bytes(cut)
    with pytest.raises(UserError, match="damaged or cut short"):
        find_checkpoint("owner/name")
    shutil.rmtree(folder)
