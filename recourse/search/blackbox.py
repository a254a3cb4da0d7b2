"""The cheapest choices whose gains add up to what is needed, for many applicants: a multiple-choice knapsack.

Each action offers options of a cost and a gain; one option of each is taken,
staying among them; the gains must add up. It is solved by dynamic programming over gains rounded down to a grid, so
that what it takes is surely enough, and lowered afterwards with the exact gains.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import inner, kernel

BINS = 256  # steps of the gain that is needed
_FAR = 1 << 60


@kernel
def cheapest_sums(
    gain: np.ndarray, cost: np.ndarray, count: np.ndarray, need: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose one option of each action so that gains reach what is needed, as cheaply as can be seen.

    Parameters
    ----------
    gain : numpy.ndarray
        float64[n, n_actions, n_options]; option 0 stays and gains nothing.
    cost : numpy.ndarray
        int64[n, n_actions, n_options], micro-units; negative for an option that may not be taken.
    count : numpy.ndarray
        int64[n, n_actions], options that there are.
    need : numpy.ndarray
        float64[n], the sum to reach.
    limit : int
        Most actions that may take another option than 0.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        int64[n, n_actions], the options; uint8[n], whether they reach the sum. Where nothing does, the options of the
        largest gains.
    """
    n, n_actions = gain.shape[:2]
    chosen = np.zeros((n, n_actions), np.int64)
    reached = np.zeros(n, np.uint8)
    for i in range(n):
        if need[i] <= 0.0:
            reached[i] = 1
        elif _knapsack(gain[i], cost[i], count[i], need[i], limit, chosen[i]):
            reached[i] = 1
            _lower(gain[i], cost[i], count[i], need[i], chosen[i])
        else:
            _largest(gain[i], cost[i], count[i], limit, chosen[i])
    return chosen, reached


@inner
def _knapsack(
    gain: np.ndarray, cost: np.ndarray, count: np.ndarray, need: float, limit: int, chosen: np.ndarray
) -> bool:
    """Write the options of one applicant; False where no sum is large enough."""
    n_actions = len(count)
    counted = limit < n_actions  # else one layer is enough: the number of changes does not matter
    layers = limit + 1 if counted else 1
    best = np.full((layers, BINS + 1), _FAR)
    best[0, 0] = 0
    option = np.zeros((n_actions, layers, BINS + 1), np.int32)
    before = np.empty((n_actions, layers, BINS + 1), np.int32)
    price, place = np.empty(BINS + 1, np.int64), np.empty(BINS + 1, np.int64)
    for a in range(n_actions):
        price[:] = _FAR
        for v in range(1, count[a]):
            if gain[a, v] <= 0.0 or cost[a, v] < 0:
                continue
            b = min(BINS, math.floor(gain[a, v] / need * BINS))
            if cost[a, v] < price[b]:
                price[b], place[b] = cost[a, v], v
        least = _FAR
        for b in range(BINS, 0, -1):  # what gains less and costs no less is of no use
            if price[b] >= least:
                price[b] = _FAR
            else:
                least = price[b]
        old = best.copy()
        for layer in range(layers):
            for b in range(BINS + 1):
                before[a, layer, b] = b
        for layer in range(layers):
            from_layer = layer - 1 if counted else layer
            if from_layer < 0:
                continue
            for b in range(1, BINS + 1):
                if price[b] == _FAR:
                    continue
                for c in range(BINS + 1):
                    if old[from_layer, c] == _FAR:
                        continue
                    to = min(BINS, b + c)
                    total = old[from_layer, c] + price[b]
                    if total < best[layer, to]:
                        best[layer, to] = total
                        option[a, layer, to], before[a, layer, to] = place[b], c
    layer = 0
    for c in range(layers):
        if best[c, BINS] < best[layer, BINS]:
            layer = c
    if best[layer, BINS] >= _FAR:
        return False
    b = BINS
    for a in range(n_actions - 1, -1, -1):
        chosen[a] = option[a, layer, b]
        b = before[a, layer, b]
        if chosen[a] > 0 and counted:
            layer -= 1
    return True


@inner
def _lower(gain: np.ndarray, cost: np.ndarray, count: np.ndarray, need: float, chosen: np.ndarray) -> None:
    """Give back what the rounding took too much of: the largest saving first, while the gains still suffice."""
    total = 0.0
    for a in range(len(count)):
        total += gain[a, chosen[a]]
    while True:
        saved, action, option = 0, -1, -1
        for a in range(len(count)):
            if chosen[a] == 0:
                continue
            now, spare = chosen[a], total - need
            for v in range(count[a]):
                lost = gain[a, now] - gain[a, v]
                if cost[a, v] >= 0 and lost <= spare and cost[a, now] - cost[a, v] > saved:
                    saved, action, option = cost[a, now] - cost[a, v], a, v
        if action < 0:
            return
        total += gain[action, option] - gain[action, chosen[action]]
        chosen[action] = option


@inner
def _largest(gain: np.ndarray, cost: np.ndarray, count: np.ndarray, limit: int, chosen: np.ndarray) -> None:
    """Write the options of the largest gains: of each action the cheapest that gains nearly all there is."""
    best = np.zeros(len(count))
    for a in range(len(count)):
        most = 0.0
        for v in range(1, count[a]):
            if cost[a, v] >= 0:
                most = max(most, gain[a, v])
        cheapest = _FAR
        chosen[a] = 0
        for v in range(1, count[a]):
            if cost[a, v] >= 0 and most > 0.0 and gain[a, v] >= 0.98 * most and cost[a, v] < cheapest:
                cheapest, chosen[a], best[a] = cost[a, v], v, gain[a, v]
    taken = 0
    for a in range(len(count)):
        taken += chosen[a] > 0
    while taken > limit:
        least = -1
        for a in range(len(count)):
            if chosen[a] > 0 and (least < 0 or best[a] < best[least]):
                least = a
        chosen[least] = 0
        taken -= 1
