"""Tiny teachers as they are published, and a hub of local files."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import open_clip
import pytest
from safetensors.torch import save_file

from dropkd.models import hub, hub_files

# The tests of this folder import what makes the tiny teachers.
sys.path.insert(0, str(Path(__file__).parent))

from tiny_teachers import KINDS, make_clip, write_timm, write_transformers


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of each kind of transformers', and one of timm's under ``timm``. Read only."""
    root = tmp_path_factory.mktemp("repositories")
    for kind in KINDS:
        write_transformers(root / kind, kind)
    write_timm(root / "timm")
    return root


_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
_RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}


@pytest.fixture(scope="session")
def clip_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of weights of two CLIPs that OpenCLIP is told of, ``tiny-vit`` and ``tiny-resnet``. Read only."""
    root = tmp_path_factory.mktemp("clip")
    configs = {"tiny-vit": _CLIP, "tiny-resnet": {**_CLIP, "vision_cfg": _RESNET}}
    files = {}
    for name, config in configs.items():
        (root / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(root / f"{name}.json")
        model = make_clip(name)
        files[name] = root / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, files[name])
    return files


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Cut the hub off and return its cache, an empty folder."""
    monkeypatch.setattr(hub_files, "is_reachable", lambda: False)
    monkeypatch.setattr("dropkd.models.timm_library.is_reachable", lambda: False)
    cache = tmp_path / "hub-cache"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture
def serve_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[dict[str, Path]], list[str]]]:
    """Serve folders as repositories of the hub; the function returns the list of what was asked for."""
    folders: dict[str, Path] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            organisation, name, _, _, file = self.path.strip("/").split("/", 4)
            folder = folders.get(f"{organisation}/{name}")
            path = folder / file if folder is not None else None
            if path is None or not path.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound" if folder is None else "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.send_header("X-Repo-Commit", "a" * 40)
                self.end_headers()
                return
            content = path.read_bytes()
            asked.append(file)
            self.send_response(200)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert hub.is_reachable()

    def serve(repositories: dict[str, Path]) -> list[str]:
        folders.update(repositories)
        return asked

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()
