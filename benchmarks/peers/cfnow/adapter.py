"""CFNOW (de Oliveira et al.): any flip, then a tabu search for a near one. It takes no constraints."""

# mypy: ignore-errors

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that it hides no library

from speaking import serve

SECONDS = 10  # of the tabu search; its own default of 120 s a row would take hours


def start(shared):
    from cfnow.cf_finder import find_tabular

    # categories as one column a level; the columns of one category share what stands before the underscore
    columns = [(name, None) for name in shared.numbers]
    columns += [(name, level) for name, levels in shared.categories.items() for level in levels]
    order = {name: j for j, name in enumerate([*shared.numbers, *shared.categories])}
    labels = [f"f{order[name]}" if level is None else f"f{order[name]}_{k}" for k, (name, level) in enumerate(columns)]
    types = {label: "num" if level is None else "cat" for label, (_, level) in zip(labels, columns)}
    groups = {name: [k for k, (other, _) in enumerate(columns) if other == name] for name in shared.categories}

    def decoded(x):
        x = np.asarray(x, dtype=np.float64)
        data = {name: x[:, k] for k, name in enumerate(shared.numbers)}
        for name, ks in groups.items():
            levels = np.array(shared.categories[name], dtype=object)
            data[name] = levels[x[:, ks].argmax(axis=1)]
        return pd.DataFrame(data)[shared.names]

    def probability(x):
        return shared.model.predict_proba(decoded(x))[:, 1]

    def explain(request):
        row = request["row"]
        values = [float(row[name]) if level is None else float(row[name] == level) for name, level in columns]
        found = find_tabular(
            factual=pd.Series(values, index=labels),
            model_predict_proba=probability,
            feat_types=types,
            cf_strategy=shared.method,
            has_ohe=bool(groups),
            limit_seconds=SECONDS,
        )
        if not len(found.cfs):
            return None
        return decoded(np.array([found.cfs[0]])).iloc[0].to_dict()

    return explain


serve(start)
