"""docker-compose.yaml, as users deploy it: valid, watched over, closed without secrets, and tuned."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW_SERVICES = ("init", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
ENVIRONMENT: dict[str, str] = SERVICES["scheduler"]["environment"]
ONE_SHOT = {"init"}

SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__CAPACITY": "10000",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
}
SECRETS = (
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_ADMIN_USER",
    "AIRFLOW_ADMIN_PASSWORD",
)


FOR_CONTAINERS = ("NODE_ROTATION_UNPAUSED", "AIRFLOW__METRICS__OTEL_ON", "OTEL_EXPORTER_OTLP_ENDPOINT")


def interpolated(text: str, env: dict[str, str]) -> str:
    """As compose does it: the innermost of ``${NAME:-default}`` first."""
    while found := re.search(r"\$\{(\w+):-([^{}]*)\}", text):
        text = text.replace(found[0], env.get(found[1]) or found[2])
    return text


def schema() -> dict[str, Any]:
    vendored = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    loaded: dict[str, Any] = yaml.safe_load(vendored.read_text())
    return loaded


def test_it_is_what_the_compose_specification_asks_for() -> None:
    jsonschema.validate(COMPOSE, schema())


def test_the_schema_would_notice_a_key_that_compose_does_not_know() -> None:
    broken = {**COMPOSE, "services": {"worker": {"image": "x", "restrat": "always"}}}
    with pytest.raises(jsonschema.ValidationError, match="restrat"):
        jsonschema.validate(broken, schema())


def test_every_service_of_airflow_3_is_there_with_its_database_and_broker() -> None:
    assert set(SERVICES) == {*AIRFLOW_SERVICES, "postgres", "redis"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_a_service_that_stays_is_watched_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(service["healthcheck"])


def test_the_one_shot_is_waited_for_and_does_not_start_again_for_ever() -> None:
    assert SERVICES["init"]["restart"].startswith("on-failure:")
    for name in set(AIRFLOW_SERVICES) - ONE_SHOT:
        assert SERVICES[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", AIRFLOW_SERVICES)
def test_every_airflow_service_waits_for_a_healthy_database(name: str) -> None:
    assert SERVICES[name]["depends_on"]["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_nothing_starts(name: str) -> None:
    uses = re.findall(rf"\$\{{{name}\b([^}}]*)\}}", TEXT)
    assert uses, f"{name} is not used"
    assert all(use.startswith(":?") for use in uses), f"{name} has a default or may be empty: {uses}"


def test_every_variable_of_env_example_is_asked_for_and_comes_without_a_value() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given == dict.fromkeys(SECRETS, "")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_stands_in_the_file(name: str) -> None:
    words = re.compile(r"PASSWORD|SECRET|FERNET|_CONN$|BROKER_URL|RESULT_BACKEND|KEY")
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    for key, value in environment.items():
        if words.search(key) and not key.endswith("_FILE"):
            assert ":?" in value, f"{key} of {name} is a literal"


def test_the_ui_listens_on_this_machine_only_and_nothing_else_listens() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["api-server"]
    assert published["api-server"][0].startswith("${AIRFLOW_UI_ADDRESS:-127.0.0.1}:")


@pytest.mark.parametrize(
    ("url", "env"),
    [
        ("http://127.0.0.1:8080", {}),
        ("http://10.0.0.7:9090", {"AIRFLOW_UI_ADDRESS": "10.0.0.7", "AIRFLOW_UI_PORT": "9090"}),
        ("https://airflow.example", {"AIRFLOW_UI_URL": "https://airflow.example", "AIRFLOW_UI_PORT": "9090"}),
    ],
)
def test_airflow_knows_its_address_so_that_notifications_have_a_link(url: str, env: dict[str, str]) -> None:
    for name in AIRFLOW_SERVICES:
        assert interpolated(SERVICES[name]["environment"]["AIRFLOW__API__BASE_URL"], env) == url


def test_what_env_example_offers_is_read_by_compose() -> None:
    offered = re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert offered == ["AIRFLOW_UI_ADDRESS", "AIRFLOW_UI_PORT", "AIRFLOW_UI_URL"]
    assert all(f"${{{name}:-" in TEXT for name in offered)


@pytest.mark.parametrize("name", FOR_CONTAINERS)
def test_variables_of_your_own_reach_every_airflow_service_by_the_file_that_is_named_for_them(name: str) -> None:
    """Those of .env reach no container, and what stands in ``environment`` wins over a file."""
    for service in AIRFLOW_SERVICES:
        assert SERVICES[service]["env_file"] == [{"path": ".env.connections", "required": False}]
        assert name not in SERVICES[service]["environment"]
    assert any(line.startswith("#") and name in line for line in (ROOT / ".env.example").read_text().splitlines())
    for file in ("README.md", "docs/metrics.md"):
        text = (ROOT / file).read_text()
        assert name not in text or ".env.connections" in text


def test_reports_outlive_the_worker_that_wrote_them() -> None:
    for name in set(AIRFLOW_SERVICES) - ONE_SHOT:
        folder = SERVICES[name]["environment"]["NODE_ROTATION_REPORTS"]
        assert any(
            folder.startswith(f"{volume.split(':')[1]}/") for volume in SERVICES[name]["volumes"] if "./" not in volume
        )


def test_only_those_who_check_passwords_see_them() -> None:
    holders = {name for name in AIRFLOW_SERVICES if "auth:/opt/airflow/auth" in SERVICES[name]["volumes"]}
    assert holders == {"init", "api-server"}


def test_dags_plugins_and_configuration_are_mounted_read_only() -> None:
    for name in set(AIRFLOW_SERVICES) - ONE_SHOT:
        mounted = [volume for volume in SERVICES[name]["volumes"] if volume.startswith("./")]
        assert {volume.split(":")[0] for volume in mounted} == {"./dags", "./plugins", "./config"}
        assert all(volume.endswith(":ro") for volume in mounted)


@pytest.mark.parametrize(("name", "value"), SETTINGS.items())
def test_the_settings_that_a_rotation_needs_are_set_for_everyone(name: str, value: str) -> None:
    for service in AIRFLOW_SERVICES:
        assert SERVICES[service]["environment"][name] == value


def test_airflow_knows_every_setting() -> None:
    spec = find_spec("airflow")  # found, not imported: importing it would read this machine's configuration
    assert spec is not None
    assert spec.origin is not None
    reference = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text())
    for name in ENVIRONMENT:
        if name.startswith("AIRFLOW__") and "__CELERY__" not in name:
            _, section, key = name.lower().split("__")
            assert key in reference[section]["options"], f"Airflow has no [{section}] {key}"


@pytest.mark.parametrize("name", AIRFLOW_SERVICES)
def test_airflow_runs_as_an_ordinary_user_without_capabilities(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "50000:0"
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
