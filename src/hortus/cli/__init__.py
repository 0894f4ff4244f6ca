"""The command line: one file a verb, imported when it is called, so that `hortus --help` loads no torch.

Results go to stdout, progress to stderr. Exit 0 on success, 2 with one clear line on a mistake of the
user's (a traceback with --debug), 130 on Ctrl-C.
"""

from __future__ import annotations

import os
import sys

import cyclopts

import hortus
from hortus.errors import ConfigError, HortusError, nearest

__all__ = ["app", "main"]

app = cyclopts.App(
    name="hortus",
    help="An open-model workbench: data in, a trained, evaluated, explained and served model out.",
    version=hortus.__version__,
    help_format="plaintext",
)

# verb -> (where its command or app lives, one line of help). Help stands here so that no verb is imported.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("hortus.cli.run:run", "Carry out a recipe: stages, cache, report."),
    "report": ("hortus.cli.run:report", "Print where a run stands and its numbers."),
    "corpus": ("hortus.cli.corpus:app", "Build a clean corpus from files and folders."),
    "tokenizer": ("hortus.cli.tokenizer:app", "Train, measure and use tokenizers."),
    "pretrain": ("hortus.cli.pretrain:pretrain", "Train a BLOOM of any size on a corpus."),
    "evaluate": ("hortus.cli.evaluate:evaluate", "Score a model on tasks, with spread and errors."),
    "finetune": ("hortus.cli.finetune:finetune", "Train a model further: texts, labels or answers."),
    "distill": ("hortus.cli.distill:distill", "Make a smaller model that answers as a larger one does."),
    "generate": ("hortus.cli.generate:generate", "Continue a text."),
    "convert": ("hortus.cli.convert:convert", "Turn pickled weights into safetensors."),
    "share": ("hortus.cli.share:share", "Upload a model folder and its card to a hub."),
    "predict": ("hortus.cli.predict:predict", "Rank, embed, fill masks, classify, answer: JSONL in and out."),
    "chat": ("hortus.cli.chat:chat", "Talk to a model in the terminal."),
    "serve": ("hortus.cli.serve:serve", "Serve a model over an OpenAI-compatible HTTP API."),
    "export": ("hortus.cli.export:export", "Write a model for transformers, onnxruntime or llama.cpp."),
    "prompts": ("hortus.cli.prompts:app", "List, render, check and write prompt templates."),
    "budget": ("hortus.cli.budget:app", "Plan a run from a budget; fit scaling laws; run ablations."),
    "studio": ("hortus.cli.studio:studio", "Find the wording that works, in the browser; deploy it."),
    "retrieval": ("hortus.cli.retrieval:app", "Probe what a model knows; retrieve where it pays."),
    "topics": ("hortus.cli.topics:app", "Fit topic models and choose their number."),
    "affinity": ("hortus.cli.affinity:app", "Predict binding affinity from structures."),
    "counterfactual": ("hortus.cli.counterfactual:app", "Predict from tables and show what to change."),
}

for _verb, (_place, _help) in VERBS.items():
    app.command(_place, name=_verb, help=_help)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    try:
        _check_verb(arguments)
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except HortusError as error:
        _fail(error, debug)
    except cyclopts.CycloptsError as error:
        _fail(error, debug)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, say) has gone; silence the interpreter's own complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) and not isinstance(code, bool) else 0)


def _check_verb(arguments: list[str]) -> None:
    # cyclopts would import every verb to word this error; here none is.
    if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
        raise ConfigError(f"unknown command {arguments[0]!r}", do=nearest(arguments[0], VERBS))


def _fail(error: Exception, debug: bool) -> None:
    if debug:
        raise error
    line = " ".join(str(error).split())
    print(f"hortus: {line}", file=sys.stderr)
    sys.exit(2)
