"""torchvision's networks through our own cache: names, download and checksum, offline, loading."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torchvision.models.detection
import torchvision.models.optical_flow
from hub import Hub
from torch import nn

from t2l_cli.errors import RequestError, WeightsError
from t2l_cli.weights import cache, networks, registry, vision
from t2l_cli.weights.coco import CLASSES, class_number

Serve = Callable[..., bytes]


@pytest.fixture
def serve(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve a state as the weights of every network, and have them looked for there."""

    def put(state: object, digits: str | None = None) -> bytes:
        file = io.BytesIO()
        torch.save(state, file)
        data = file.getvalue()
        name = f"net-{digits or hashlib.sha256(data).hexdigest()[:8]}.pth"
        hub.files[f"tester/net/{name}"] = data
        entry = SimpleNamespace(url=f"{hub.url}/tester/net/resolve/main/{name}", meta={})
        monkeypatch.setattr(vision, "published", lambda _: entry)
        return data

    return put


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> nn.Linear:
    """A layer in the place of both networks; they must be asked for without weights."""

    def build(weights: object = "", weights_backbone: object = None) -> nn.Linear:
        assert weights is None
        assert weights_backbone is None
        return nn.Linear(3, 2)

    monkeypatch.setattr(torchvision.models.optical_flow, "raft_large", build)
    monkeypatch.setattr(torchvision.models.detection, "maskrcnn_resnet50_fpn_v2", build)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("name", vision.NETWORKS)
def test_torchvisions_addresses_carry_a_checksum(name: str) -> None:
    url = vision.published(name).url
    assert url.startswith("https://download.pytorch.org/")
    assert len(url.rsplit("-", 1)[1]) == len("01234567.pth")


@pytest.mark.parametrize("load", [networks.load_raft, networks.load_mask_rcnn])
def test_downloaded_once_checked_and_loaded_frozen(
    serve: Serve, hub: Hub, small: nn.Linear, load: Callable[..., nn.Module]
) -> None:
    data = serve(small.state_dict())
    told: list[tuple[int, int | None]] = []
    network = load(progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(data), len(data))
    assert torch.equal(network.weight, small.weight)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    requests = hub.requests
    load(offline=True)
    assert hub.requests == requests


def test_pulled_listed_and_removed_by_name(serve: Serve, small: nn.Linear) -> None:
    data = serve(small.state_dict())
    path = registry.pull("raft")
    assert path.read_bytes() == data
    assert path.parent == cache.cache_dir() / "torchvision" / "raft"
    assert [e.name for e in registry.list_models() if e.cached and e.name != "mini"] == ["raft"]
    assert registry.remove("raft") > len(data)
    with pytest.raises(RequestError, match="raft are not in the cache"):
        registry.remove("raft")
    with pytest.raises(RequestError, match=r"Did you mean mask-rcnn\?"):
        registry.pull("mask-rccn")


def test_a_cut_connection_is_resumed(serve: Serve, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
    data = serve({"weight": torch.rand(3000)})
    hub.cuts = 2
    assert vision.pull("raft").read_bytes() == data


def test_a_wrong_checksum_is_refused_and_nothing_stays(serve: Serve, small: nn.Linear) -> None:
    serve(small.state_dict(), digits="00000000")
    with pytest.raises(WeightsError, match="mask-rcnn came with a wrong checksum from http://127"):
        vision.pull("mask-rcnn")
    assert vision.find("mask-rcnn") is None
    assert not list((cache.cache_dir() / "torchvision" / "mask-rcnn").iterdir())


def test_an_address_without_a_checksum_is_not_trusted(serve: Serve, small: nn.Linear) -> None:
    serve(small.state_dict(), digits="new")
    with pytest.raises(WeightsError, match="wrong checksum"):
        vision.pull("raft")


@pytest.mark.parametrize(("name", "way"), [("raft", "--flow dis"), ("mask-rcnn", "--mask PICTURE")])
def test_offline_names_three_ways_out(name: str, way: str, serve: Serve, hub: Hub) -> None:
    serve({})
    with pytest.raises(WeightsError, match=f"the weights of {name} .* stay offline") as caught:
        vision.pull(name, offline=True)
    assert hub.requests == 0
    for part in (way, f"`t2l models pull {name}`", "T2L_CACHE_DIR"):
        assert part in str(caught.value)


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
    entry = SimpleNamespace(url="http://127.0.0.1:9/net-01234567.pth")
    monkeypatch.setattr(vision, "published", lambda _: entry)
    with pytest.raises(WeightsError, match="cannot be reached for the weights of raft"):
        vision.pull("raft")


def test_weights_of_another_network_and_pickled_code_are_refused(serve: Serve, small: nn.Linear) -> None:
    serve({"weight": torch.zeros(5, 5)})
    with pytest.raises(WeightsError, match="do not fit RAFT"):
        networks.load_raft()
    serve({"weight": print})
    registry.remove("raft")
    with pytest.raises(WeightsError, match="could run code"):
        networks.load_raft()


def test_the_real_raft_takes_what_it_saves(serve: Serve) -> None:
    serve(torchvision.models.optical_flow.raft_large(weights=None).state_dict())
    assert type(networks.load_raft()).__name__ == "RAFT"


def test_classes_by_name() -> None:
    assert class_number("dog") == 18
    assert class_number(" Person ") == 1
    with pytest.raises(RequestError, match=r"no class 'dgo'. Did you mean .*dog"):
        class_number("dgo")
    listed = vision.published(vision.MASK_RCNN).meta["categories"]
    assert {name: listed[number] for name, number in CLASSES.items()} == {name: name for name in CLASSES}
    assert set(listed) - {"__background__", "N/A"} == CLASSES.keys()
    for nothing in ("__background__", "n/a", "N/A", "", "xyzzy"):
        with pytest.raises(RequestError, match="knows no class"):
            class_number(nothing)
