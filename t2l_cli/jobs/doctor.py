"""What a machine has for t2l, and whether it works: a finding for each thing that was looked at.

Whatever is broken, the rest is still looked at: a check may raise anything, which becomes a problem. Nothing that a
check needs is imported before it runs. Findings hold no names of users and no folders of theirs, so that they may be
shown to others.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import t2l_cli
from t2l_cli.errors import T2LError
from t2l_cli.media.paths import reason, shown

if TYPE_CHECKING:
    from torch import device as Device

State = Literal["ok", "note", "problem"]
_Private = TypeVar("_Private")

STEPS = 5  # of the self-test
PATIENCE = 2.0  # s for the model hub to answer
_LITTLE_MEMORY, _LITTLE_DISK = 3 << 30, 2 << 30  # bytes; below them it is said
_VARIABLES = re.compile(r"(T2L|HF|TRANSFORMERS|CUDA|PYTORCH|TORCH|OMP|MKL)_\w+|(https?|all|no)_proxy", re.IGNORECASE)
_SECRET = re.compile(r"token|key|secret|password|proxy", re.IGNORECASE)  # variables whose values are not shown
_MODULES = {  # distribution -> the module in it, where their names differ
    "open-clip-torch": "open_clip",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
}
_WORKSHOP = "dev"  # the extra of those who work on t2l
_READ = ("h264", "hevc", "vp9", "av1", "prores", "ffv1")  # what videos of cameras and editors hold
_PICTURES = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF")


@dataclass(frozen=True)
class Finding:
    """What one look at the machine has found."""

    name: str  # of what was looked at
    state: State
    text: str  # for a person, in one line
    facts: dict[str, Any] = field(default_factory=dict)  # for a program; memory in bytes, times in seconds
    trace: str = ""  # the traceback of what went wrong


Check = Callable[[], Iterable[Finding]]
"""Looks at something. What it raises is a problem."""


def diagnose(offline: bool = False, more: Iterable[tuple[str, Check]] = ()) -> Iterator[Finding]:
    """The findings, each made when it is asked for. ``more``: further checks by name, before the self-test."""
    return examined(
        [
            ("t2l", _program),
            ("variables", _variables),
            ("processor", _processor),
            ("memory", _memory),
            ("torch", _torch),  # before the other packages, one of which changes its number of threads
            ("devices", _devices),
            ("packages", _packages),
            ("folders", _folders),
            ("models", _models),
            ("video", _video),
            ("pictures", _pictures),
            ("network", partial(_network, offline)),
            *more,
            ("self-test", _self_test),
        ]
    )


def examined(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """What the ``checks``, by name, find; what a check raises is a problem of its name."""
    for name, check in checks:
        found: list[Finding] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for finding in check():  # not a comprehension: what was found before a failure counts
                    found.append(finding)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            found.append(Finding(name, "problem", _in_a_line(error), trace=trace))
        yield from (
            Finding(one.name, one.state, private(one.text), private(one.facts), private(one.trace)) for one in found
        )


def worst(findings: Iterable[Finding]) -> State:
    """The state of all findings together."""
    states: tuple[State, ...] = get_args(State)
    return max((finding.state for finding in findings), key=states.index, default="ok")


def private(value: _Private) -> _Private:
    """``value`` where no text has the path of the user's home, or the user's name as part of a path."""
    made: Any = value
    if isinstance(value, str):
        home = os.path.expanduser("~")
        made = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", value) if len(home) > 1 else value
        made = re.sub(rf"(?<=[/\\]){re.escape(_user())}(?![\w.-])", "USER", made)
    elif isinstance(value, dict):
        made = {private(key): private(one) for key, one in value.items()}
    elif isinstance(value, list):
        made = [private(one) for one in value]
    return made  # type: ignore[no-any-return]  # of the type that came


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a process without an entry among the users
        return "\0"  # in no path


def _in_a_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, T2LError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500].rstrip(".")


def _program() -> Iterator[Finding]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    bits = 64 if sys.maxsize > 2**32 else 32
    facts = {"version": t2l_cli.__version__, "python": python, "bits": bits, "platform": platform.platform()}
    yield Finding("t2l", "ok", f"{t2l_cli.__version__}, {python} ({bits} bit), {facts['platform']}", facts)


def _variables() -> Iterator[Finding]:
    found = {
        name: "(not shown)" if _SECRET.search(name) else without_password(value)
        for name, value in sorted(os.environ.items())
        if _VARIABLES.fullmatch(name)
    }
    text = ", ".join(f"{name}={shown(value)}" for name, value in found.items())
    yield Finding("variables", "ok", text or "none that t2l or its libraries know", dict(found))


def without_password(address: str) -> str:
    """``address`` without the name and password that one of a server may hold."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", address)


