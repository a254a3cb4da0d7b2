"""NICE (Brughmans et al.): features of the nearest unlike neighbour, copied one by one. It takes no constraints."""

# mypy: ignore-errors

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that it hides no library

from speaking import serve


def start(shared):
    from nice import NICE

    place = {name: j for j, name in enumerate(shared.names)}
    explainer = NICE(
        predict_fn=shared.model.predict_proba,
        X_train=shared.train.to_numpy(dtype=object if shared.categories else np.float64),
        cat_feat=[place[name] for name in shared.categories],
        num_feat=[place[name] for name in shared.numbers],
        y_train=shared.y,
        optimization=shared.method,
        justified_cf=True,
    )

    def explain(request):
        kind = object if shared.categories else np.float64
        row = np.array([[request["row"][name] for name in shared.names]], dtype=kind)
        return dict(zip(shared.names, explainer.explain(row)[0]))

    return explain


serve(start)
