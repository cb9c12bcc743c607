"""Operators of `ai.onnx.ml`: trees, linear models and the preparation of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nimify.analysis.inference.call import Call, NotInferable, Rule
from nimify.analysis.inference.kinds import FLOAT, INT64, STRING, Kind, Tensor


def _float_same(call: Call) -> Sequence[Kind]:
    return [Tensor(FLOAT, call.shape(0))]


def _same(call: Call) -> Sequence[Kind]:
    return [call.tensor(0)]


def _rows(call: Call) -> int:
    shape = call.shape(0)
    return shape[0] if len(shape) > 1 else 1


def _regressor(call: Call, targets: int) -> Sequence[Kind]:
    return [Tensor(FLOAT, (_rows(call), targets))]


def _classifier(call: Call) -> Sequence[Kind]:
    """Labels and scores; scores of two classes come as two columns even where the model stores one."""
    texts, numbers = _labels(call, "strings"), _labels(call, "ints")
    labels = max(texts, numbers)
    if labels == 0:
        raise NotInferable("it lists no classes")
    rows = _rows(call)
    return [Tensor(STRING if texts else INT64, (rows,)), Tensor(FLOAT, (rows, labels))]


def _labels(call: Call, kind: str) -> int:
    names = {
        "strings": ("classlabels_strings", "classlabels_string"),
        "ints": ("classlabels_int64s", "classlabels_ints", "classlabels_int64"),
    }
    return max(len(call.attributes.get(name, ())) for name in names[kind])


def _label_encoder(call: Call) -> Sequence[Kind]:
    attributes = call.attributes
    if "values_tensor" in attributes:
        element_type = int(attributes["values_tensor"].data_type)
    elif attributes.get("values_strings"):
        element_type = STRING
    elif attributes.get("values_int64s"):
        element_type = INT64
    elif attributes.get("values_floats"):
        element_type = FLOAT
    else:  # Version 1 turns text into numbers and numbers into text.
        element_type = INT64 if call.tensor(0).element_type == STRING else STRING
    return [Tensor(element_type, call.shape(0))]


def _one_hot(call: Call) -> Sequence[Kind]:
    categories = max(len(call.attributes.get(name, ())) for name in ("cats_int64s", "cats_strings"))
    return [Tensor(FLOAT, (*call.shape(0), categories))]


def _array_feature_extractor(call: Call) -> Sequence[Kind]:
    shape, chosen = call.shape(0), call.tensor(1).elements
    if chosen is None or not shape:
        raise NotInferable("it is not known how many features it takes")
    rows = shape[:-1] if len(shape) > 1 else (1,)
    return [Tensor(call.tensor(0).element_type, (*rows, chosen))]


def _feature_vectorizer(call: Call) -> Sequence[Kind]:
    return [Tensor(FLOAT, (_rows(call), sum(call.numbers("inputdimensions"))))]


CLASSIC_RULES: Final[Mapping[str, Rule]] = {
    "ArrayFeatureExtractor": _array_feature_extractor,
    "Binarizer": _same,
    "CategoryMapper": _label_encoder,
    "FeatureVectorizer": _feature_vectorizer,
    "Imputer": _same,
    "LabelEncoder": _label_encoder,
    "LinearClassifier": _classifier,
    "LinearRegressor": lambda call: _regressor(call, call.number("targets", 1)),
    "Normalizer": _float_same,
    "OneHotEncoder": _one_hot,
    "SVMClassifier": _classifier,
    "SVMRegressor": lambda call: _regressor(call, 1),
    "Scaler": _float_same,
    "TreeEnsemble": lambda call: [Tensor(call.tensor(0).element_type, (_rows(call), call.number("n_targets", 1)))],
    "TreeEnsembleClassifier": _classifier,
    "TreeEnsembleRegressor": lambda call: _regressor(call, call.number("n_targets", 1)),
}
"""Rules by operator name, for the domain `ai.onnx.ml`. `ZipMap` gives a sequence of maps and stays a gap."""