def _packages() -> Iterator[Finding]:
    """Each package that t2l needs: whether it is there, new enough, and can be imported."""
    import importlib.metadata as metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    extras = ["", *sorted(set(metadata.metadata("t2l").get_all("Provides-Extra") or ()) - {_WORKSHOP})]
    versions: dict[str, str] = {}
    wrong: list[Finding] = []
    absent: dict[str, list[str]] = {}  # the packages of each extra
    required = [Requirement(line) for line in metadata.requires("t2l") or ()]
    for one in sorted(required, key=lambda one: one.name != "torch"):  # many of the others import it
        name = str(canonicalize_name(one.name))
        asking = [extra for extra in extras if one.marker is None or one.marker.evaluate({"extra": extra})]
        if not asking:
            continue  # for another system, or for the workshop
        version, error = _imported(name)
        if not version and "" not in asking:
            absent.setdefault(asking[0], []).append(name)
            continue
        versions[name] = version
        if not version:
            wrong.append(Finding("packages", "problem", f"{name} is missing: python -m pip install {name}"))
        elif version[0].isdigit() and not one.specifier.contains(version, prereleases=True):
            text = f"{name} is {version}, and t2l needs {one.specifier}: python -m pip install --upgrade {name}"
            wrong.append(Finding("packages", "problem", text))
        elif error is not None:
            text = f"{name} cannot be imported: {_in_a_line(error)}"
            wrong.append(Finding("packages", "problem", text, trace="".join(traceback.format_exception(error))))
    listed = ", ".join(f"{name} {version or '-'}" for name, version in sorted(versions.items()))
    yield Finding("packages", "ok", listed, versions)
    yield from wrong
    for extra, names in sorted(absent.items()):
        yield Finding("packages", "ok", f"without the extra {extra}: python -m pip install {' '.join(names)}")


def _imported(name: str) -> tuple[str, Exception | None]:
    """The version of the package ``name``, "" where there is none, and why it cannot be imported."""
    import importlib
    import importlib.metadata as metadata

    version, error = "", None
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version(name)
    try:
        module = importlib.import_module(_MODULES.get(name, name.replace("-", "_")))
        version = version or str(getattr(module, "__version__", "of unknown version"))  # OpenCV has several names
    except Exception as raised:
        error = raised
    return version, error


def _processor() -> Iterator[Finding]:
    from t2l_cli.jobs.machine import processor

    cpu = processor()
    quota = "" if cpu.quota is None else f", and time for {cpu.quota:g} (control group)"
    facts = {"model": cpu.model, "cores": cpu.cores, "usable": cpu.usable, "quota": cpu.quota}
    yield Finding("processor", "ok", f"{cpu.model}, {cpu.usable} of {cpu.cores} cores for t2l{quota}", facts)


def _memory() -> Iterator[Finding]:
    from t2l_cli.jobs.machine import memory

    ram = memory()
    limit = "" if ram.limit is None else f", limited to {_gib(ram.limit)} (control group)"
    text = f"{_gib(ram.total)}, {_gib(ram.free)} free{limit}"
    facts = {"total": ram.total, "free": ram.free, "limit": ram.limit}
    if min(ram.free, ram.limit or ram.free) < _LITTLE_MEMORY:
        yield Finding("memory", "note", f"{text}: little for more than a draft of a photo", facts)
    else:
        yield Finding("memory", "ok", text, facts)


def _torch() -> Iterator[Finding]:
    """PyTorch and its threads."""
    import torch

    from t2l_cli.jobs.machine import processor

    cpu, threads = processor(), torch.get_num_threads()
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    facts = {"version": torch.__version__, "cuda": torch.version.cuda, "threads": threads}
    text = f"{torch.__version__}, {built}, {threads} {'thread' if threads == 1 else 'threads'}"
    allowed = max(1, math.ceil(min(cpu.usable, cpu.quota or cpu.usable)))
    if threads > allowed:
        yield Finding("torch", "note", f"{text}, more than the cores for it: try --threads {allowed}", facts)
    else:
        yield Finding("torch", "ok", text, facts)


