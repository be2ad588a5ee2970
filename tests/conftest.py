"""Every test runs with the user's folders redirected to a temporary place and without a network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

# One thread each, for xdist runs a process on every core; with it, results do not hang on how many cores there are.
os.environ["OMP_NUM_THREADS"] = "1"

FUZZ_SEED, FUZZ_CASES = 0, 300

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which generated cases tests/fuzz runs; case N of a run can be repeated alone by its number."""
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-seed", type=int, default=FUZZ_SEED, metavar="N", help="number of the first generated case")
    group.addoption("--fuzz-cases", type=int, default=FUZZ_CASES, metavar="M", help="how many generated cases to run")


@pytest.fixture(autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point all that is the user's, also in child processes, to a fresh folder: caches and settings; t2l's cache."""
    home = tmp_path_factory.mktemp("user")
    cache = home / "t2l"
    monkeypatch.setenv("T2L_CACHE_DIR", str(cache))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in [n for n in os.environ if n.startswith("T2L_") and n != "T2L_CACHE_DIR"]:
        monkeypatch.delenv(name)
    (home / "config.toml").touch()
    monkeypatch.setenv("T2L_CONFIG_FILE", str(home / "config.toml"))
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return cache


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and look-ups beyond the loopback interface at once, instead of hanging."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise OSError(f"tests have no network: {address}")
        connect(self, address)

    def look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (*_LOOPBACK, None):
            raise socket.gaierror(f"tests have no network: {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
