"""The zoo: models of many kinds, on which estimates are checked against measurements.

Each is built in memory with random weights from a fixed seed and kept in `benchmarks/.models/zoo/`. The sizes are such
that memory is well above the noise of a measurement. Models that were looked at while the estimator was made or mended
count as calibrating it (`calibrates`). Those that are held out were written when it was done, and measured once; who
changes a rule because of one of them takes the mark away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import onnx
from benchmarks import zoo_held_out, zoo_other, zoo_text, zoo_vision
from benchmarks.encoder import text_encoder
from benchmarks.models import MODELS_DIR, resnet18

ZOO_DIR: Final = MODELS_DIR / "zoo"


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: Also the file's.
        family: What kind of model it is, for the table.
        build: Makes it.
        free: Lengths of the free axes other than the batch, by name.
        calibrates: Whether it was looked at when the estimator was made.
    """

    name: str
    family: str
    build: Callable[[], onnx.ModelProto]
    free: Mapping[str, int]
    calibrates: bool

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return ZOO_DIR / f"{self.name}.onnx"

    def ensure(self) -> Path:
        """Write the file when it is missing; its path."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.path.with_suffix(f".{os.getpid()}.part")
            onnx.save_model(self.build(), str(unfinished))
            unfinished.replace(self.path)
        return self.path


def _model(
    name: str, family: str, build: Callable[[], onnx.ModelProto], *, held_out: bool = False, **free: int
) -> ZooModel:
    return ZooModel(name, family, build, free, not held_out)


BATCH_AXIS: Final = "N"
"""Name of every batch axis in the zoo."""

ZOO: Final[Mapping[str, ZooModel]] = {
    model.name: model
    for model in (
        _model("resnet18", "CNN", resnet18),
        _model("resnet50", "CNN", zoo_vision.resnet50),
        _model("mobilenet_v2", "CNN", zoo_vision.mobilenet_v2),
        _model("vgg11", "CNN", zoo_vision.vgg11),
        _model("unet", "CNN", zoo_vision.unet),
        _model("densenet", "CNN", zoo_vision.densenet),
        _model("shufflenet", "CNN", zoo_vision.shufflenet),
        _model("super_resolution", "CNN", zoo_vision.super_resolution),
        _model("style_transfer", "CNN", zoo_vision.style_transfer),
        _model("squeezenet", "CNN", zoo_vision.squeezenet),
        _model("efficientnet", "CNN", zoo_vision.efficientnet),
        _model("video", "CNN", zoo_vision.video),
        _model("detector", "detection", zoo_vision.detector),
        _model("text_encoder", "transformer", text_encoder, S=64),
        _model("decoder", "transformer", zoo_text.decoder),
        _model("t5_encoder", "transformer", zoo_text.t5_encoder),
        _model("vision_transformer", "transformer", zoo_text.vision_transformer),
        _model("long_document", "transformer", zoo_text.long_document),
        _model("half_encoder", "FP16", zoo_text.half_encoder),
        _model("half_cnn", "FP16", zoo_other.half_cnn),
        _model("lstm", "RNN", partial(zoo_other.recurrent, "LSTM", layers=3)),
        _model("gru", "RNN", partial(zoo_other.recurrent, "GRU", layers=4)),
        _model("rnn", "RNN", partial(zoo_other.recurrent, "RNN", layers=8, hidden=768)),
        _model("speech_features", "audio", zoo_other.speech_features),
        _model("spectrogram", "audio", zoo_other.spectrogram),
        _model("tabular", "tabular", zoo_other.tabular),
        _model("weight_heavy", "tabular", zoo_other.weight_heavy),
        _model("forest", "trees", partial(zoo_other.trees, 400, 9)),
        _model("forest_classes", "trees", partial(zoo_other.trees, 200, 9, classes=5)),
        _model("quantized_cnn", "quantised", zoo_other.quantized_cnn),
        _model("quantized_mlp", "quantised", zoo_other.quantized_mlp),
        _model("qlinear_cnn", "quantised", zoo_other.qlinear_cnn),
        _model("loop", "control", zoo_other.loop),
        _model("scan", "control", zoo_other.scan),
        _model("choice", "control", zoo_other.choice),
        _model("recommender", "embedding", zoo_other.recommender),
        _model("inception", "CNN", zoo_held_out.inception),
        _model("segmentation", "CNN", zoo_held_out.segmentation),
        _model("autoencoder", "CNN", zoo_held_out.autoencoder),
        _model("mixer", "transformer", zoo_held_out.mixer),
        _model("bert", "transformer", zoo_held_out.bert, S=64),
        _model("temporal_convolutions", "audio", zoo_held_out.temporal_convolutions),
        _model("tagger", "RNN", zoo_held_out.tagger),
        _model("autoregressive_scores", "transformer", zoo_held_out.autoregressive_scores),
        _model("convnext", "CNN", zoo_held_out.convnext, held_out=True),
        _model("text_reader", "RNN", zoo_held_out.text_reader, held_out=True),
        _model("speech_encoder", "audio", zoo_held_out.speech_encoder, held_out=True),
        _model("windowed_attention", "transformer", zoo_held_out.windowed_attention),
        _model("wavenet", "audio", zoo_held_out.wavenet),
        _model("picture_and_text", "transformer", zoo_held_out.picture_and_text, held_out=True),
        _model("point_cloud", "CNN", zoo_held_out.point_cloud, held_out=True),
        _model("feature_pyramid", "detection", zoo_held_out.feature_pyramid, held_out=True),
        _model("query_decoder", "detection", zoo_held_out.query_decoder, held_out=True),
    )
}
"""Every model by name."""

ONE_NODE: Final = _model("one_node", "reference", zoo_other.one_node)
"""What every measurement is compared with."""