def _devices() -> Iterator[Finding]:
    """The devices that torch has, each tried by a small product; the first is the default."""
    import torch

    with warnings.catch_warnings(record=True) as said:  # such as of a driver that is too old
        warnings.simplefilter("always")
        devices = [
            torch.device("cuda", i) for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    for warning in said:
        yield Finding("devices", "note", " ".join(str(warning.message).split())[:500])
    if not devices:
        driver = shutil.which("nvidia-smi") is not None and not torch.version.cuda
        hint = ", and there is an NVIDIA driver: install a PyTorch that is built for CUDA" if driver else ""
        yield Finding("devices", "note", f"no GPU that PyTorch can use: t2l computes on the CPU{hint}", {"devices": []})
    for device in (*devices, torch.device("cpu")):
        yield from examined([(str(device), partial(_device, device))])


def _device(device: Device) -> Iterator[Finding]:
    import torch

    facts: dict[str, Any] = {}
    text = "computes right"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        capability = f"{properties.major}.{properties.minor}"
        facts = {"name": properties.name, "total": total, "free": free, "capability": capability}
        text = f"{properties.name}, {_gib(total)}, {_gib(free)} free, compute capability {capability}, {text}"
    elif device.type == "mps":
        total = int(torch.mps.recommended_max_memory())
        facts = {"total": total, "free": total - int(torch.mps.driver_allocated_memory())}
        text = f"Apple GPU, {_gib(total)} recommended at most, {text}"
    error = product_error(device)
    if not error < 0.01:  # NaN, too
        wrong = f"computes wrong: a small product is off by {error:.2g} of its size"
        yield Finding(str(device), "problem", text.replace("computes right", wrong), facts)
    else:
        yield Finding(str(device), "ok", text, facts)


def product_error(device: Device) -> float:
    """How far a product of 64 x 64 matrices on ``device`` is from the exact one, as a part of it, at most."""
    import torch

    a, b = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    return float((((a.to(device) @ b.to(device)).cpu().double() - exact) / exact).abs().max())


def _folders() -> Iterator[Finding]:
    """Where t2l keeps weights, temporary files and results."""
    from t2l_cli.weights.cache import cache_dir

    yield from examined([("cache", partial(_folder, "cache", cache_dir()))])
    yield from examined([("temporary", lambda: _folder("temporary", Path(tempfile.gettempdir())))])
    yield from examined([("here", partial(_folder, "here", Path(), "the working directory"))])


def _folder(name: str, path: Path, words: str = "") -> Iterator[Finding]:
    """Whether ``path``, or the folder in which it would be made, can be written, and what is free there."""
    there = next(folder for folder in (path, *path.parents) if folder.exists() or not folder.name)
    words = words or shown(path)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Finding(name, "problem", f"{words} cannot be written: {reason(error)}", {"writable": False})
        return
    free = shutil.disk_usage(there).free
    text = f"{words}, {_gib(free)} free" + ("" if there == path else ", not made yet")
    facts = {"path": words, "writable": True, "free": free}
    if free < _LITTLE_DISK:
        yield Finding(name, "note", f"{text}: little room", facts)
    else:
        yield Finding(name, "ok", text, facts)


def _models() -> Iterator[Finding]:
    """The weights on this machine, and whether the default CLIP's are among them."""
    from t2l_cli.settings import PHOTO
    from t2l_cli.weights import registry

    here = [entry.name for entry in registry.list_models() if entry.cached]
    facts = {"cached": here}
    absent = [name for name in PHOTO.base.clips if registry.find(registry.resolve(name)) is None]
    if absent:
        text = (
            f"{', '.join(here)}; the default, {absent[0]}, comes with the first edit, or: t2l models pull {absent[0]}"
        )
        yield Finding("models", "note", text, facts)
    else:
        yield Finding("models", "ok", ", ".join(here), facts)


def _video() -> Iterator[Finding]:
    """Whether a frame can be encoded as each --codec wants it, and what can be decoded."""
    from av.codec import Codec as Coder

    from t2l_cli.config import Codec
    from t2l_cli.media.muxing import recipe_of

    wrong = {}
    for codec in get_args(Codec):
        try:
            encode_one(recipe_of(codec, odd=False))
        except Exception as error:
            wrong[codec] = _in_a_line(error)
    written = [codec for codec in get_args(Codec) if codec not in wrong]
    read = []
    for name in _READ:
        try:
            Coder(name, "r")
        except ValueError:  # UnknownCodecError is one
            continue
        read.append(name)
    yield Finding(
        "video", "ok", f"writes {', '.join(written)}; reads {', '.join(read)}", {"write": written, "read": read}
    )
    for codec, text in wrong.items():
        yield Finding("video", "problem", f"--codec {codec} does not work: {text}")
    if unread := [name for name in _READ if name not in read]:
        yield Finding("video", "note", f"videos in {', '.join(unread)} cannot be read")


def encode_one(recipe: Any) -> int:
    """Encode a black frame by a ``Recipe`` of media.muxing; the bytes it took. Raises what PyAV raises."""
    from fractions import Fraction

    from av import CodecContext, VideoFrame

    context: Any = CodecContext.create(recipe.encoder, "w")
    context.width, context.height, context.pix_fmt = 64, 64, recipe.pixels
    context.time_base, context.options = Fraction(1, 25), recipe.options
    frame = VideoFrame(64, 64, recipe.pixels)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    size = sum(int(packet.size) for packet in [*context.encode(frame), *context.encode(None)])
    if not size:
        raise T2LError(f"{recipe.encoder} makes nothing of a frame")
    return size


def _pictures() -> Iterator[Finding]:
    """Whether a picture of each kind can be written and read again."""
    import io

    from PIL import Image

    from t2l_cli.media.opening import open_image, register_formats

    register_formats()
    wrong = {}
    for kind in _PICTURES:
        file = io.BytesIO()
        try:
            Image.new("RGB", (16, 16), (200, 30, 30)).save(file, kind)
            file.seek(0)
            red, green, blue = open_image(file, kind).convert("RGB").tobytes()[:3]
            if not (red > 150 and max(green, blue) < 80):
                wrong[kind] = f"a red picture came back as ({red}, {green}, {blue})"
        except Exception as error:
            wrong[kind] = _in_a_line(error)
    fine = [kind for kind in _PICTURES if kind not in wrong]
    yield Finding("pictures", "ok", f"{', '.join(fine)} come back as they were written", {"kinds": fine})
    for kind, text in wrong.items():
        yield Finding("pictures", "problem", f"{kind} does not work: {text}")


def _network(offline: bool) -> Iterator[Finding]:
    """Whether the model hub can be reached."""
    from t2l_cli.weights.download import endpoint, is_offline, unreached

    server = without_password(endpoint())
    if offline or is_offline():
        why = "--offline" if offline else "HF_HUB_OFFLINE"
        yield Finding("network", "ok", f"not tried: t2l is told to stay offline ({why})", {"offline": True})
        return
    began = time.monotonic()
    problem = unreached(PATIENCE)
    seconds = round(time.monotonic() - began, 3)
    facts = {"offline": False, "server": server, "reached": problem is None, "seconds": seconds}
    if problem is None:
        yield Finding("network", "ok", f"{server} answers after {seconds:.1f} s", facts)
    else:
        text = f"{server} cannot be reached ({without_password(problem)}): weights that are here work without"
        yield Finding("network", "note", text, facts)


def _self_test() -> Iterator[Finding]:
    """A short edit of a drawn picture with mini, on the default device."""
    import numpy as np

    from t2l_cli.jobs.photo import PhotoJob, PhotoRequest
    from t2l_cli.jobs.sources import path_or_picture

    y, x = np.mgrid[:96, :128]
    drawn = np.full((96, 128, 3), (205, 195, 180), np.uint8)
    drawn[(y - 48) ** 2 + (x - 64) ** 2 < 30**2] = (150, 150, 155)
    settings = {"clip": "mini", "steps": STEPS, "seed": 0}
    request = PhotoRequest.of(None, ("red ball",), settings, in_memory=True, preset="draft", offline=True)
    job = PhotoJob(request, None, path_or_picture(drawn)[1])
    times = [time.monotonic()]
    finite = True
    for tick in job:
        finite = finite and all(math.isfinite(value) for value in tick.terms.values())  # on a GPU this waits for it
        times.append(time.monotonic())
    changed = int(np.abs(np.asarray(job.image.convert("RGB")).astype(int) - drawn).max())
    device = str(job.edit.runtime.device)
    first, rest = times[1] - times[0], (times[-1] - times[1]) / (STEPS - 1)
    facts = {"device": device, "steps": STEPS, "first_s": round(first, 3), "step_s": round(rest, 4), "changed": changed}
    text = f"{STEPS} steps with mini on {device}, {rest:.2g} s each (the first, with loading, {first:.1f} s)"
    if not finite:
        yield Finding("self-test", "problem", f"{text}: a loss is not a finite number", facts)
    elif not changed:
        yield Finding("self-test", "problem", f"{text}: the picture is as before", facts)
    else:
        yield Finding("self-test", "ok", f"{text}, losses are finite, the picture changes", facts)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
