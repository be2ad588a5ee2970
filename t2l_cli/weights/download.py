"""Downloads weights into the cache, from a Hugging Face hub or (torchvision's) from a URL.

huggingface_hub transfers files and resumes broken transfers; this module checks them and puts them into the cache.

HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured. This module imports neither torch nor open_clip.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import queue
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from t2l_cli.errors import WeightsError
from t2l_cli.media.paths import reason, sha256_of, shown
from t2l_cli.weights import cache
from t2l_cli.weights.cache import CachedWeights

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes received and the total, which is None while it is unknown."""

_Got = TypeVar("_Got")

_PART = ".part"  # folder of an unfinished download, inside its target folder: the rename stays on one file system
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STARTS = 2  # huggingface_hub resumes a broken download itself, five times; then it is started again, once
_HEAD_TIMEOUT = 10.0  # s


@dataclass(frozen=True)
class _Wanted:
    """The weights to get, and what messages say about them."""

    name: str  # of the model, for messages
    repo: str  # "owner/name" in the cache
    server: str
    ways: str  # for messages: what the user can do without a download


def fetch(name: str, repo: str, files: Sequence[str], offline: bool, progress: Progress | None) -> CachedWeights:
    """Get the weights of the model ``name``: from the cache, from that of the hub's own client, or from the network.

    Downloaded is the first of ``files`` that ``repo`` has.
    If several processes ask at the same time, one downloads and the others wait. With ``offline`` or HF_HUB_OFFLINE the
    network is not used. Raises WeightsError: no network, a broken connection, a wrong checksum, a full disk.
    """
    wanted = _from_hub(name, repo)

    def find() -> CachedWeights | None:
        return cache.find(repo) or cache.find_in_hub(repo, files)

    def download(part: Path) -> CachedWeights:
        got, sha256, commit = _received(wanted, files, part, progress)
        return cache.store(got, repo, sha256, commit)

    return _had(wanted, offline, find, download)


def fetch_file(name: str, repo: str, file: str, offline: bool) -> Path:
    """Get a small file that belongs to the model ``name``, such as its configuration, in the ways of :func:`fetch`."""
    wanted, place = _from_hub(name, repo), cache.weights_dir(repo) / file

    def find() -> Path | None:
        return place if place.is_file() else cache.hub_file(repo, file)

    def download(part: Path) -> Path:
        got, _, _ = _received(wanted, (file,), part, None)
        os.replace(got, place)
        return place

    return _had(wanted, offline, find, download)


def fetch_url(
    name: str, repo: str, url: str, offline: bool, progress: Progress | None, instead: tuple[str, str]
) -> CachedWeights:
    """As :func:`fetch`, but from ``url``; stored as ``repo`` ("owner/name") in the cache.

    The file's name must end in the first digits of its SHA-256, as on PyTorch's server (network-0123abcd.pth).
    ``instead``: two things that the user can do without these weights.
    """
    server = "/".join(url.split("/")[:3])
    wanted = _Wanted(name, repo, server, _ways(name, repo, *instead))
    return _had(wanted, offline, lambda: cache.find(repo), lambda part: _download_url(wanted, url, part, progress))


def _from_hub(name: str, repo: str) -> _Wanted:
    return _Wanted(name, repo, endpoint(), _ways(name, repo, "--clip-weights FILE", "--clip mini"))


def _had(wanted: _Wanted, offline: bool, find: Callable[[], _Got | None], download: Callable[[Path], _Got]) -> _Got:
    """What ``find()`` finds on this machine, or ``download(folder)``; the folder is for temporary files."""
    found = find()
    if found is not None:
        return found
    if offline or is_offline():
        raise WeightsError(
            f"the weights of {wanted.name} are not on this machine and t2l is told to stay offline.\n{wanted.ways}"
        )
    with cache.locked(wanted.repo) as folder:
        found = find()  # another process may have downloaded it while this one waited
        if found is not None:
            return found
        part = folder / _PART
        try:
            for start in range(1, _STARTS + 1):
                shutil.rmtree(part, ignore_errors=True)  # a killed run may have left one
                try:
                    return download(part)
                except WeightsError:
                    raise
                except Exception as error:  # the hub's client, httpx and xet share no base class for network errors
                    _explain(error, wanted, final=start == _STARTS)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    raise AssertionError("unreachable: the last start returns or raises")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set in the environment."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """Address of the hub, without a trailing slash."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def unreached(seconds: float) -> str | None:
    """Why the hub gave no answer at all, of whatever kind, within ``seconds``; None where it did."""
    answers: queue.Queue[str | None] = queue.Queue()

    def ask() -> None:
        try:
            import huggingface_hub

            huggingface_hub.get_session().head(endpoint(), timeout=seconds)
        except Exception as error:  # see _had
            answers.put(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        else:
            answers.put(None)

    threading.Thread(target=ask, daemon=True).start()  # a look-up of a server's name knows no limit of time
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds:g} s"


