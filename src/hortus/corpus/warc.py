"""Web archives: the main text of the HTML pages in a WARC file, by resiliparse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hortus.corpus.documents import Document
from hortus.corpus.files import ReadLog
from hortus.errors import DataError
from hortus.registry import require

__all__ = ["read_warc"]

MAX_PAGE_BYTES = 16_000_000


def read_warc(path: Path, repair: bool, log: ReadLog) -> Iterator[Document]:
    """One document a page that answered 200 with HTML and has main text; `url` is its address.

    Raises:
        DataError: the archive breaks off and `repair` is off.
        DeviceError: resiliparse is not installed.
    """
    archive = require("fastwarc.warc", extra="corpus")
    parse = require("resiliparse.parse.html", extra="corpus")
    encoding = require("resiliparse.parse.encoding", extra="corpus")
    extract = require("resiliparse.extract.html2text", extra="corpus").extract_plain_text
    try:
        with path.open("rb") as stream:
            for record in archive.ArchiveIterator(stream, record_types=archive.WarcRecordType.response):
                kind = (record.http_content_type or "") if record.http_headers else ""
                if "html" not in kind or record.http_headers.status_code != 200:
                    log.skipped["archive records without a page"] += 1
                    continue
                page = record.reader.read(MAX_PAGE_BYTES)
                charset = record.http_charset or encoding.detect_encoding(page)
                tree = parse.HTMLTree.parse_from_bytes(page, charset)
                text = extract(tree, main_content=True, alt_texts=False).encode("utf-8", "ignore").decode()
                if text.strip():
                    yield Document(text, str(path), url=record.headers.get("WARC-Target-URI"))
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        if not repair:
            raise DataError(
                f"{path} is no whole web archive: {error}", do="fetch it again, or set repair: true"
            ) from error
        log.broken[str(path)] += 1
