"""`func run` and `func invoke` with TLS, API keys and CORS."""

import json
from pathlib import Path

import httpx
import pytest
from support.func_process import Machine

pytestmark = pytest.mark.integration

TLS = Path(__file__).parents[1] / "fixtures" / "tls"
SPEC = """
triggers:
- name: http
  kind: http
  tls: {certificate: "{{ secret:tls:tls.crt }}", key: "{{ secret:tls:tls.key }}"}
  cors: {allowOrigins: ["https://app.example.com"]}
  apiKeys: "{{ secret:http:keys }}"
"""


@pytest.fixture
def project(tmp_path: Path) -> tuple[Machine, Path]:
    machine = Machine(tmp_path)
    return machine, machine.project("safe", "def handle(event, context): return event.text()", SPEC)


def test_a_function_that_faces_the_network(project: tuple[Machine, Path]) -> None:
    machine, folder = project
    for key, file in (("tls.crt", "certificate.pem"), ("tls.key", "key.pem")):
        machine.func("config", "secrets", "set", "tls", key, "--value-file", str(TLS / file), cwd=folder)
    token = machine.func("config", "keys", "create", "shop", cwd=folder).stdout.strip()
    with machine.run(folder) as run:
        url = run.ready().url
        assert url.startswith("https://127.0.0.1:")
        run.wait_for("one replica stays")
        refused = machine.func("invoke", "safe", "--data", "x")
        assert "self-signed certificate" in refused.stderr
        assert "--cacert" in refused.stderr
        trusting = ["--cacert", str(TLS / "certificate.pem"), "--data", "x"]
        assert "config keys create" in machine.func("invoke", "safe", *trusting).stderr
        assert machine.func("invoke", "safe", *trusting, "-H", f"X-API-Key: {token}").stdout == "x"
        with httpx.Client(verify=False) as client:
            assert client.get(f"{url}/health/readiness").status_code == 200
            headers = {"origin": "https://app.example.com", "authorization": f"Bearer {token}"}
            response = client.post(url, content="x", headers=headers)
        assert response.headers["access-control-allow-origin"] == "https://app.example.com"
        told = json.loads(machine.func("describe", "safe", "-o", "json").stdout)
        assert (told["url"], told["desired"]) == (url, 1)


def test_secrets_that_are_missing_or_wrong(project: tuple[Machine, Path]) -> None:
    machine, folder = project
    with machine.run(folder) as run:
        assert run.end() == 1
        assert "secret `tls` has no key `tls.crt`" in run.errors
    for key in ("tls.crt", "tls.key"):
        machine.func("config", "secrets", "set", "tls", key, "--value-file", str(TLS / "key.pem"), cwd=folder)
    machine.func("config", "keys", "create", "shop", cwd=folder)
    with machine.run(folder) as run:
        assert run.end() == 1
        assert "expected a certificate chain and its key in PEM" in run.errors
