"""docs/serving.md: its program answers requests; its container copies what there is."""

import re

import pytest
from launches import REPO

from tagloop.tasks.tagging.tagger import load_tagger

PAGE = (REPO / "docs" / "serving.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return code


@pytest.mark.slow
def test_the_program_tags_as_predict_does_and_refuses_what_is_too_much(trained, monkeypatch):
    pytest.importorskip("fastapi", reason="pip install -r requirements-dev.txt")
    from fastapi.testclient import TestClient

    monkeypatch.setenv("MODEL_DIR", str(trained))
    program = {}
    exec(compile(block("python"), "serve.py", "exec"), program)
    texts = ["Ann Lee lives in Oslo.", "", "In Alderedstan, Bob left."]
    with TestClient(program["app"]) as client:
        answer = client.post("/tag", json={"texts": texts})
        assert answer.status_code == 200
        found = answer.json()
        assert [row["text"] for row in found] == texts
        tagged = load_tagger(trained)(texts)
        assert [row["entities"] for row in found] == [one.entities for one in tagged]
        assert any(row["entities"] for row in found)
        lowest = [min(one.scores, default=1) for one in tagged]
        assert [row["uncertainty"] for row in found] == pytest.approx([1 - low for low in lowest])
        assert client.post("/tag", json={"texts": []}).json() == []
        for refused in ({"texts": ["a"] * 65}, {"texts": ["a" * 20_001]}, {"texts": [7]}, {}):
            assert client.post("/tag", json=refused).status_code == 422


def test_the_container_copies_what_there_is_in_the_versions_that_are_tested():
    copied = re.findall(r"^COPY (\S+)", block("dockerfile"), re.MULTILINE)
    assert copied == ["requirements.txt", "tagloop", "serve.py", "runs/mine"]
    assert all((REPO / name).exists() for name in copied[:2])
    tested = re.findall(r"^fastapi==\S+", (REPO / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert {*re.findall(r"fastapi==\S+", PAGE)} == {*tested}
    commands = [line for line in PAGE.split("\n") if "uvicorn==" in line]
    assert len({re.search(r"uvicorn==\S+", line)[0] for line in commands}) == 1
