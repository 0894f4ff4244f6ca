"""A small DistilBERT on SST-2 and TREC: all weights and adapters, beside two baselines.

The network is trained from nothing on the texts of both tasks and of AG News (masked language modelling),
then finetuned by `hortus.objectives.finetune`, as `hortus finetune` does it. The baselines are the largest
class, and logistic regression on words and pairs of words (scikit-learn). Scores are accuracies on the tasks'
own test sets; what is chosen (the evaluation) is chosen on a tenth of the training rows.

Data: a folder with sst2/{train,test}.tsv (sentence TAB label), trec/{train_5500,TREC_10}.label and
agnews/train_part.tsv (text TAB label).

    python benchmarks/finetuning.py --data FOLDER
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from hortus.artifact import write_json
from hortus.device import describe_machine
from hortus.language import LanguageModel
from hortus.models import build_network, save_network
from hortus.objectives.finetune import finetune
from hortus.objectives.finetune_config import FinetuneConfig
from hortus.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "finetuning.json"
VOCABULARY = 6000
LONGEST = 64  # tokens; one text in a thousand of SST-2 and none of TREC is longer
SHAPE = {
    "model_type": "distilbert",
    "dim": 128,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 512,
    "max_position_embeddings": LONGEST,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "all weights": {"learning_rate": 5e-4, "epochs": 5},
    "adapters": {"learning_rate": 3e-3, "epochs": 6, "lora_rank": 8},
}

Rows = list[tuple[str, str]]


def main() -> None:
    """Pretrain, finetune, measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--pretraining-epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {"SST-2": read_sst2(options.data), "TREC": read_trec(options.data)}
    began = time.process_time()
    base = pretrain(options, tasks)
    minutes = {"pretraining": (time.process_time() - began) / 60}
    results: dict[str, Any] = {
        "machine": describe_machine(),
        "shape": SHAPE,
        "accuracy": {},
        "processor_minutes": minutes,
    }
    for name, (training, test) in tasks.items():
        scores = baselines(training, test)
        file = write_rows(training, options.output / f"{name}.jsonl")
        for way, settings in SETTINGS.items():
            began = time.process_time()
            folder = options.output / name / way.replace(" ", "-")
            config = FinetuneConfig(
                batch_size=32,
                max_length=LONGEST,
                truncate=True,
                evaluate_every=200,
                metric="accuracy",
                metric_goal="highest",
                warmup_samples=1000,
                device="cpu",
                compile="off",
                **settings,
            )
            finetune(base, "classify", file, folder, config)
            scores[way] = accuracy(folder / "model", test)
            minutes[f"{name}, {way}"] = (time.process_time() - began) / 60
        results["accuracy"][name] = scores
        write_json(RESULTS, results)
    print(json.dumps(results, indent=2))


def read_sst2(folder: Path) -> tuple[Rows, Rows]:
    """Sentences and their labels, for training and for the test."""
    return tuple(  # type: ignore[return-value]
        [
            (text, label)
            for line in (folder / "sst2" / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
            for text, label in [line.rsplit("\t", 1)]
        ]
        for part in ("train", "test")
    )


def read_trec(folder: Path) -> tuple[Rows, Rows]:
    """Questions and their coarse classes, for training and for the test."""
    parts = []
    for part in ("train_5500", "TREC_10"):
        lines = (folder / "trec" / f"{part}.label").read_text(encoding="latin-1").splitlines()
        parts.append([(line.partition(" ")[2], line.partition(":")[0]) for line in lines if line.strip()])
    return parts[0], parts[1]


def pretrain(options: argparse.Namespace, tasks: dict[str, tuple[Rows, Rows]]) -> Path:
    """A DistilBERT that has restored hidden words of the training texts."""
    news = (options.data / "agnews" / "train_part.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.rpartition("\t")[0] for line in news]
    texts += [text for training, _ in tasks.values() for text, _ in training]
    tokenizer = wordpiece(texts)
    torch.manual_seed(0)
    network = build_network(SHAPE | {"vocab_size": tokenizer.vocab_size})
    save_network(network, options.output / "fresh", extra=tokenizer.save)
    file = write_rows([(text, "") for text in texts], options.output / "texts.jsonl")
    config = FinetuneConfig(
        epochs=options.pretraining_epochs,
        batch_size=64,
        learning_rate=1e-3,
        warmup_samples=6000,
        max_length=LONGEST,
        truncate=True,
        validation_share=0.02,
        evaluate_every=500,
        device="cpu",
        compile="off",
    )
    finetune(options.output / "fresh", "lm", file, options.output / "base", config)
    return options.output / "base" / "model"


def wordpiece(texts: list[str]) -> Tokenizer:
    """BERT's kind of tokenizer, trained on the texts."""
    core = Core(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    core.train_from_iterator(texts, trainer)
    return Tokenizer(core)


def baselines(training: Rows, test: Rows) -> dict[str, float]:
    """Accuracy of the largest class and of logistic regression on words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = [label for _, label in training]
    largest = max(sorted(set(labels)), key=labels.count)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    words = make_pipeline(vectors, LogisticRegression(C=10, max_iter=2000))
    words.fit([text for text, _ in training], labels)
    return {
        "largest class": sum(label == largest for _, label in test) / len(test),
        "bag of words": float(words.score([text for text, _ in test], [label for _, label in test])),
    }


def accuracy(folder: Path, test: Rows) -> float:
    """Share of the test texts whose label the model finds."""
    model = LanguageModel.load(folder, device="cpu")
    found = model.classify([text for text, _ in test], truncate=True, progress=False)
    return sum(label.label == right for label, (_, right) in zip(found, test, strict=True)) / len(test)


def write_rows(rows: Rows, path: Path) -> Path:
    """JSONL of texts and labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
