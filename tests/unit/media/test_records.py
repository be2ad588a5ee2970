"""JSON of unknown origin: read whole, or refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2l_cli.media import records
from t2l_cli.media.records import read_json


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "ü"]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, "ü"]}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000])
def test_what_is_no_record_is_a_value_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"\S"):
        read_json(tmp_path / "a.json")


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(ValueError, match="larger than 16 MB"):
        read_json(Path("/dev/zero"))


def test_the_largest_record_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BYTES", 10)
    (tmp_path / "a.json").write_bytes(b'"' + b"x" * 8 + b'"')
    assert read_json(tmp_path / "a.json") == "x" * 8
    (tmp_path / "a.json").write_bytes(b'"' + b"x" * 9 + b'"')
    with pytest.raises(ValueError, match="larger"):
        read_json(tmp_path / "a.json")
