"""Files that hold a fitted scikit-learn estimator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ModelError, UnsupportedModel

# Types that skops does not trust of itself, though pipelines of scikit-learn, XGBoost and LightGBM consist of them. A
# partial is only loaded when what it calls is trusted too; boosters are the bytes that their own libraries read.
KNOWN_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "numpy.dtype",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
    }
)


def load_skops(content: bytes) -> Any:
    """Return the estimator in a skops file, which cannot run code.

    Raises
    ------
    ModelError
        If the content is not a readable skops file, or holds types that are not known to be harmless.
    """
    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - KNOWN_TYPES)
        if not unknown:
            return skops.io.loads(content, trusted=sorted(KNOWN_TYPES))
    except Exception as error:  # skops lets zipfile's, json's and its own errors through
        raise ModelError(
            f"the skops file is cut off or damaged ({type(error).__name__}: {error}). "
            "Write it again with skops.io.dump(estimator, path)."
        ) from error
    raise UnsupportedModel(
        f"the skops file holds types that are not known to be harmless: {', '.join(unknown)}. "
        "Save a scikit-learn classifier or pipeline without objects of your own or of other libraries."
    )


def load_pickle(path: Path) -> Any:
    """Return the object in a pickle or joblib file, running whatever code the file holds: ask the caller first.

    Raises
    ------
    ModelError
        If the file cannot be read.
    """
    import joblib

    try:
        return joblib.load(path)  # reads plain pickles too
    except Exception as error:  # a pickle may raise anything
        raise ModelError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}). "
            "It is cut off, or was written with libraries that are not installed here."
        ) from error
