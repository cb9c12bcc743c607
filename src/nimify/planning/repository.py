"""Where the model's files lie in the bundle: Triton's repository layout, which the embedded engine reads as well."""

from __future__ import annotations

from typing import Final

from nimify.errors import UnsupportedModel
from nimify.formats.format import ModelInfo
from nimify.serving.spec import ModelFile

REPOSITORY: Final = "model_repository"
MODEL_VERSION: Final = "1"
_FILE_NAMES: Final = {"onnx": "model.onnx"}


def model_folder(name: str) -> str:
    """The folder of the version that is served, relative to the bundle."""
    return f"{REPOSITORY}/{name}/{MODEL_VERSION}"


def model_file_name(model: ModelInfo) -> str:
    """What the model file is called in the repository: the name that Triton's backend looks for."""
    return _FILE_NAMES[model.format]


def place_files(model: ModelInfo, name: str) -> tuple[ModelFile, ...]:
    """The model file first, then its external data at the same relative locations as before.

    Raises:
        UnsupportedModel: External data lies where the model file must go.
    """
    folder, own_name = model_folder(name), model_file_name(model)
    main, *data = model.files
    for file in data:
        if file.location.partition("/")[0] == own_name:
            raise UnsupportedModel(
                model.name,
                f"its external data is called '{own_name}', as the model file itself must be in the bundle.",
                remedy="Save the model again with another name for its external data.",
            )
    places = [own_name, *(file.location for file in data)]
    return tuple(
        ModelFile(f"{folder}/{place}", file.sha256, file.size_bytes)
        for place, file in zip(places, (main, *data), strict=True)
    )
