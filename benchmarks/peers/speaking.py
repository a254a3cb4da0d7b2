"""What adapters share: JSON lines, the model with its rows counted, the training rows. Runs in a peer's environment."""

# mypy: ignore-errors

import json
import os
import sys
import time
import traceback
import warnings

import numpy as np
import pandas as pd


class Counted:
    """The model, with a count of the rows that it has scored."""

    def __init__(self, path, names, numbers):
        from skops import io

        self._model = io.load(path, trusted=io.get_untrusted_types(file=path))
        self._names, self._numbers = names, numbers
        self.classes_ = self._model.classes_
        self.calls = 0

    def frame(self, rows):
        """Return rows, a frame or an array, as the model was fitted: numbers as float64, levels as texts."""
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=self._names)
        frame = frame[self._names].astype(dict.fromkeys(self._numbers, np.float64))
        others = [name for name in self._names if name not in self._numbers]
        return frame.astype(dict.fromkeys(others, object))

    def predict_proba(self, rows):
        """Return the model's probabilities; every row counts."""
        frame = self.frame(rows)
        self.calls += len(frame)
        return self._model.predict_proba(frame)

    def predict(self, rows):
        """Return the more probable classes; every row counts."""
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


class Shared:
    """The first line of the protocol: model, training rows, and what the peer is asked to do."""

    def __init__(self, line):
        told = json.loads(line)
        self.numbers, self.categories = told["numbers"], told["categories"]
        self.target, self.method, self.seed, self.cost = told["target"], told["method"], told["seed"], told["cost"]
        types = dict.fromkeys(self.categories, str)
        table = pd.read_csv(told["train"], dtype=types, keep_default_na=False)
        self.names = [name for name in table.columns if name != self.target]
        self.y = table[self.target].to_numpy()
        self.train = table[self.names].astype(dict.fromkeys(self.categories, object))
        self.model = Counted(told["model"], self.names, self.numbers)


def plain(value):
    """Return a scalar that JSON can hold."""
    if isinstance(value, (np.floating, float)):
        return float(value)
    if isinstance(value, (np.integer, int)):
        return int(value)
    return str(value)


def serve(start):
    """Answer until the input ends. `start` takes a `Shared` and returns a function from a request to a row or None."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no part of the protocol
    warnings.simplefilter("ignore")

    def answer(message):
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        shared = Shared(sys.stdin.readline())
        explain = start(shared)
    except Exception:
        answer({"error": traceback.format_exc(limit=-3)})
        return
    answer({"ready": True, "calls": shared.model.calls})
    for line in sys.stdin:
        before, began = shared.model.calls, time.perf_counter()
        request = json.loads(line)
        np.random.seed(shared.seed)  # noqa: NPY002  (the generator that peers draw from)
        try:
            row = explain(request)
            said = {"row": None if row is None else {name: plain(row[name]) for name in shared.names}}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}", "row": None}
        answer({**said, "calls": shared.model.calls - before, "seconds": round(time.perf_counter() - began, 4)})