def _received(wanted: _Wanted, files: Sequence[str], part: Path, progress: Progress | None) -> tuple[Path, str, str]:
    """Download the first of ``files`` that the repository has and check it: its path, SHA-256 and commit."""
    import huggingface_hub

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # this program's messages say what matters
    file, metadata = _look_up(wanted.name, wanted.repo, files)
    if metadata.size is not None and shutil.disk_usage(part.parent).free < metadata.size:
        raise _full(wanted.name, metadata.size)
    got = Path(
        huggingface_hub.hf_hub_download(
            wanted.repo,
            file,
            revision=metadata.commit_hash,  # exactly the file of the checksum in ``metadata``
            local_dir=part,
            endpoint=endpoint(),
            tqdm_class=progress_bar(progress),
        )
    )
    return got, _checked(got, metadata.etag or "", wanted), metadata.commit_hash or ""


def _download_url(wanted: _Wanted, url: str, part: Path, progress: Progress | None) -> CachedWeights:
    from huggingface_hub.file_download import http_get  # resumes after a broken connection

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    part.mkdir()
    got = part / url.rsplit("/", 1)[1]
    with got.open("wb") as file:
        http_get(url, file, tqdm_class=progress_bar(progress))
    sha256 = sha256_of(got)
    if not (digits := _digits(url)) or not sha256.startswith(digits):
        raise _wrong(wanted)
    return cache.store(got, wanted.repo, sha256, url)


def _digits(url: str) -> str:
    """The first digits of the SHA-256, from the end of the file's name; "" if there are none."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)
    return found[1] if found else ""


def _look_up(name: str, repo: str, files: Sequence[str]) -> tuple[str, HfFileMetadata]:
    """The first of ``files`` that ``repo`` has, and its metadata on the hub."""
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for file in files:
        url = huggingface_hub.hf_hub_url(repo, file, endpoint=endpoint())
        try:
            return file, huggingface_hub.get_hf_file_metadata(url, timeout=_HEAD_TIMEOUT, endpoint=endpoint())
        except RemoteEntryNotFoundError:
            continue
    raise WeightsError(f"{shown(endpoint())}/{repo} has no weights of {name} that t2l can read ({' or '.join(files)}).")


def _checked(path: Path, etag: str, wanted: _Wanted) -> str:
    """Compare ``path`` with the hub's checksum, a SHA-256 or (for small files) git's blob SHA-1; return the SHA-256."""
    sha256 = sha256_of(path)
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        good = sha256 == etag
    elif re.fullmatch(r"[0-9a-f]{40}", etag):
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                blob.update(chunk)
        good = blob.hexdigest() == etag
    else:
        raise WeightsError(
            f"{shown(wanted.server)} gives no checksum for the weights of {wanted.name}, so they cannot be trusted."
        )
    if not good:
        raise _wrong(wanted)
    return sha256


def _wrong(wanted: _Wanted) -> WeightsError:
    return WeightsError(
        f"the weights of {wanted.name} came with a wrong checksum from {shown(wanted.server)} and were deleted; "
        "try again, and if it stays so, the server or a proxy on the way changes them."
    )


def progress_bar(progress: Progress | None) -> type[Any]:
    """A class to use instead of huggingface_hub's tqdm bar, which displays nothing and calls ``progress``.

    It has the methods that http_get and the reporter of xet transfers use. Xet counts the transferred bytes separately
    from those of the file (update_transfer); only the file's are reported.
    """

    class Bar:
        def __init__(self, total: float | None = None, initial: float = 0, **_: object) -> None:
            self.total, self.n = total, initial

        def update(self, n: float = 1) -> None:
            self.n += n
            if progress is not None:
                progress(int(self.n), None if self.total is None else int(self.total))

        def _nothing(self, *_: object, **__: object) -> None:
            """Do nothing instead of drawing."""

        update_transfer = set_postfix_str = set_transfer_postfix_str = refresh = close = __exit__ = _nothing

        def __enter__(self) -> Bar:
            return self

    return Bar


def _explain(error: Exception, wanted: _Wanted, final: bool) -> None:
    """Raise the WeightsError that explains ``error``; return if another start may help."""
    if isinstance(error, OSError) and error.errno in _FULL:
        raise _full(wanted.name, None) from error
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        raise WeightsError(f"cannot write into {shown(cache.cache_dir())}: {reason(error)}.") from error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        what = f"answered {status} to the request for"
    elif type(error).__name__ in ("ConnectError", "ConnectTimeout", "ProxyError", "OfflineModeIsEnabled"):
        what = "cannot be reached for"
    elif final:
        what = "broke off while sending"
    else:
        return
    raise WeightsError(f"{shown(wanted.server)} {what} the weights of {wanted.name}.\n{wanted.ways}") from error


def _full(name: str, needed: int | None) -> WeightsError:
    size = "" if needed is None else f"; they need {needed / 1e6:,.0f} MB"
    return WeightsError(
        f"the disk of the weights cache {shown(cache.cache_dir())} has no room for the weights of {name}{size}. "
        "Free some, or set T2L_CACHE_DIR to a folder on another disk."
    )


def _ways(name: str, repo: str, first: str, last: str) -> str:
    folder = shown(cache.weights_dir(repo).parent)
    return f"Ways out: {first}; `t2l models pull {name}` on another machine and copy its cache to {folder}; or {last}."
