"""DiCE (Mothilal et al.): random sampling or a genetic search. It takes the features to vary and ranges for them."""

# mypy: ignore-errors

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last, so that it hides no library

from speaking import serve


def start(shared):
    import dice_ml

    table = shared.train.copy()
    whole = [name for name in shared.numbers if (table[name] == table[name].round()).all()]
    table = table.astype(dict.fromkeys(whole, np.int64))  # else it samples numbers with decimals
    table[shared.target] = shared.y
    data = dice_ml.Data(dataframe=table, continuous_features=list(shared.numbers), outcome_name=shared.target)
    explainer = dice_ml.Dice(data, dice_ml.Model(model=shared.model, backend="sklearn"), method=shared.method)

    def explain(request):
        row = pd.DataFrame([request["row"]])[shared.names]
        row = row.astype({name: np.int64 if name in whole else np.float64 for name in shared.numbers})
        permitted = request["permitted"]
        ranges = {}
        for name, values in permitted.items():
            if name in shared.categories:
                ranges[name] = sorted({*values, str(request["row"][name])})
            else:
                ranges[name] = [min(values[0], request["row"][name]), max(values[1], request["row"][name])]
        kwargs = {"random_seed": shared.seed} if shared.method == "random" else {}
        try:
            found = explainer.generate_counterfactuals(
                row,
                total_CFs=1,
                desired_class="opposite",
                features_to_vary=list(permitted),
                permitted_range=ranges,
                stopping_threshold=request["threshold"],
                verbose=False,
                **kwargs,
            )
        except Exception as error:
            if "No counterfactuals found" in str(error):
                return None
            raise
        frame = found.cf_examples_list[0].final_cfs_df
        return None if frame is None or not len(frame) else frame.iloc[0][shared.names].to_dict()

    return explain


serve(start)
