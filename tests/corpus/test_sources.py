"""Catalogues, licences, tables, archives and hub data sets; the report, the card and the tuning page."""

import gzip
import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from hortus.corpus import CorpusConfig, build_corpus, hub
from hortus.corpus.bounds import Bounds
from hortus.corpus.files import ReadLog
from hortus.corpus.reporting import flow_picture, write_corpus_report
from hortus.corpus.sources import plan_partitions, read_sources, source_files
from hortus.corpus.tuning import _server, measure_sample, name_bounds_in_recipe, tuning_page
from hortus.errors import ConfigError, DataError


def read(*sources, **settings):
    return list(read_sources(CorpusConfig(sources=tuple(map(str, sources)), **settings), ReadLog()))


def test_a_catalogue_states_language_licence_and_cleaning(tmp_path):
    (tmp_path / "news.jsonl").write_text(
        '{"body": "<p>Habari za leo</p>", "link": "http://a.org"}\n{"body": " "}\n'
        '{"body": "x", "language": "en"}\n'
    )
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        "sw-news: {path: news.jsonl, language: sw, licence: cc-by-4.0,\n  provenance: fetched by hand,\n"
        "  text_column: body, url_column: link, cleaning: [strip_markup, drop_empty]}\n"
    )
    documents = read(catalogue)
    assert [(d.text, d.language, d.licence, d.url) for d in documents] == [
        ("Habari za leo", "sw", "cc-by-4.0", "http://a.org"),
        ("x", "en", "cc-by-4.0", None),
    ]
    assert documents[0].source == f"sw-news:{tmp_path / 'news.jsonl'}"
    statistics = build_corpus(CorpusConfig(sources=(str(catalogue),), workers=1), tmp_path / "out")
    assert statistics.catalogue["sw-news"]["provenance"] == "fetched by hand"
    assert statistics.licences == {"cc-by-4.0": 2} and statistics.sources == {"sw-news": 2}
    assert source_files(CorpusConfig(sources=(str(catalogue),))) == [tmp_path / "news.jsonl", catalogue]
    catalogue.write_text("a: {paths: x}\n")
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        read(catalogue)


def test_the_language_of_a_catalogue_is_used(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "c.yml").write_text("a: {path: a.txt, language: sw}\n")
    statistics = build_corpus(CorpusConfig(sources=(str(tmp_path / "c.yml"),), workers=1), tmp_path / "out")
    assert list(statistics.languages) == ["sw"]


def test_source_trees_carry_licences(tmp_path):
    (tmp_path / "LICENSE").write_text(
        "Permission is hereby granted, free of charge, to any person obtaining a copy"
    )
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.c").write_text("// SPDX-License-Identifier: GPL-3.0\nint x;\n")
    assert [(d.text[:5], d.licence) for d in read(tmp_path)] == [("x = 1", "mit"), ("// SP", "gpl-3.0")]


def test_tables_and_nested_columns(tmp_path):
    (tmp_path / "a.csv").write_text('text,language\n"two\nlines",fr\n"a, b",\n')
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(b"language\ttext\nde\tein Wort\n"))
    assert [(d.text, d.language) for d in read(tmp_path)] == [
        ("two\nlines", "fr"),
        ("a, b", None),
        ("ein Wort", "de"),
    ]
    (tmp_path / "c.jsonl").write_text('{"content": {"text": "inner", "lang": "it"}}\n')
    nested = read(tmp_path / "c.jsonl", text_column="content.text", language_column="content.lang")
    assert [(d.text, d.language) for d in nested] == [("inner", "it")]
    with pytest.raises(DataError, match="no column 'body'"):
        read(tmp_path / "a.csv", text_column="body")


def archive(path, pages):
    with gzip.open(path, "wb") as file:
        for address, status, body in pages:
            http = (
                f"HTTP/1.1 {status} OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n".encode()
                + body.encode()
            )
            head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {address}\r\n"
            head += f"WARC-Record-ID: <urn:uuid:{address}>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
            head += f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
            file.write(head.encode() + http + b"\r\n\r\n")


