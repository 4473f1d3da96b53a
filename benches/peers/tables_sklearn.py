"""One training of scikit-learn on a table, as a whole process: reads CSV, fits, predicts, writes what `predict` writes.

    tables_sklearn.py mlp|ridge classification|regression TARGET SEED train.csv test.csv out.csv

Every model has its defaults, behind the usual preparation: means for missing numbers, z-scores, one input for each
category (a missing one is a category of its own, an unknown one is none), and the target as it is.
"""
import sys
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

model, task, target, seed, train, test, out = sys.argv[1:]
train, test = pd.read_csv(train), pd.read_csv(test)
y = train.pop(target)
numbers = train.select_dtypes("number").columns
prepare = make_column_transformer(
    (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    (OneHotEncoder(handle_unknown="ignore"), train.columns.difference(numbers)))
if model == "ridge":
    estimator = Ridge()
else:
    estimator = (MLPRegressor if task == "regression" else MLPClassifier)(random_state=int(seed))
estimator = make_pipeline(prepare, estimator).fit(train, y)

if task == "regression":
    found = pd.DataFrame({target: estimator.predict(test)})
else:
    found = pd.DataFrame(estimator.predict_proba(test), columns=estimator.classes_)
    found.insert(0, "label", estimator.classes_[found.to_numpy().argmax(1)])
found.to_csv(out, index=False)
