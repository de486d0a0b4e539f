"""The whole-size network with synthetic weights against what the authors' code computed (`shared/golden/siammot`)."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporters need torch: pip install 'trackstream[export]'")
pytest.importorskip("onnx", reason="exporters need onnx: pip install 'trackstream[export]'")

from exporters.__main__ import main  # noqa: E402
from exporters.siammot.checkpoint import load_state  # noqa: E402
from exporters.siammot.graphs import Boxes, Motion, Template, Trunk  # noqa: E402
from exporters.siammot.network import Design, SiamMot  # noqa: E402
from exporters.siammot.operators import cross_correlate, roi_align  # noqa: E402
from tracker import create  # noqa: E402
from tracker.models.siammot import open_siammot  # noqa: E402
from tracker.models.siammot.regions import by_level, choose_proposals, levels_of, search_regions, suppress_inclusive  # noqa: E402

FEATURES, PIXELS, SCORES = 1e-4, 2e-2, 1e-4
SIZE = (384, 256)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "siammot"


@pytest.fixture(scope="module")
def synth(folder):
    spec = importlib.util.spec_from_file_location("synth_weights", folder / "synth_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def state(shared, synth):
    """An official state dict, dead tensors included."""
    tensors = synth.state_dict(shared / "spec" / "siammot_keys.tsv", 0)
    return {name: torch.from_numpy(values) for name, values in tensors.items()}


@pytest.fixture
def network(state):
    network = SiamMot().eval().requires_grad_(False)
    load_state(state, network)
    return network


@pytest.fixture(scope="module")
def maps(synth):
    return [torch.from_numpy(values) for values in synth.synth_features()]


def regions(boxes, levels=None):
    found = by_level(boxes, levels_of(boxes) if levels is None else levels)
    return [*(torch.from_numpy(part) for part in found.rois), torch.from_numpy(found.order)]


def near(found, wanted, tolerance):
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=0, atol=tolerance)


def test_region_pooling(folder):
    data = np.load(folder / "roialign_nms.npz")
    feature, rois = torch.from_numpy(data["feat"]), torch.from_numpy(data["rois"])
    for size in (7, 15):
        for image in (0, 1):
            own = (rois[:, 0] == image).numpy()
            found = roi_align(feature[image : image + 1], rois[own, 1:], size, 8)
            near(found, data[f"out_sr2_sz{size}"][own], FEATURES)


def test_pyramid_and_proposals(folder, synth, network):
    data = np.load(folder / "e2e_amodal.npz")
    design = Design(SIZE, amodal=True)
    for frame in (0, 1):
        image = torch.from_numpy(synth.normalise(data["images"][frame]))
        pyramid = network.pyramid(image)
        for level, (channels, cells) in enumerate(((8, 4), (8, 2), (4, 1), (1, 1), (1, 1))):
            near(pyramid[level][:, ::channels, ::cells, ::cells], data[f"f{frame}_P{level + 2}_sub"], FEATURES)
        *_, boxes, scores = Trunk(network, design)(image)
        boxes, scores = choose_proposals(boxes.numpy(), scores.numpy(), design.level_counts, 0.7, 300)
        near(boxes, data[f"f{frame}_prop"], PIXELS)
        near(scores, data[f"f{frame}_obj"], SCORES)


@pytest.mark.parametrize("mode", ["amodal", "modal"])
def test_heads(folder, network, maps, mode):
    data = np.load(folder / "heads_synth.npz")
    network.box.cls_score.bias.copy_(torch.from_numpy(data["cls_score_bias"]))
    design = Design(SIZE, amodal=mode == "amodal")
    trunk, head = Trunk(network, design), Boxes(network, design)
    found = [trunk.candidates(level, *network.rpn(feature)) for level, feature in enumerate(maps)]
    boxes, scores = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
    boxes, scores = choose_proposals(boxes, scores, design.level_counts, 0.7, 300)
    near(boxes, data[f"{mode}_proposals"], PIXELS)
    near(scores, data[f"{mode}_objectness"], SCORES)

    scores, boxes = (a.numpy()[:, 1] for a in head(*maps[:4], *regions(data[f"{mode}_proposals"])))
    good = np.flatnonzero(scores > 0.05)
    kept = good[np.sort(suppress_inclusive(boxes[good], scores[good], np.float32(0.5), len(good)))]
    near(boxes[kept], data[f"{mode}_det_boxes"], PIXELS)
    near(scores[kept], data[f"{mode}_det_scores"], SCORES)

    scores, boxes = (a.numpy()[:, 1] for a in head(*maps[:4], *regions(data[f"{mode}_refine_in_boxes"])))
    near(boxes, data[f"{mode}_refine_boxes"], PIXELS)
    near(1 + (scores + data[f"{mode}_refine_in_scores"]) / 2, data[f"{mode}_refine_scores"], SCORES)


def test_track_head(folder, network, maps):
    data = np.load(folder / "emm_synth.npz")
    boxes = data["boxes"]
    (templates,) = Template(network, Design(SIZE))(*maps[:4], *regions(boxes))
    near(templates[:, ::8], data["z_sub"], FEATURES)
    search = search_regions(boxes, 2.0)
    near(search + 512, data["sr_padded"], PIXELS)
    given = (*maps[:4], *regions(search, levels_of(boxes)), templates, torch.from_numpy(boxes))
    for mode in ("amodal", "modal"):
        found, visible = Motion(network, Design(SIZE, amodal=mode == "amodal"))(*given)
        near(found, data[f"boxes_out_{mode}"], PIXELS)
        near(visible, data[f"vis_{mode}"], SCORES)
    for centerness in (0, 1):
        for weight in (0.1, 0.4):
            design = Design(SIZE, amodal=True, centerness=bool(centerness), window_weight=weight)
            found, visible = Motion(network, design)(*given)
            near(found, data[f"decode_c{centerness}_s{weight}_box"], PIXELS)
            near(visible, data[f"decode_c{centerness}_s{weight}_vis"], SCORES)


def test_maps_of_the_track_head(folder, network, maps):
    data = np.load(folder / "emm_synth.npz")
    boxes = torch.from_numpy(data["boxes"])
    motion = Motion(network, Design(SIZE))
    padded = [torch.nn.functional.pad(feature, [1] * 4) for feature in maps[:4]]
    search = torch.from_numpy(search_regions(data["boxes"], 2.0))
    levels = levels_of(data["boxes"])
    x = torch.cat([roi_align(padded[k], search[i : i + 1] + 4 * 2**k, 30, 4 * 2**k) for i, k in enumerate(levels)])
    z = torch.cat([roi_align(maps[k], boxes[i : i + 1], 15, 4 * 2**k) for i, k in enumerate(levels)])
    near(x.mean((2, 3)), data["x_mean"], FEATURES)
    near(cross_correlate(x, z).mean((2, 3)) / 100, data["resp_mean"] / 100, FEATURES)  # about 70 in size
    cls, centre, reg = network.track(x, z)
    near(cls, data["cls16"], 1e-3)
    near(centre, data["ctr16"], 1e-3)
    near(reg, data["reg16"], 1e-3)
    value, *_ = motion.weigh(boxes, cls, centre, reg)
    assert value.argmax(1).tolist() == data["idx"].tolist()
    near(value.max(1).values, data["p_best"], SCORES)


@pytest.fixture(scope="module")
def exported(state, tmp_path_factory):
    """An official-looking checkpoint through the command, for e2e_amodal."""
    folder = tmp_path_factory.mktemp("siammot")
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / "model.pth")
    words = ["--checkpoint", str(folder / "model.pth"), "--size", "384x256", "--amodal", "-o", str(folder / "graphs")]
    assert main(["siammot", *words]) == 0
    return folder / "graphs"


def test_closed_loop_in_onnx_runtime(folder, exported):
    """A, D and B once per frame and our solver: the authors' ids, boxes, scores and memory on every frame."""
    data = np.load(folder / "e2e_amodal.npz")
    network = open_siammot(exported, device="cpu")
    tracker = create("siammot", max_coast_frames=int(data["max_dormant_frames"]) - 1)
    for frame, image in enumerate(data["images"]):
        detections = network(np.ascontiguousarray(image[:, :, ::-1]))
        wanted = {key: data[f"f{frame}_{key}"] for key in ("pre_boxes", "pre_scores", "pre_ids", "active", "dormant")}
        theirs, ours = wanted["pre_ids"], np.where(detections.track_ids > 0, detections.track_ids - 1, -1)
        fresh = np.count_nonzero(theirs < 0)
        assert (theirs[:fresh] == -1).all()
        np.testing.assert_array_equal(ours[:fresh], theirs[:fresh])
        rows, same = (np.concatenate([np.arange(fresh), fresh + np.argsort(ids[fresh:])]) for ids in (ours, theirs))
        np.testing.assert_array_equal(ours[rows], theirs[same])
        near(detections.boxes[rows] - [0, 0, 1, 1], wanted["pre_boxes"][same], PIXELS)
        near(detections.scores[rows], (wanted["pre_scores"] - (theirs >= 0))[same], SCORES)

        tracks = tracker.update(detections)
        network.follow(tracks)
        assert sorted(tracks.confirmed.ids - 1) == sorted(wanted["active"])
        assert sorted(tracks.coasting.ids - 1) == sorted(wanted["dormant"][:, 0])
        memory, order = network.memory, np.argsort(network.memory.ids)
        known = np.argsort(data[f"f{frame}_mem_ids"])
        np.testing.assert_array_equal(memory.ids[order] - 1, data[f"f{frame}_mem_ids"][known])
        near(memory.boxes[order], data[f"f{frame}_mem_boxes"][known], PIXELS)
        near(search_regions(memory.boxes, 2.0)[order] + 512, data[f"f{frame}_mem_sr_padded"][known], 2 * PIXELS)
        near(memory.templates.mean((2, 3))[order, ::4], data[f"f{frame}_mem_z_mean"][known], FEATURES)
    assert len(network.memory.ids) == 41
