"""Gate checks against real servers: a small one of our own, and Prometheus."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node_rotation.web import site

from node_rotation.clients import checks
from node_rotation.workloads.gate_checks import GateCheck

UNTIL_READY_S = 60.0


def why(**said: object) -> str:
    """What one check says; empty if it is green."""
    check = GateCheck.model_validate(said)
    return checks.ask([check]).get(check.label, "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_address_answers_what_is_expected_or_its_status_is_said() -> None:
    with site() as shop:
        assert why(http=f"{shop.address}/health") == ""
        shop.status = 503
        assert why(http=shop.address) == f"check {shop.address}: answered 503, not 200"
        assert why(http=shop.address, expect=503) == ""


def test_a_redirect_is_not_followed() -> None:
    with site() as shop:
        shop.status = 302
        assert why(http=shop.address, expect=302) == ""
        assert shop.asked == 1


def test_nobody_at_home_and_silence_are_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no answer" in why(http=f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(checks, "TIMEOUT_S", 0.3)
    with site() as shop:
        shop.silent.clear()
        began = time.monotonic()
        assert "no answer (timed out)" in why(http=shop.address)
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "body",
    ["well", "{}", "[]", '{"error": "log in"}', '{"data": null}', '{"data": {"resultType": "scalar", "result": []}}'],
)
def test_what_is_no_prometheus_is_said(body: str) -> None:
    with site() as shop:
        shop.body = body.encode()
        assert "no answer" in why(prometheus=shop.address, query="up", above=0)


def test_all_are_asked_and_only_what_is_not_green_is_answered() -> None:
    with site() as shop:
        asked = [GateCheck(http=f"{shop.address}/{n}", expect=200 if n else 204) for n in range(12)]
        assert list(checks.ask(asked)) == [f"check {shop.address}/0, expecting 204"]


def test_a_green_answer_hides_no_red_one_of_the_same_address() -> None:
    with site() as shop:
        result = '{"resultType": "scalar", "result": [0, "0"]}'
        shop.body = f'{{"data": {result}}}'.encode()
        query = {"prometheus": shop.address, "query": "up"}
        asked = [GateCheck(**query, above=0.5), GateCheck(**query, below=100)]
        assert list(checks.ask(asked).values()) == [f"{asked[0].label}: 0 is not above 0.5"]
        asked = [GateCheck(http=shop.address, expect=204), GateCheck(http=shop.address)]
        assert list(checks.ask(asked).values()) == [f"{asked[0].label}: answered 200, not 204"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus server that scrapes itself."""
    binary = shutil.which("prometheus")
    assert binary, "no prometheus on the PATH: install Debian's package prometheus (apt-get install prometheus)"
    directory: Path = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    config = directory / "prometheus.yml"
    scrape = f"{{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}"
    config.write_text(f"scrape_configs: [{scrape}]\n")
    command = [binary, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _until_ready(address, server, directory / "log")
        yield address
    finally:
        server.terminate()
        server.wait(30.0)


def _until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + UNTIL_READY_S
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/-/ready", timeout=1.0).close()
            if why(prometheus=address, query="up", above=0) == "":
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"prometheus is not ready: {log.read_text()[-2000:]}")


def test_a_query_of_prometheus_is_held_against_its_bound(prometheus: str) -> None:
    assert why(prometheus=prometheus, query="up", above=0) == ""
    assert why(prometheus=f"{prometheus}/", query="up", below=1).endswith("1 is not below 1")
    assert why(prometheus=prometheus, query="scalar(up)", above=0) == ""
    assert why(prometheus=prometheus, query='up{job="nobody"}', above=0).endswith("no data")
    assert "refused with 400" in why(prometheus=prometheus, query="up{", above=0)
    assert "is a matrix" in why(prometheus=prometheus, query="up[1m]", above=0)
