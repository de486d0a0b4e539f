"""Everybody's life: one compiled run over all frames that walks the people and drives the cars.

People follow a few way points along a sidewalk: straight through, with stops, turning round, or over the zebra when no
car comes. Cars keep to their lane and off the car ahead, and brake for people on the road. Slots never change their
kind; when one's life ends outside the picture, the next life of that slot begins a little later with a new id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracker._jit import inlined, kernel
from tracker.sources.street.config import StreetConfig
from tracker.sources.street.layout import (
    CENTRE_X,
    COS,
    FAR_KERB,
    FOCAL,
    KERB,
    NEAR,
    NO_ZEBRA,
    SIN,
    VERGE,
    ZEBRA,
    Layout,
)  # fmt: skip

WALKER, DRIVER, PARKED = 0, 1, 2
# Columns of `World.poses`
U, V, HEAD_U, HEAD_V, SPEED, PHASE = range(6)
# length, width, height, bonnet, boot, roof share: hatchback, saloon, estate, off-roader, van
CAR_TYPES = np.array(
    [
        [3.9, 1.72, 1.48, 0.95, 0.20, 0.62],
        [4.6, 1.80, 1.44, 1.20, 0.85, 0.50],
        [4.7, 1.80, 1.50, 1.15, 0.15, 0.66],
        [4.5, 1.88, 1.76, 1.05, 0.10, 0.70],
        [5.2, 1.98, 2.25, 0.75, 0.02, 0.86],
    ]
)
_DRAWS = 20


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Who is where, frame by frame.

    Attributes:
        poses: (F, S, 6) float32: u, v in metres, heading (unit vector), speed m/s, phase of the gait or wheel in turns.
        ids: (F, S) int32 object id from 1, 0 for an empty slot.
        hidden: (F, S) bool, blacked out: alive but not in the picture.
        kinds: (S,) WALKER, DRIVER or PARKED.
        types: (ids + 1,) int32 row of CAR_TYPES per object id (0 for people).
        slots: (ids + 1,) int32 the slot each object lives in.
    """

    poses: NDArray[np.float32]
    ids: NDArray[np.int32]
    hidden: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    types: NDArray[np.int32]
    slots: NDArray[np.int32]


def live(config: StreetConfig, layout: Layout) -> World:
    """Run the world of a config from its first frame to its last."""
    rng = np.random.Generator(np.random.PCG64([config.seed, 2]))
    slots, frames = config.objects, config.frames
    kinds, bays = _cast(config, layout, rng)
    lives = 3 + int(frames / config.fps * config.speed / 2)
    draws = np.zeros((slots, lives, _DRAWS))
    for slot in range(slots):  # a stream each: a longer video begins like a shorter one
        draws[slot] = np.random.Generator(np.random.PCG64([config.seed, 2, slot])).random((lives, _DRAWS))
    poses = np.zeros((frames, slots, 6), np.float32)
    ids = np.zeros((frames, slots), np.int32)
    wider = min(1.0 + 2.0 * (config.pan_reach + config.shake) / config.size[0], 1.6)
    reach = layout.camera[CENTRE_X] / layout.camera[FOCAL] * wider
    view = np.array([layout.camera[COS], layout.camera[SIN], reach])
    count = _run(
        draws, kinds, bays, layout.lanes, layout.strips, view, CAR_TYPES[:, 0].copy(), config.speed, config.crossing,
        1.0 / config.fps, poses, ids,
    )  # fmt: skip
    types, owner = np.zeros(count + 1, np.int32), np.zeros(count + 1, np.int32)
    for slot in range(slots):
        own = np.unique(ids[:, slot])
        own = own[own > 0]
        owner[own] = slot
        if kinds[slot] != WALKER:
            types[own] = (draws[slot, np.arange(len(own)) % lives, 3] * len(CAR_TYPES)).astype(np.int32)
    return World(poses, ids, _blackouts(config, ids, rng), kinds, types, owner)


