"""Which platform a process was started by, and which port it is to take."""

from __future__ import annotations

import pytest

from nimify.errors import ConfigError
from nimify.serving.platform import NAMES, PLATFORM_VARIABLE, platform_of, started_with_serve
from nimify.serving.settings import ServiceSettings

VERTEX = {"AIP_HTTP_PORT": "9000", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"}


def name_of(environment: dict[str, str]) -> str | None:
    found = platform_of(environment)
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, None),
        ({"PORT": "80", "K_SERVICE": "x", "AIP_MODEL_DIR": "/x", "SAGEMAKER_REGION": "x", "AZUREML_RUN_ID": "x"}, None),
        ({"SAGEMAKER_BIND_TO_PORT": "8081"}, "sagemaker"),
        ({"AZUREML_MODEL_DIR": "/var/x"}, "azureml"),
        (VERTEX, "vertex"),
        ({**VERTEX, PLATFORM_VARIABLE: "none"}, None),
        ({**VERTEX, PLATFORM_VARIABLE: " SageMaker "}, "sagemaker"),
        *(({PLATFORM_VARIABLE: name}, name) for name in NAMES),
    ],
)
def test_a_platform_is_known_by_what_only_it_sets(environment: dict[str, str], name: str | None) -> None:
    """Or by being named; variables that others set as well say nothing."""
    assert name_of(environment) == name


def test_the_argument_serve_is_sagemakers_unless_the_environment_says_otherwise() -> None:
    """What is named stays, `none` included."""
    assert name_of(dict(started_with_serve({}))) == "sagemaker"
    assert name_of(dict(started_with_serve(VERTEX))) == "vertex"
    assert name_of(dict(started_with_serve({PLATFORM_VARIABLE: "none"}))) is None


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({}, 8000),
        (VERTEX, 9000),
        ({**VERTEX, "NIM_HTTP_API_PORT": "1"}, 9000),
        ({PLATFORM_VARIABLE: "vertex"}, 8080),
        ({PLATFORM_VARIABLE: "vertex", "NIM_HTTP_API_PORT": "7000"}, 7000),
        ({PLATFORM_VARIABLE: "sagemaker"}, 8080),
        ({"SAGEMAKER_BIND_TO_PORT": "8085", PLATFORM_VARIABLE: "none"}, 8000),
        ({"SAGEMAKER_BIND_TO_PORT": "8085", "PORT": "1"}, 8085),
        ({"AZUREML_MODEL_DIR": "/x"}, 8000),
        ({PLATFORM_VARIABLE: "cloud-run"}, 8080),
        ({PLATFORM_VARIABLE: "cloud-run", "PORT": "7777"}, 7777),
    ],
)
def test_the_port_is_where_the_platform_asks(environment: dict[str, str], port: int) -> None:
    """Its own variable first, then the NIM's and `PORT`, then what it asks at when nothing is said."""
    assert ServiceSettings.from_environment(environment).port == port


def test_an_option_wins_over_the_platform() -> None:
    """As over every variable."""
    assert ServiceSettings.from_environment(VERTEX, port=0).port == 0


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({PLATFORM_VARIABLE: "heroku"}, PLATFORM_VARIABLE),
        ({**VERTEX, "AIP_HTTP_PORT": "many"}, "AIP_HTTP_PORT"),
        ({"SAGEMAKER_BIND_TO_PORT": "70000"}, "port"),
    ],
)
def test_what_is_none_is_refused_by_its_name(environment: dict[str, str], variable: str) -> None:
    """With the variable that is wrong."""
    with pytest.raises(ConfigError, match=variable):
        ServiceSettings.from_environment(environment)
