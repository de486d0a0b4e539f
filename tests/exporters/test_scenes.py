from types import SimpleNamespace

import numpy as np
import pytest

from exporters import scenes


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return scenes.fill_pool(tmp_path_factory.mktemp("pool"), 3, seed=999)


def test_pool_is_kept(pool, tmp_path):
    assert len(pool) == 3
    again = scenes.fill_pool(tmp_path, 1, seed=999)
    np.testing.assert_array_equal(again.images[0], pool.images[0])
    again.images[0] = 0
    kept = scenes.fill_pool(tmp_path, 1, seed=999, report=lambda n: pytest.fail("rendered again"))
    assert kept.images[0].max() == 0


def test_ids_and_classes_agree(pool):
    assert pool.ids.max() > 2
    np.testing.assert_array_equal(pool.ids > 0, pool.classes >= 5)


def test_objects_keep_their_ids_through_a_street(pool):
    for row in range(len(pool)):
        now, then = (set(np.unique(ids[row]).tolist()) - {0} for ids in (pool.ids, pool.ids_before))
        assert len(now & then) >= max(1, len(now | then) - 2), "a picture or three apart"
        assert not np.array_equal(pool.images[row], pool.images_before[row])
    first, last = (set(np.unique(pool.ids[row]).tolist()) - {0} for row in (0, len(pool) - 1))
    assert first & last


def test_targets_by_hand():
    ids = np.zeros((20, 30), np.uint8)
    ids[4:9, 10:13] = 1  # centre at (6, 11)
    ids[15, 2] = 2  # too small for a centre
    heat, offset, weight = scenes.draw_targets(ids)
    assert np.argwhere(heat == 1).tolist() == [[6, 11]]
    np.testing.assert_allclose(offset[:, 4, 10], [2, 1], atol=1e-5)
    np.testing.assert_allclose(offset[:, 8, 12], [-2, -1], atol=1e-5)
    assert weight[6, 11] > 0
    assert weight[0, 0] == 0
    assert (offset[:, ids == 0] == 0).all()


def test_votes_of_every_pixel_meet():
    rng = np.random.default_rng(0)
    ids = (rng.integers(0, 5, (12, 16)).repeat(3, 0).repeat(3, 1)).astype(np.uint8)
    _, offset, _ = scenes.draw_targets(ids)
    yy, xx = np.indices(ids.shape)
    for k in range(1, 5):
        for grid, shift in ((yy, offset[0]), (xx, offset[1])):
            votes = (grid + shift)[ids == k]
            np.testing.assert_allclose(votes, grid[ids == k].mean(), atol=1e-3)


def test_motion_by_hand():
    before, now = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    before[4:8, 10:14] = 7
    now[6:10, 16:20] = 7  # 2 down, 6 to the right: back it is 1 up and 3 to the left on the map of half the size
    now[14:18, 2:6] = 9  # was not there
    before[0, 29], now[0:4, 26:30] = 3, 3  # hardly was
    motion, moved = scenes.draw_motion(now, before, now[::2, ::2])
    on = now[::2, ::2] == 7
    np.testing.assert_allclose(motion[:, on], np.repeat([[-1.0], [-3.0]], on.sum(), 1))
    np.testing.assert_allclose(moved[on], 2.5, err_msg="the fastest count most")
    assert not moved[~on].any()
    assert not motion[:, ~on].any()
    motion, moved = scenes.draw_motion(now, now, now[::2, ::2])
    assert not motion.any()
    np.testing.assert_allclose(moved[now[::2, ::2] > 0], 0.5)


def test_no_objects():
    heat, offset, weight = scenes.draw_targets(np.zeros((8, 8), np.uint8))
    assert heat.max() == 0
    assert not offset.any()
    assert not weight.any()


def test_samples_fit_the_network(pool):
    rng = np.random.default_rng(1)
    for row in range(len(pool)):
        sample = scenes.cut_sample(pool, row, (320, 180), (256, 144), 2, rng)
        assert sample.image.shape == (3, 144, 256)
        assert sample.image.dtype == np.uint8
        assert sample.classes.shape == sample.heat.shape == sample.weight.shape == (72, 128)
        assert sample.offset.shape == (2, 72, 128)
        assert sample.before.shape == sample.image.shape
        assert sample.motion.shape == (2, 36, 64)
        assert sample.moved.shape == sample.ids.shape == sample.labels.shape == (36, 64)
        np.testing.assert_array_equal(sample.ids > 0, sample.labels >= 5)
        assert not sample.moved[sample.ids == 0].any()
        np.testing.assert_array_equal(sample.weight > 0, sample.classes >= 5)
        assert 0 <= sample.heat.min() <= sample.heat.max() <= 1


@pytest.mark.parametrize(("same", "other"), [(1, 0), (0, 1)])
def test_beginnings_and_cuts_have_no_motion(pool, monkeypatch, same, other):
    monkeypatch.setattr(scenes, "_SAME", same)
    monkeypatch.setattr(scenes, "_OTHER", other)
    sample = scenes.cut_sample(pool, 0, (320, 180), (256, 144), 2, np.random.default_rng(3))
    assert not sample.motion.any()
    assert sample.moved.any() == bool(same), "nothing is known after a cut"


def test_one_light_for_a_street(pool):
    light = scenes.draw_light(np.random.default_rng(0))
    assert light.shape == (256, 1, 3)
    assert light.dtype == np.uint8
    still = SimpleNamespace(random=lambda: 1.0)  # neither blur nor noise
    image = pool.images[0]
    lit = scenes.recolour(image, light, still)
    for channel in range(3):
        np.testing.assert_array_equal(lit[..., channel], light[:, 0, channel][image[..., channel]])


def test_labels_are_read_at_cell_centres():
    labels = np.arange(8, dtype=np.uint8)[None].repeat(8, 0)
    np.testing.assert_array_equal(scenes.sample_centres(labels, (4, 4))[0], [1, 3, 5, 7])
    np.testing.assert_array_equal(scenes.sample_centres(labels, (8, 8)), labels)