def _cast(
    config: StreetConfig, layout: Layout, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Kinds of the slots and, row by row, the bay of those that are parked."""
    left, right = layout.view(float(layout.strips[KERB]))
    room = int(2 * (right - left) / 8.0) + 1
    cars = int(config.objects * config.cars + rng.random()) if config.objects else 0
    parked = min(int(cars * 0.5 * rng.random() + 0.5), len(layout.bays))
    driving = min(cars - parked, room)
    kinds = np.full(config.objects, WALKER, np.int64)
    kinds[:driving] = DRIVER
    kinds[driving : driving + parked] = PARKED
    bays = np.zeros((config.objects, 3))
    bays[driving : driving + parked] = layout.bays[:parked]
    return kinds, bays


def _blackouts(config: StreetConfig, ids: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.bool_]:
    hidden = np.zeros(ids.shape, np.bool_)
    if config.blackout:
        starts = np.argwhere(rng.random(ids.shape) < config.blackout / config.fps)
        lengths = 3 + (23 * np.random.Generator(np.random.PCG64([config.seed, 8])).random(len(starts))).astype(np.int64)
        for (frame, slot), length in zip(starts.tolist(), lengths.tolist(), strict=True):
            if not hidden[max(frame - 1, 0) : frame + length + 1, slot].any():
                hidden[frame : frame + length, slot] = ids[frame : frame + length, slot] == ids[frame, slot]
    return hidden & (ids > 0)


@inlined
def _border(view, v, way, extra):  # type: ignore[no-untyped-def]
    """Where the picture ends at v, to the right for way > 0, `extra` metres farther out."""
    c, s, k = view[0], view[1], view[2]
    if way > 0:
        return v * (s + k * c) / (c - k * s) + extra
    return v * (s - k * c) / (c + k * s) - extra


@inlined
def _plan(j, r, first, others, ids, strips, view, crossing, state, points):  # type: ignore[no-untyped-def]
    """A new walker: where it starts and its way points (u, v, wait, 1 if it waits for cars). Returns their number."""
    near = r[0] < 0.5
    way = 1.0 if r[1] < 0.5 else -1.0
    low, high = strips[NEAR] + 0.7, strips[KERB] - 0.9
    if not near:
        low, high = strips[FAR_KERB] + 0.8, strips[VERGE] - 0.3
    v = low + (high - low) * r[2]
    meets = -1
    if r[7] < crossing:
        n = len(ids)
        for k in range(n):
            m = (int(r[8] * n) + k) % n
            if m != j and ids[m] > 0 and others[m] == WALKER and abs(state[m, HEAD_U]) > 0.8 and meets < 0:
                on_road = strips[KERB] - 0.3 < state[m, V] < strips[FAR_KERB] + 0.3
                if not on_road:
                    meets = m
    if meets >= 0:
        way = -1.0 if state[meets, HEAD_U] > 0 else 1.0
        near = state[meets, V] < strips[KERB]
        v = state[meets, V] + (0.35 + 0.4 * r[9]) * (1.0 if r[10] < 0.5 else -1.0)
    left, right = _border(view, v, -1.0, 0.9), _border(view, v, 1.0, 0.9)
    u = left if way > 0 else right
    if first:
        u = left + (right - left) * (0.08 + 0.84 * r[3])
        if meets >= 0:
            u = min(max(state[meets, U] - way * (2.0 + 6.0 * r[3]), left), right)
    state[j, U], state[j, V], state[j, HEAD_U], state[j, HEAD_V] = u, v, way, 0.0
    n = 0
    choice = 0.0 if meets >= 0 else r[6]
    middle = u + (right - u if way > 0 else left - u) * (0.25 + 0.6 * r[11])
    side = low + (high - low) * r[12]
    if choice >= 0.75 and strips[ZEBRA] < NO_ZEBRA / 2:
        kerbs = (strips[KERB] - 0.4, strips[FAR_KERB] + 0.4)
        at = strips[ZEBRA] + 2.4 * (r[13] - 0.5)
        points[n, 0], points[n, 1], points[n, 2], points[n, 3] = at, kerbs[0 if near else 1], 0.4, 1.0
        n += 1
        points[n, 0], points[n, 1], points[n, 2], points[n, 3] = at, kerbs[1 if near else 0], 0.0, 0.0
        n += 1
        low, high = strips[NEAR] + 0.7, strips[KERB] - 0.9
        if near:
            low, high = strips[FAR_KERB] + 0.8, strips[VERGE] - 0.3
        side = low + (high - low) * r[12]
        way = 1.0 if r[14] < 0.5 else -1.0
    elif choice >= 0.4:
        points[n, 0], points[n, 1], points[n, 3] = middle, side, 0.0
        points[n, 2] = 0.8 + 3.0 * r[13] if r[14] < 0.65 else 0.0
        n += 1
        way = -way if choice > 0.64 else way
        side = low + (high - low) * r[15]
    else:
        side = v if r[13] < 0.6 or meets >= 0 else side
    points[n, 0], points[n, 1], points[n, 2], points[n, 3] = _border(view, side, way, 1.1), side, 0.0, 0.0
    return n + 1


@inlined
def _road_is_free(at, kinds, ids, state):  # type: ignore[no-untyped-def]
    for m in range(len(ids)):
        if kinds[m] == DRIVER and ids[m] > 0:
            ahead = (at - state[m, U]) * state[m, HEAD_U]
            if -4.0 < ahead < 4.0 + 2.2 * state[m, SPEED] and (state[m, SPEED] > 0.4 or abs(ahead) < 4.0):
                return False
    return True


@inlined
def _walk(j, pace, dt, kinds, ids, state, points, plan, wait):  # type: ignore[no-untyped-def]
    """One step of a walker; plan = (number of way points, the next one). True at the end of its way."""
    if wait[j] > 0.0:
        wait[j] -= dt
        state[j, SPEED] = max(0.0, state[j, SPEED] - 3.0 * dt)
        here = points[plan[j, 1] - 1]
        if wait[j] <= 0.0 and here[3] > 0.0 and not _road_is_free(here[0], kinds, ids, state):
            wait[j] = 0.2
    goal_u, goal_v = points[plan[j, 1], 0], points[plan[j, 1], 1]
    du, dv = goal_u - state[j, U], goal_v - state[j, V]
    far = math.sqrt(du * du + dv * dv)
    if far < 0.4:
        wait[j] = points[plan[j, 1], 2]
        plan[j, 1] += 1
        return plan[j, 1] >= plan[j, 0]
    du, dv = du / far, dv / far
    hu, hv = state[j, HEAD_U], state[j, HEAD_V]
    facing = hu * du + hv * dv
    if wait[j] <= 0.0:
        if facing < -0.9:
            du, dv = -hv, hu
        turn = min(1.0, 4.0 * dt)
        hu, hv = hu + (du - hu) * turn, hv + (dv - hv) * turn
        size = math.sqrt(hu * hu + hv * hv)
        state[j, HEAD_U], state[j, HEAD_V] = hu / size, hv / size
        target = pace * max(0.12, facing)
        change = target - state[j, SPEED]
        state[j, SPEED] += min(max(change, -3.0 * dt), 2.0 * dt)
    state[j, U] += state[j, HEAD_U] * state[j, SPEED] * dt
    state[j, V] += state[j, HEAD_V] * state[j, SPEED] * dt
    state[j, PHASE] += state[j, SPEED] * dt / (0.75 + 0.45 * state[j, SPEED])
    return False


@inlined
def _drive(j, pace, dt, kinds, ids, state, lengths, strips):  # type: ignore[no-untyped-def]
    """One step of a car: keeps off the car ahead and off people on the road."""
    way = state[j, HEAD_U]
    gap = 1e9
    for m in range(len(ids)):
        if m == j or ids[m] == 0:
            continue
        ahead = (state[m, U] - state[j, U]) * way
        if kinds[m] == DRIVER and abs(state[m, V] - state[j, V]) < 1.0 and ahead > 0.0:
            gap = min(gap, ahead - (lengths[m] + lengths[j]) / 2 - 1.2)
        if (
            kinds[m] == WALKER
            and strips[KERB] < state[m, V] < strips[FAR_KERB]
            and abs(state[m, V] - state[j, V]) < 2.4
        ) and ahead > 0.5 * lengths[j]:
            gap = min(gap, ahead - lengths[j] / 2 - 1.6)
    target = min(pace, max(0.0, gap) * 0.9)
    change = target - state[j, SPEED]
    state[j, SPEED] += min(max(change, -8.0 * dt), 2.5 * dt)
    step = state[j, SPEED] * dt
    state[j, U] += way * step
    state[j, PHASE] += step / 2.0


@kernel
def _run(draws, kinds, bays, lanes, strips, view, car_lengths, speed, crossing, dt, poses, ids):  # type: ignore[no-untyped-def]
    frames, slots = ids.shape
    lives = draws.shape[1]
    state = np.zeros((slots, 6))
    now = np.zeros(slots, np.int64)  # ids of the living
    life = np.zeros(slots, np.int64)
    delay = np.zeros(slots)
    points = np.zeros((slots, 4, 4))
    plan = np.zeros((slots, 2), np.int64)
    wait = np.zeros(slots)
    lengths = np.zeros(slots)
    stops = np.zeros((slots, 2))
    born = 0
    for frame in range(frames):
        for j in range(slots):
            r = draws[j, life[j] % lives]
            if now[j] == 0:
                delay[j] -= dt
                if delay[j] > 0.0:
                    continue
                wait[j] = 0.0
                state[j, PHASE] = r[16]
                if kinds[j] == WALKER:
                    plan[j, 0] = _plan(j, r, frame == 0, kinds, now, strips, view, crossing, state, points[j])
                    plan[j, 1] = 0
                    state[j, SPEED] = speed * (0.85 + 0.75 * r[4])
                else:
                    kind = int(r[3] * len(car_lengths))
                    lengths[j] = car_lengths[kind]
                    if kinds[j] == PARKED:
                        state[j, U], state[j, V], state[j, HEAD_U], state[j, SPEED] = (
                            bays[j, 0],
                            bays[j, 1],
                            bays[j, 2],
                            0.0,
                        )
                    else:
                        lane = int(r[0] * len(lanes))
                        v, way = lanes[lane, 0], lanes[lane, 1]
                        enter, leave = _border(view, v, -way, 4.5), _border(view, v, way, 4.5)
                        u = enter + (leave - enter) * (0.15 + 0.7 * r[1]) if frame == 0 else enter
                        free = True
                        for m in range(slots):
                            if now[m] > 0 and kinds[m] == DRIVER and abs(state[m, V] - v) < 1.0:
                                free = free and abs(state[m, U] - u) > 8.0
                        if not free:
                            delay[j] = 0.1
                            continue
                        state[j, U], state[j, V], state[j, HEAD_U] = u, v, way
                        state[j, SPEED] = speed * (4.0 + 4.5 * r[4])
                        stops[j, 0] = enter + (leave - enter) * (0.3 + 0.5 * r[5])
                        stops[j, 1] = 1.0 + 3.0 * r[6] if r[7] < 0.35 else 0.0
                born += 1
                now[j] = born
            elif kinds[j] == WALKER:
                pace = speed * (0.85 + 0.75 * r[4]) * (2.0 if r[5] < 0.07 else 1.0)
                if _walk(j, pace, dt, kinds, now, state, points[j], plan, wait):
                    now[j] = 0
            elif kinds[j] == DRIVER:
                way = state[j, HEAD_U]
                pace = speed * (4.0 + 4.5 * r[4])
                if stops[j, 1] > 0.0:
                    left = (stops[j, 0] - state[j, U]) * way
                    pace = min(pace, max(left, 0.0) * 0.9)
                    if state[j, SPEED] < 0.3:
                        stops[j, 1] -= dt
                _drive(j, pace, dt, kinds, now, state, lengths, strips)
                if (state[j, U] - _border(view, state[j, V], way, 4.6)) * way > 0.0:
                    now[j] = 0
            if now[j] == 0:
                life[j] += 1
                delay[j] = 0.2 + 1.6 * r[17]
            else:
                ids[frame, j] = now[j]
                for k in range(6):
                    poses[frame, j, k] = state[j, k]
    return born