def test_web_archives_give_the_main_text(tmp_path):
    pytest.importorskip("resiliparse")
    text = "<p>" + "A sentence of the article that stands in the page. " * 6 + "</p>"
    page = f"<html><body><nav><a href='/'>Home</a></nav><article>{text}</article></body></html>"
    archive(tmp_path / "a.warc.gz", [("http://a.org/x", 200, page), ("http://a.org/y", 404, page)])
    (document,) = read(tmp_path)
    assert document.url == "http://a.org/x" and document.text.startswith("A sentence of the article")
    assert "Home" not in document.text


def test_hub_data_sets_are_planned_by_file_with_their_licence(tmp_path, monkeypatch):
    (tmp_path / "train.jsonl").write_text('{"text": "from the hub"}\n')
    files = [SimpleNamespace(rfilename=name) for name in ("README.md", "train.jsonl", "x.png")]
    info = SimpleNamespace(sha="abc123", siblings=files, card_data={"license": "cc0-1.0"})
    monkeypatch.setattr(hub, "_info", lambda name, revision: info)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: str(tmp_path / "train.jsonl"))
    (document,) = read("hub:someone/texts")
    assert (document.text, document.licence) == ("from the hub", "cc0-1.0")
    assert document.source == "hub:someone/texts@abc123:train.jsonl"
    (partition,) = plan_partitions(CorpusConfig(sources=("hub:someone/texts:*.jsonl",)), ReadLog())
    assert partition.source.provenance == "data set someone/texts at abc123"
    with pytest.raises(DataError, match="holds no readable file"):
        read("hub:someone/texts:*.csv")
    with pytest.raises(DataError, match="is no data set"):
        read("hub:texts")


ENGLISH = "It was the best of times and it was the worst of times, but then nobody had known it to be so. "


@pytest.fixture
def corpus(tmp_path):
    texts = [ENGLISH + f"Number {i} of them." for i in range(8)] + ["</script><b>short", "short"]
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"text": t, "language": "en"}) + "\n" for t in texts)
    )
    return CorpusConfig(
        sources=(str(tmp_path / "in.jsonl"),), workers=1, steps=("length", "language", "filters")
    )


def test_report_and_card(corpus, tmp_path):
    statistics = build_corpus(corpus, tmp_path / "out")
    page = write_corpus_report(tmp_path / "out").read_text()
    assert "Bytes through the steps" in page and "too few words" in page and "<svg" in page
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{statistics.documents} documents" in card and "| too few words |" in card
    assert "<&>" not in flow_picture({"<&>": {"bytes_in": 3, "bytes_out": 2}})


def test_the_tuning_page_holds_the_sample_and_saves_bounds(corpus, tmp_path):
    sample = measure_sample(corpus, per_language=9)
    assert len(sample["en"]) == 9 and sample["en"][0]["values"]["words"] > 20
    page = tuning_page(sample, Bounds())
    assert page.count("</script>") == 1 and '"stop_words": 0.3' in page
    path = tmp_path / "bounds.yaml"
    with _server(sample, Bounds(), path, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/"
        try:
            served = urllib.request.urlopen(address).read().decode()
            token = served.split('token = "')[1].split('"')[0]
            body = json.dumps({"en": {"stop_words": 0.2, "unknown": 1}, "zz": {"stop_words": 0}}).encode()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(urllib.request.Request(address, body, {"X-Token": "other"}))
            urllib.request.urlopen(urllib.request.Request(address, body, {"X-Token": token}))
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(urllib.request.Request(address, b"[", {"X-Token": token}))
        finally:
            server.shutdown()
            thread.join()
    assert Bounds(path).own == {"en": {"stop_words": 0.2}}


def test_saved_bounds_are_named_in_the_recipe(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x\nstages:\n  corpus:\n    # why\n    sources: [a]\n  shards: {}\n")
    name_bounds_in_recipe(recipe, tmp_path / "b.yaml")
    assert recipe.read_text().splitlines()[2:5] == [
        "  corpus:",
        f"    bounds: {tmp_path / 'b.yaml'}",
        "    # why",
    ]
    recipe.write_text("stages: {corpus: {}}\n")
    with pytest.raises(ConfigError, match="has no stage `corpus:`"):
        name_bounds_in_recipe(recipe, tmp_path / "b.yaml")
