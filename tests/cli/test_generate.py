"""hortus generate and hortus chat as a user meets them."""

import io
import json

import pytest
import torch

import hortus
from hortus.cli import main
from hortus.language import LanguageModel
from hortus.models.bloom import Bloom, BloomConfig
from hortus.tokenizer import TokenizerConfig, train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["The quick brown fox\n"] * 9, TokenizerConfig(vocab_size=290))
    network = Bloom(
        BloomConfig(
            vocab_size=tokenizer.vocab_size, hidden_size=32, num_layers=1, num_heads=2, initializer_range=0.5
        )
    )
    place = tmp_path_factory.mktemp("model") / "tiny"
    LanguageModel(network, tokenizer).save(place)
    return str(place)


def run_main(arguments: list[str], capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_text_is_continued(folder, capsys) -> None:
    options = {"max_new_tokens": 9, "temperature": 0.7, "seed": 3}
    flags = ["--max-new-tokens", "9", "--temperature", "0.7", "--seed", "3"]
    code, out, _ = run_main(["generate", folder, "The quick", *flags], capsys)
    expected = hortus.load(folder).generate("The quick", **options)
    assert (code, out) == (0, expected + "\n")
    code, out, _ = run_main(["generate", folder, "The quick", *flags, "--json"], capsys)
    assert json.loads(out) == {"text": "The quick", "generated": expected}


def test_every_setting_is_a_flag(folder, capsys) -> None:
    flags = "--top-k 5 --top-p 0.9 --repetition-penalty 1.2 --stop x --eos-token-id 2 --max-new-tokens 2"
    assert run_main(["generate", folder, "a", *flags.split()], capsys)[0] == 0
    code, out, _ = run_main(["generate", "--help"], capsys)
    assert code == 0 and "sample among the k likeliest tokens" in " ".join(out.split())


def test_files_of_texts(folder, capsys, tmp_path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"text": "The", "id": 1}, {"text": "", "id": 2}]
    source.write_text("\n".join(map(json.dumps, rows)) + "\n")
    arguments = ["generate", folder, "--input", str(source), "--max-new-tokens", "4"]
    code, out, _ = run_main([*arguments, "--output", str(target)], capsys)
    assert (code, out) == (0, "")
    expected = hortus.load(folder).generate(["The", ""], max_new_tokens=4)
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert written == [row | {"generated": new} for row, new in zip(rows, expected, strict=True)]
    assert [json.loads(line) for line in run_main(arguments, capsys)[1].splitlines()] == written
    assert json.loads(run_main([*arguments, "--json"], capsys)[1]) == {"rows": written}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{', "line 2 is not JSON"),
        ('{"txt": "a"}', 'line 1 has no "text"'),
        ("[1]", 'line 1 has no "text"'),
    ],
)
def test_faulty_lines_are_named(folder, capsys, tmp_path, content, message) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    code, out, err = run_main(["generate", folder, "--input", str(source)], capsys)
    assert code == 2 and out == "" and message in err


def test_mistakes_give_one_line(folder, capsys, tmp_path) -> None:
    for arguments, message in (
        ([folder], "generate needs one source"),
        ([folder, "a", "--input", "b"], "generate needs one source"),
        ([folder, "a", "--temperature", "-1"], "temperature=-1.0"),
        ([str(tmp_path), "a"], "has no config.json"),
        ([folder, "a", "--input", "b", "--seed", "x"], "x"),
    ):
        code, out, err = run_main(["generate", *arguments], capsys)
        assert code == 2 and out == "" and err.count("\n") == 1 and message in err


def test_chat(folder, capsys, monkeypatch) -> None:
    talk = "The quick\n/help\n/reset\nThe quick\n\n/quit\nnever read\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(talk))
    code, out, err = run_main(["chat", folder, "--max-new-tokens", "6"], capsys)
    answer = hortus.load(folder).generate("The quick\n", max_new_tokens=6, stop="\n")
    assert code == 0 and out == f"{answer}\n{answer}\n" and err.count("/reset forgets") == 2


def test_chat_remembers_and_ends_with_the_input(folder, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("The\nfox\n"))
    code, out, _ = run_main(["chat", folder, "--system", "Be brief.", "--max-new-tokens", "6"], capsys)
    model = hortus.load(folder)
    first = model.generate("Be brief.\nThe\n", max_new_tokens=6, stop="\n")
    second = model.generate(f"Be brief.\nThe\n{first.strip()}\nfox\n", max_new_tokens=6, stop="\n")
    assert (code, out) == (0, f"{first}\n{second}\n")


def test_an_interrupted_answer_keeps_the_talk_going(folder, capsys, monkeypatch) -> None:
    def interrupted(self, prompt, **options):
        yield "part"
        raise KeyboardInterrupt

    monkeypatch.setattr(LanguageModel, "stream", interrupted)
    monkeypatch.setattr("sys.stdin", io.StringIO("The\nfox\n"))
    code, out, _ = run_main(["chat", folder], capsys)
    assert (code, out) == (0, "part\npart\n")


def test_packed_weights_write_text_too(folder, capsys) -> None:
    code, out, _ = run_main(["generate", folder, "The", "--weights", "int8", "--max-new-tokens", "5"], capsys)
    packed = hortus.load(folder, weights="int8")
    assert code == 0 and out == packed.generate("The", max_new_tokens=5) + "\n"
    assert packed.network.packing == "int8"
