"""Exact plans for additive models: the cheapest choice of one move per feature whose gains reach what is needed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .hull import Lists, Tails, corners, least_cost, segment, tail_bound, tails
from .jit import inner, kernel
from .links import (
    Links,
    among,
    change_of_gain,
    granted_too_much,
    raised,
    replaces,
    total_gain,
)  # fmt: skip

FOUND, NONE, UNKNOWN = 0, 1, 2
INFINITE = 2**62
FEES = 12  # steps of bisection for the fee on changes
TINY = 2.0**-100  # stands for a gain of 0 by a move that does change terms, which the library may round otherwise
PLAIN = 2_000  # nodes of a plain descent, before one that decides first which features change


class Choices(NamedTuple):
    """What the search sees; the moves of feature j are start[j]:start[j + 1], sorted by rank.

    The first move of a feature is "stay" with cost 0 and gain 0. The others follow in the order of ties: by cost, then
    |change|, then up before down. A gain is what the move adds to the raw score while all other features stay, and 0
    exactly where the move changes no term of the model.
    """

    start: np.ndarray  # int64[d + 1]
    cost: np.ndarray  # int64[n], micro-units, at most 2**40
    gain: np.ndarray  # float64[n]
    links: Links  # of features that gain more, or less, together


class Goal(NamedTuple):
    """What a plan must do."""

    target: float  # its gain, added from the first feature to the last and then pair by pair, reaches this
    low: float  # the same with room for rounding in any other order of addition: what bounds compare with
    limit: int  # largest number of changes


class Aim(NamedTuple):
    """What a descent looks for: plans that cost more than `above` and less than `below`."""

    above: int
    below: int
    first: bool  # the first in the order of features, whatever it costs; else the cheapest
    strictly: bool  # only plans whose ranks come after those given


class Answer(NamedTuple):
    """The first plan in order after the floor, with its certificate."""

    status: int  # FOUND; NONE: proof that there is none; UNKNOWN: the budget ended without a plan
    moves: np.ndarray  # int64[d], rank of each feature's move; 0 is "stay"
    cost: int  # micro-units
    changes: int
    bound: int  # no acceptable plan after the floor costs less
    proven: bool  # no acceptable plan after the floor costs less, or none exists
    nodes: int


@kernel
def solve(
    choices: Choices, need: float, eps: float, max_changes: int, floor: np.ndarray, budget: int, plain: int
) -> Answer:
    """Find the first plan after `floor` whose gain reaches ``need - eps``.

    Plans are ordered by (cost, number of changes, ranks compared from the last feature to the first).

    The native library's sum is known to within `eps` only. So the caller asks the native one-row score of the plan
    that is found, and if that falls short, asks again with the plan as the new floor; the first confirmed plan is the
    optimum, and NONE after any number of refusals is a proof. The row as it stands is the first floor (all zeros): it
    was refused already. ::

        floor = np.zeros(d, dtype=np.int64)
        answer = solve(choices, need, eps, -1, floor, budget, PLAIN)
        while answer.status == FOUND and not confirmed(answer.moves):
            answer = solve(choices, need, eps, -1, answer.moves, budget - nodes_so_far, PLAIN)

    With `cut` the smallest raw score that is approved, ``need = cut - (the row's raw score by our sum)``, and `eps` is
    ``2 * core.eps(magnitude)``, where `magnitude` is each feature's largest |value| before or after.

    Parameters
    ----------
    choices : Choices
        Every feature has at least its "stay".
    need : float
        Gain that is needed; inf where no raw score is approved.
    eps : float
        Bound on |native raw score - (row's raw score + sum of gains)|.
    max_changes : int
        Largest number of changes; -1 for no limit.
    floor : int64[d]
        Ranks of the plan that was refused last.
    budget : int
        Nodes (partial plans that are bounded) allowed; some 50 ns each.
    plain : int
        Nodes of a plain descent before the search decides first which features change; `PLAIN` does well. The plan
        that is found does not depend on it.

    Returns
    -------
    Answer

    Notes
    -----
    A move is left out when an earlier one of its feature gains as much or more by ``3 * eps``: with the earlier one
    any acceptable plan stays acceptable, and comes earlier. What remains is bounded by the linear relaxation over
    convex hulls (Dyer 1984, Zemel 1984), for all tails of a fixed order of features in advance, and with a second
    table in which changes carry a fee when their number is limited. The cost is minimised first, together with the
    number of changes (``cost * (d + 1) + changes``); then ties are settled by a second, lexicographic descent. Where
    fixed charges make the relaxation weak, the features that change are decided first.
    """
    d = len(choices.start) - 1
    unit = d + 1
    lists, who = _undominated(choices, unit, 3.0 * eps)
    n = len(who)
    links = among(choices.links, who, d)
    if len(links.width) > 0:
        lists = _unreplaced(lists, links, 3.0 * eps)
    lists, _ = raised(lists, links)
    limit = n if max_changes < 0 or max_changes > n else max_changes
    peak = _peaks(lists)
    target = need - eps
    fuzz = abs(target)
    for f in range(n):
        fuzz += peak[lists.start[f + 1] - 1]
    for k in range(len(links.width)):
        fuzz += 8.0 * links.size[k]
    for p in range(len(lists.own)):
        fuzz = max(fuzz, abs(lists.own[p]))
    fuzz *= 2.0**-48 * (n + len(links.width) + 2)
    floor_cost = 0
    after = np.zeros(n, dtype=np.int64)
    for j in range(d):
        floor_cost += choices.cost[choices.start[j] + floor[j]] * unit + (1 if floor[j] > 0 else 0)
    backwards = np.empty(n, dtype=np.int64)
    for f in range(n):
        after[f] = floor[who[f]]
        backwards[f] = n - 1 - f

    goal = Goal(target, target - 2.0 * fuzz, limit)
    moves = np.zeros(d, dtype=np.int64)
    if n == 0 or not _ceiling(lists, peak, backwards, limit)[0, limit] >= target - fuzz:  # also when need is inf
        return Answer(NONE, moves, 0, 0, 0, True, 0)

    flag = corners(lists)
    order = _coarse_first(lists, peak)
    table = tails(lists, flag, order, _best_fee(lists, flag, order, goal))
    root = _whole(tail_bound(table, 0, goal.low, limit))
    bound = max(root, floor_cost)
    at = np.zeros(n, dtype=np.int64)
    best, nodes, done = INFINITE, 0, True
    if 0 < floor_cost and root <= floor_cost:  # plans that cost what the refused one does come first
        aim = Aim(floor_cost - 1, floor_cost + 1, True, True)
        best, nodes, done = _search(lists, links, table, goal, backwards, aim, after, budget, plain, at)
    if best == INFINITE:
        best = _first_plan(lists, links, peak, table, goal, floor_cost, at)
        if done and best > bound:
            used = nodes
            aim = Aim(floor_cost, best, False, False)
            best, nodes, done = _search(lists, links, table, goal, order, aim, after, budget - used, plain, at)
            nodes += used
        if done and best < INFINITE:
            used = nodes
            aim = Aim(best - 1, best + 1, True, False)
            _, nodes, _ = _search(lists, links, table, goal, backwards, aim, after, budget - used, plain, at)
            nodes += used
    for f in range(n):
        moves[who[f]] = lists.move[at[f]]
    if best == INFINITE:
        return Answer(NONE if done else UNKNOWN, moves, 0, 0, 0 if done else bound // unit, done, nodes)
    return Answer(FOUND, moves, best // unit, best % unit, (best if done else bound) // unit, done, nodes)


@kernel
def furthest(choices: Choices, max_changes: int) -> tuple[np.ndarray, float]:
    """Return the ranks (int64[d]) of the plan whose moves gain most alone, and by how much it leads any other plan.

    Without pairs its native score is the best that an applicant can reach, if the lead is larger than rounding; no
    search is needed.
    """
    d = len(choices.start) - 1
    moves = np.zeros(d, dtype=np.int64)
    best = np.zeros(d)
    lead = np.inf
    for j in range(d):
        first = choices.start[j]
        second = -np.inf
        for p in range(first + 1, choices.start[j + 1]):
            g = choices.gain[p]
            if g > best[j]:
                second = best[j]
                best[j], moves[j] = g, p - first
            elif g != 0.0:  # a gain of exactly 0 is a weight of 0, and changes no score
                second = max(second, g)
        lead = min(lead, best[j] - second)
    changed = 0
    for j in range(d):
        changed += 1 if moves[j] > 0 else 0
    while 0 <= max_changes < changed:  # give up the smallest gain
        worst = -1
        for j in range(d):
            if moves[j] > 0 and (worst < 0 or best[j] <= best[worst]):
                worst = j
        moves[worst] = 0
        changed -= 1
        if changed == max_changes:
            for j in range(d):
                if moves[j] > 0:
                    lead = min(lead, best[j] - best[worst])
    return moves, lead


@kernel
def plan_gain(choices: Choices, moves: np.ndarray) -> float:
    """Return what a plan of these ranks adds to the raw score."""
    lists = Lists(choices.start, _ranks(choices), choices.cost, choices.gain, choices.gain)
    return total_gain(lists, choices.links, choices.start[:-1] + moves)


@kernel
def gain_limit(choices: Choices, max_changes: int) -> float:
    """Return a gain that no plan exceeds."""
    lists, _ = raised(Lists(choices.start, _ranks(choices), choices.cost, choices.gain, choices.gain), choices.links)
    d = len(choices.start) - 1
    limit = d if max_changes < 0 or max_changes > d else max_changes
    return float(_ceiling(lists, _peaks(lists), np.arange(d), limit)[0, limit])


@inner
def _ranks(choices: Choices) -> np.ndarray:
    ranks = np.empty(len(choices.cost), dtype=np.int64)
    for j in range(len(choices.start) - 1):
        for p in range(choices.start[j], choices.start[j + 1]):
            ranks[p] = p - choices.start[j]
    return ranks


@inner
def _undominated(choices: Choices, unit: int, margin: float) -> tuple[Lists, np.ndarray]:
    """Keep what no earlier move of its feature makes useless, and the features that have a choice at all.

    Of a feature in pairs all is kept that changes anything: what is useless there depends on the others.
    """
    d = len(choices.start) - 1
    n_moves = len(choices.cost)
    who = np.empty(d, dtype=np.int64)
    paired = np.zeros(d, dtype=np.bool_)
    for k in range(len(choices.links.width)):
        paired[choices.links.feature[k, 0]] = paired[choices.links.feature[k, 1]] = True
    start = np.zeros(d + 1, dtype=np.int64)
    move = np.empty(n_moves, dtype=np.int64)
    cost = np.empty(n_moves, dtype=np.int64)
    gain = np.empty(n_moves)
    n, m = 0, 0
    for j in range(d):
        first = choices.start[j]
        move[m], cost[m], gain[m] = 0, 0, 0.0
        k, top = m + 1, 0.0
        for p in range(first + 1, choices.start[j + 1]):
            g = choices.gain[p]
            if g == 0.0 or (not paired[j] and (g <= top if margin == 0.0 else g < top - margin)):
                continue
            move[k], cost[k], gain[k] = p - first, choices.cost[p] * unit + 1, g
            k += 1
            top = max(top, g)
        if k > m + 1:
            who[n] = j
            n += 1
            m = k
            start[n] = m
    return Lists(start[: n + 1], move[:m], cost[:m], gain[:m], gain[:m]), who[:n]


@inner
def _unreplaced(lists: Lists, links: Links, margin: float) -> Lists:
    """Keep the moves of features in pairs that no earlier move replaces, whatever the other features do."""
    paired = np.zeros(len(lists.start) - 1, dtype=np.bool_)
    for k in range(len(links.width)):
        paired[links.feature[k, 0]] = paired[links.feature[k, 1]] = True
    kept = np.empty(len(lists.cost), dtype=np.int64)
    m = 0
    for f in range(len(paired)):
        first, top = m, -np.inf
        for p in range(lists.start[f], lists.start[f + 1]):
            useless = False
            if paired[f] and lists.own[p] <= top - margin:
                for i in range(first, m):
                    if replaces(lists, links, f, kept[i], p, margin):
                        useless = True
                        break
            if not useless:
                kept[m] = p
                m += 1
                top = max(top, lists.own[p])
    return _picked(lists, kept[:m])


@inner
def _peaks(lists: Lists) -> np.ndarray:
    """Return the largest gain among each feature's moves up to and including each; it never falls."""
    peak = np.empty(len(lists.gain))
    for f in range(len(lists.start) - 1):
        top = -np.inf
        for p in range(lists.start[f], lists.start[f + 1]):
            top = max(top, lists.gain[p])
            peak[p] = top
    return peak


@inner
def _first_reaching(peak: np.ndarray, low: int, high: int, gain: float) -> int:
    """Return the first position in low:high whose peak reaches the gain; `high` if none does."""
    while low < high:
        middle = (low + high) // 2
        if peak[middle] < gain:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def _ceiling(lists: Lists, peak: np.ndarray, order: np.ndarray, limit: int) -> np.ndarray:
    """Return the largest gain from order[t:] in at most k changes, for every t and k; -inf where it cannot be kept."""
    n = len(order)
    out = np.zeros((n + 1, limit + 1))
    for t in range(n - 1, -1, -1):
        f = order[t]
        first, last = lists.start[f], lists.start[f + 1] - 1
        for k in range(limit + 1):
            best = -np.inf
            if lists.move[first] == 0:
                best = out[t + 1, k] + lists.gain[first]
            if k > 0 and lists.move[last] > 0:
                best = max(best, out[t + 1, k - 1] + peak[last])
            out[t, k] = best
    return out


@inner
def _coarse_first(lists: Lists, peak: np.ndarray) -> np.ndarray:
    """Order features by the gain of an average step, so that the finest closes the gap that the others leave."""
    n = len(lists.start) - 1
    order = np.empty(n, dtype=np.int64)
    step = np.empty(n)
    for f in range(n):
        order[f] = f
        size = lists.start[f + 1] - lists.start[f]
        step[f] = peak[lists.start[f + 1] - 1] / size if size > 1 else np.inf
    for i in range(1, n):
        f, j = order[i], i
        while j > 0 and step[order[j - 1]] < step[f]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = f
    return order


@inner
def _best_fee(lists: Lists, flag: np.ndarray, order: np.ndarray, goal: Goal) -> float:
    """Return a fee on changes that lifts the root bound when their number is limited; 0 where the limit is idle.

    The bound ``least cost with fees - fee * limit`` is concave in the fee: it rises while the relaxation changes more
    than `limit` features, which bisection follows.
    """
    if goal.limit >= len(order):
        return 0.0
    low, high = 0.0, 2.0
    for p in range(len(lists.cost)):
        if flag[p]:
            high = max(high, 2.0 * lists.cost[p])
    best, best_fee = least_cost(tails(lists, flag, order, 0.0), 0, 0, goal.low), 0.0
    for _ in range(FEES):
        fee = 0.5 * (low + high)
        table = tails(lists, flag, order, fee)
        value = least_cost(table, 1, 0, goal.low) - fee * goal.limit
        if value > best:
            best, best_fee = value, fee
        if _touched(lists, table, goal.low) > goal.limit:
            low = fee
        else:
            high = fee
    return best_fee


@inner
def _touched(lists: Lists, table: Tails, gain: float) -> float:
    """Return the number of features that the relaxation with fees changes, the last by its fraction."""
    last = segment(table, 1, 0, gain)
    total = 0.0
    for i in range(min(last + 1, table.count[1, 0])):
        p = table.end[1, 0, i]
        share = 1.0
        if i == last:
            share = (gain - table.line[1, 0, i, 0]) / (table.line[1, 0, i + 1, 0] - table.line[1, 0, i, 0])
        f = _owner(lists, p)
        for j in range(i):  # later segments of a feature change nothing more
            if _owner(lists, table.end[1, 0, j]) == f:
                share = 0.0
        total += share
    return total


@inner
def _owner(lists: Lists, p: int) -> int:
    """Return the feature to which a position belongs."""
    low, high = 0, len(lists.start) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if lists.start[middle] <= p:
            low = middle
        else:
            high = middle
    return low


@inner
def _whole(value: float) -> int:
    """Round a lower bound on an integer up, with room for its own rounding."""
    if value >= INFINITE / 2:
        return INFINITE
    return int(np.ceil(value - 1e-6 - 1e-12 * abs(value)))


@inner
def _first_plan(
    lists: Lists, links: Links, peak: np.ndarray, table: Tails, goal: Goal, floor_cost: int, out: np.ndarray
) -> int:
    """Write a good plan (positions in the lists) and return its cost, INFINITE where none was found.

    Follow the relaxation until the target is reached, then lower the change that saves most while any can be lowered.
    """
    target, limit = goal.target, goal.limit
    n = len(lists.start) - 1
    at = np.empty(n, dtype=np.int64)
    for f in range(n):
        at[f] = lists.start[f]
    changes, gain = 0, 0.0
    v = 1 if table.fee > 0.0 else 0
    for i in range(table.count[v, 0]):
        p = table.end[v, 0, i]
        f = _owner(lists, p)
        if lists.move[at[f]] == 0 and changes == limit:
            continue
        if lists.move[at[f]] == 0:
            changes += 1
        gain += change_of_gain(lists, links, at, f, p)
        at[f] = p
        if gain >= target:
            break
    if gain < target:  # the furthest within the limit
        for f in range(n):
            at[f] = lists.start[f]
        gain = 0.0
        for _ in range(limit):
            best = -1
            for f in range(n):
                top = peak[lists.start[f + 1] - 1]
                if lists.move[at[f]] == 0 and top > 0.0 and (best < 0 or top > peak[lists.start[best + 1] - 1]):
                    best = f
            if best < 0:
                break
            last = lists.start[best + 1]
            p = _first_reaching(peak, lists.start[best], last, peak[last - 1])
            gain += change_of_gain(lists, links, at, best, p)
            at[best] = p
    while True:
        saving, which, to = 0, -1, -1
        for f in range(n):
            p = _first_sufficient(lists, links, peak, at, f, target - gain)
            if lists.cost[at[f]] - lists.cost[p] > saving:
                saving, which, to = lists.cost[at[f]] - lists.cost[p], f, p
        if which < 0:
            break
        gain += change_of_gain(lists, links, at, which, to)
        at[which] = to
    total = 0
    for f in range(n):
        total += lists.cost[at[f]]
    if total <= floor_cost or not total_gain(lists, links, at) >= target:
        return INFINITE
    for f in range(n):
        out[f] = at[f]
    return total


@inner
def _first_sufficient(lists: Lists, links: Links, peak: np.ndarray, at: np.ndarray, f: int, missing: float) -> int:
    """Return the first move of feature f with which the rest of the plan reaches the target; `missing` is its lack."""
    if len(links.width) == 0:
        return _first_reaching(peak, lists.start[f], at[f], missing + lists.own[at[f]])
    for p in range(lists.start[f], at[f]):
        if change_of_gain(lists, links, at, f, p) >= missing:
            return p
    return at[f]


@inner
def _pruned(lists: Lists, table: Tails, goal: Goal, cost: int) -> np.ndarray:
    """Return the positions of moves that a plan of at most `cost` can contain, by the relaxation's reduced costs.

    With s the slope where the relaxation reaches the gain, every plan that contains a move costs at least the root
    bound plus the move's excess of ``cost - s * gain`` over its feature's least.
    """
    keep = np.empty(len(lists.cost), dtype=np.bool_)
    for p in range(len(keep)):
        keep[p] = True
    for v in range((2 if table.fee > 0.0 else 1) if cost < INFINITE - 1 else 0):
        fee = v * table.fee
        root = least_cost(table, v, 0, goal.low) - fee * goal.limit
        i = segment(table, v, 0, goal.low)
        slope = 0.0 if i < 0 or i == table.count[v, 0] else table.line[v, 0, i, 2]
        for f in range(len(lists.start) - 1):
            least = np.inf
            for p in range(lists.start[f], lists.start[f + 1]):
                least = min(least, lists.cost[p] - slope * lists.gain[p] + (fee if lists.move[p] > 0 else 0.0))
            for p in range(lists.start[f], lists.start[f + 1]):
                own = lists.cost[p] - slope * lists.gain[p] + (fee if lists.move[p] > 0 else 0.0)
                slack = 1e-6 + 1e-12 * (abs(root) + abs(own) + abs(least))
                if root + (own - least) - slack > cost:
                    keep[p] = False
    kept = np.empty(len(keep), dtype=np.int64)
    m = 0
    for p in range(len(keep)):
        if keep[p]:
            kept[m] = p
            m += 1
    return kept[:m]


@inner
def _picked(lists: Lists, kept: np.ndarray) -> Lists:
    """Return the lists with the kept positions only."""
    m = len(kept)
    start = np.zeros(len(lists.start), dtype=np.int64)
    move, cost, gain, own = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64), np.empty(m), np.empty(m)
    i = 0
    for f in range(len(start) - 1):
        while i < m and kept[i] < lists.start[f + 1]:
            p = kept[i]
            move[i], cost[i], gain[i], own[i] = lists.move[p], lists.cost[p], lists.gain[p], lists.own[p]
            i += 1
        start[f + 1] = i
    return Lists(start, move, cost, gain, own)


@inner
def _search(
    whole: Lists, links: Links, root: Tails, goal: Goal, order: np.ndarray, aim: Aim, after: np.ndarray, budget: int,
    plain: int, out: np.ndarray,
) -> tuple[int, int, bool]:  # fmt: skip
    """Descend plainly, and where that takes long, change-first; what goes in and comes out is that of `_descend`."""
    best, nodes, done = _descend(whole, links, root, goal, order, aim, after, min(budget, plain), out)
    if done or nodes > budget:
        return best, nodes, done
    aim = Aim(aim.above, aim.below if aim.first else best, aim.first, aim.strictly)
    best, used, done = _by_changes(whole, links, root, goal, order, aim, after, budget - nodes, out)
    return best, nodes + used, done


@inner
def _by_changes(
    whole: Lists, links: Links, root: Tails, goal: Goal, order: np.ndarray, aim: Aim, after: np.ndarray, budget: int,
    out: np.ndarray,
) -> tuple[int, int, bool]:  # fmt: skip
    """Decide first which features change, then descend: with the fixed charges decided, the relaxation is tight.

    The bound of a half-decided set is Lagrangian, ``s * gain + sum of least (cost - s * gain)``, its best over each
    feature's own slope s. What goes in and comes out is that of `_descend`.
    """
    n = len(order)
    below = aim.below
    found = INFINITE if aim.first else below
    kept = _pruned(whole, root, goal, below - (1 if aim.first else 0))
    lists = _picked(whole, kept)
    peak = _peaks(lists)
    for f in range(n):
        if lists.start[f] == lists.start[f + 1]:
            return found, 0, True
    price = _slopes(lists)
    change = np.empty((n, n))  # least (cost - s * gain) of a change, by feature and slope
    tail = np.zeros((n + 1, n + 1))  # the same of features t:, stay or change; in the last column their largest gain
    for f in range(n - 1, -1, -1):
        stays = lists.move[lists.start[f]] == 0
        for k in range(n):
            change[f, k] = np.inf
        for p in range(lists.start[f], lists.start[f + 1]):
            if lists.move[p] > 0:
                for k in range(n):
                    change[f, k] = min(change[f, k], lists.cost[p] - price[k] * lists.gain[p])
        for k in range(n):
            tail[f, k] = tail[f + 1, k] + (min(0.0, change[f, k]) if stays else change[f, k])
        tail[f, n] = tail[f + 1, n] + peak[lists.start[f + 1] - 1]
    fixed = np.zeros((n + 1, n + 1))  # the same of the decided features
    state = np.zeros(n + 1, dtype=np.int64)  # 0: stay comes next, 1: change comes next, 2: both were tried
    changes = np.zeros(n + 1, dtype=np.int64)
    on = np.zeros(n, dtype=np.bool_)
    at = np.zeros(n, dtype=np.int64)
    nodes, t = 0, 0
    while t >= 0:
        if t == n:
            part = _decided(lists, on)
            sub, _ = raised(_picked(lists, part), links)
            table = tails(sub, corners(sub), order, 0.0)
            inner = Aim(aim.above, below, aim.first, aim.strictly)
            c, used, done = _descend(sub, links, table, goal, order, inner, after, budget - nodes, at)
            nodes += used
            if c < INFINITE and (aim.first or c < below):
                for f in range(n):
                    at[f] = kept[part[at[f]]]
                if not aim.first or found == INFINITE or _earlier(whole, at, out):
                    for f in range(n):
                        out[f] = at[f]
                found = c
                if not aim.first:
                    below = c
            if not done:
                return found, nodes, False
            t -= 1
            continue
        if state[t] == 2:
            t -= 1
            continue
        first, last = lists.start[t], lists.start[t + 1] - 1
        on[t] = state[t] == 1
        state[t] += 1
        if (on[t] and lists.move[last] == 0) or (not on[t] and lists.move[first] > 0):
            continue
        nodes += 1
        if nodes > budget:
            return found, nodes, False
        changes[t + 1] = changes[t] + on[t]
        fixed[t + 1, n] = fixed[t, n] + (peak[last] if on[t] else 0.0)
        if changes[t + 1] > goal.limit or fixed[t + 1, n] + tail[t + 1, n] < goal.low:
            continue
        bound = 0.0
        for k in range(n):
            fixed[t + 1, k] = fixed[t, k] + (change[t, k] if on[t] else 0.0)
            value = price[k] * goal.low + fixed[t + 1, k] + tail[t + 1, k]
            # the terms may be much larger than their sum, and each is rounded
            bound = max(bound, value - 1e-13 * (abs(price[k] * goal.low) + abs(fixed[t + 1, k]) + abs(tail[t + 1, k])))
        if _whole(bound) >= below:
            continue
        t += 1
        state[t] = 0
    return found, nodes, True


@inner
def _slopes(lists: Lists) -> np.ndarray:
    """Return each feature's price per gain between its cheapest and its furthest change."""
    n = len(lists.start) - 1
    price = np.zeros(n)
    for f in range(n):
        first, last = lists.start[f], lists.start[f + 1] - 1
        if lists.move[first] == 0 and first < last:
            first += 1
        if lists.gain[last] > lists.gain[first]:
            price[f] = (lists.cost[last] - lists.cost[first]) / (lists.gain[last] - lists.gain[first])
        elif lists.gain[last] > 0.0:
            price[f] = lists.cost[last] / lists.gain[last]
    return price


@inner
def _decided(lists: Lists, on: np.ndarray) -> np.ndarray:
    """Return the positions of the changes of features that change, and of "stay" of the others."""
    part = np.empty(len(lists.cost), dtype=np.int64)
    m = 0
    for f in range(len(on)):
        for p in range(lists.start[f], lists.start[f + 1]):
            if on[f] == (lists.move[p] > 0):
                part[m] = p
                m += 1
    return part[:m]


@inner
def _earlier(lists: Lists, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the ranks of plan a come before those of plan b, compared from the last feature."""
    for f in range(len(a) - 1, -1, -1):
        if lists.move[a[f]] != lists.move[b[f]]:
            return bool(lists.move[a[f]] < lists.move[b[f]])
    return False


@inner
def _descend(
    whole: Lists, links: Links, root: Tails, goal: Goal, order: np.ndarray, aim: Aim, after: np.ndarray, budget: int,
    out: np.ndarray,
) -> tuple[int, int, bool]:  # fmt: skip
    """Search the lists depth first in the order of features; return (cost, nodes, done), and write the plan to `out`.

    The cost is that of the last plan written, or `below` where none was (INFINITE where only one plan was sought).
    """
    n = len(order)
    below = aim.below
    missed = INFINITE if aim.first else below
    kept = _pruned(whole, root, goal, below - (1 if aim.first else 0))
    lists = _picked(whole, kept)
    for f in range(n):
        if lists.start[f] == lists.start[f + 1]:
            return missed, 0, True
    lists, share = raised(lists, links)
    met_start, met = _met(links, order)
    peak = _peaks(lists)
    table = tails(lists, corners(lists), order, root.fee)
    ceiling = _ceiling(lists, peak, order, goal.limit)
    at = np.zeros(n, dtype=np.int64)
    following = np.zeros(n, dtype=np.int64)
    cost, gain = np.zeros(n + 1, dtype=np.int64), np.zeros(n + 1)
    left = np.zeros(n + 1, dtype=np.int64)
    tied = np.zeros(n + 1, dtype=np.bool_)  # whether the ranks are those of `after` so far
    left[0], tied[0] = goal.limit, aim.strictly
    nodes, t = 0, 0
    following[0] = _entry(lists, peak, ceiling, order, 0, goal.low, goal.limit)
    while t >= 0:
        f = order[t]
        p = following[t]
        if p == lists.start[f + 1] or cost[t] + lists.cost[p] >= below:
            t -= 1
            continue
        following[t] = p + 1
        if tied[t] and lists.move[p] < after[f]:
            continue
        nodes += 1
        if nodes > budget:
            return missed, nodes, False
        k = left[t] - (1 if lists.move[p] > 0 else 0)
        if k < 0:
            t -= 1
            continue
        g, c = gain[t] + lists.gain[p], cost[t] + lists.cost[p]
        at[f] = p
        for i in range(met_start[t], met_start[t + 1]):
            pair = met[i]
            first, second = lists.move[at[links.feature[pair, 0]]], lists.move[at[links.feature[pair, 1]]]
            g -= granted_too_much(links, share, pair, first, second)
        same = tied[t] and lists.move[p] == after[f]
        if t == n - 1:
            if c > aim.above and not same and total_gain(lists, links, at) >= goal.target:
                for i in range(n):
                    out[i] = kept[at[i]]
                if aim.first:
                    return c, nodes, True
                below = missed = c
                t -= 1
            continue
        rest = goal.low - g
        if ceiling[t + 1, k] < rest or _whole(c + tail_bound(table, t + 1, rest, k)) >= below:
            continue
        t += 1
        cost[t], gain[t], left[t], tied[t] = c, g, k, same
        following[t] = _entry(lists, peak, ceiling, order, t, rest, k)
    return missed, nodes, True


@inner
def _entry(
    lists: Lists, peak: np.ndarray, ceiling: np.ndarray, order: np.ndarray, t: int, rest: float, left: int
) -> int:
    """Return the first move of feature order[t] after which the tail can still reach the rest."""
    f = order[t]
    return _first_reaching(peak, lists.start[f], lists.start[f + 1], rest - ceiling[t + 1, left])


@inner
def _met(links: Links, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs that are complete with the feature order[t]: met[start[t]:start[t + 1]]."""
    n, q = len(order), len(links.width)
    start, met = np.zeros(n + 1, dtype=np.int64), np.empty(q, dtype=np.int64)
    if q == 0:
        return start, met
    depth = np.empty(n, dtype=np.int64)
    for t in range(n):
        depth[order[t]] = t
    i = 0
    for t in range(n):
        for k in range(q):
            if max(depth[links.feature[k, 0]], depth[links.feature[k, 1]]) == t:
                met[i] = k
                i += 1
        start[t + 1] = i
    return start, met
