"""Who is let in: token, cookie, Host, Origin, size; and the headers that keep data from running."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hortus.studio import Studio, create_app
from tests.studio.conftest import TOKEN

HOME = "http://127.0.0.1:8080"


@pytest.fixture
def stranger(studio: Studio) -> TestClient:
    """A client without cookie, token or Origin."""
    return TestClient(create_app(studio, TOKEN), base_url=HOME)


@pytest.mark.parametrize("path", ["/", "/api/session", "/assets/x.js", "/reports/a/report.html", "/nothing"])
def test_nothing_is_shown_without_the_token(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 401
    assert "open the link" in answer.json()["error"]["message"]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1], "é"])
def test_a_wrong_token_opens_nothing(stranger: TestClient, token: str) -> None:
    assert stranger.get("/", params={"token": token}, follow_redirects=False).status_code == 401
    bearer = {"Authorization": f"Bearer {token}".encode()}
    assert stranger.get("/api/session", headers=bearer).status_code == 401
    stranger.cookies.set("hortus_studio_8080", token.encode("ascii", "ignore").decode())
    assert stranger.get("/api/session").status_code == 401


def test_the_link_sets_a_cookie_that_other_sites_cannot_send(stranger: TestClient) -> None:
    answer = stranger.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("hortus_studio_8080=") and "httponly" in cookie and "samesite=strict" in cookie
    assert stranger.get("/api/session").status_code == 200


def test_scripts_use_the_token_itself(stranger: TestClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert stranger.post("/api/projects", json={"name": "a"}, headers=bearer).status_code == 201


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8080", None]
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_pages_of_other_sites_change_nothing(client: TestClient, origin: str | None, method: str) -> None:
    before = client.get("/api/projects").json()
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(client.headers, "Origin")
        headers = {} if origin is None else {"Origin": origin}
        answer = client.request(method, "/api/projects", json={"name": "a"}, headers=headers)
    assert answer.status_code == 403
    assert client.get("/api/projects").json() == before


def test_not_even_with_the_token(client: TestClient) -> None:
    headers = {"Origin": "http://evil.example", "Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/projects", json={"name": "a"}, headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/session", headers={"Host": host}).status_code == 421


def test_every_answer_forbids_foreign_and_inline_scripts(client: TestClient) -> None:
    for path in ("/", "/api/session", "/api/projects/none", "/nothing"):
        policy = client.get(path).headers["content-security-policy"]
        assert "script-src 'self';" in policy and "default-src 'none'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert client.get(path).headers["x-content-type-options"] == "nosniff"


def test_large_bodies_are_refused(make_studio: Callable[..., Studio]) -> None:
    studio = make_studio(max_body_bytes=1000, max_upload_bytes=2000)
    with TestClient(create_app(studio, TOKEN), base_url=HOME) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.post("/api/projects", json={"name": "a" * 2000}).status_code == 413
        project = client.post("/api/projects", json={"name": "a"}).json()["id"]
        upload = f"/api/projects/{project}/upload?name=a.csv"
        assert client.post(upload, content=b"a,b\n" * 600).status_code == 413

        def pieces() -> Any:  # no length is declared
            yield from [b"a,b\n" * 200] * 3

        assert client.post(upload, content=pieces()).status_code == 413
        assert client.post(upload, content=b"a,b\n1,2\n").status_code == 200
        assert not list((studio.config.folder / "uploads").glob(".*"))


def test_hostile_values_come_as_json_and_never_as_a_page(client: TestClient, project: str) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    body = json.dumps({"text": attack, attack: "</script>", "label": "a"}).encode() + b"\n"
    opened = client.post(f"/api/projects/{project}/upload?name=x.jsonl", content=body)
    assert opened.status_code == 200
    answer = client.get(f"/api/projects/{project}/rows")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["rows"][0]["values"]["text"] == attack
    wrong = client.get(f"/api/projects/{attack}/rows")
    assert wrong.headers["content-type"] == "application/json" and wrong.status_code == 404


def test_reports_are_confined_and_in_a_sandbox(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    folder = studio.config.runs / "one"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>a</h1><script>alert(1)</script>")
    (folder / "secret.html").write_text("secret")
    (tmp_path / "report.html").write_text("outside")
    (studio.config.runs / "link").symlink_to(tmp_path)
    assert [one["path"] for one in client.get("/api/reports").json()["reports"]] == ["one/report.html"]
    answer = client.get("/reports/one/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    for path in ("one/secret.html", "link/report.html", "..%2freport.html", "%2e%2e/report.html", "none"):
        assert client.get(f"/reports/{path}").status_code == 404


@pytest.mark.parametrize("path", ["/..%2fserver.py", "/assets/..%2f..%2fserver.py", "/%2e%2e/config.py"])
def test_files_outside_the_bundle_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
