"""Launch files, and a recipe carried out by two processes of a real torchrun."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hortus.errors import ConfigError
from hortus.launch import launch_text, write_launch_file

RECIPE = """
name: tiny
folder: {folder}
stages:
  corpus: {{sources: [{text}], language: en, validation_fraction: 0.2}}
  tokenizer: {{vocab_size: 270, monolingual_check: false}}
  shards: {{}}
  training: {{stage: pretrain, num_layers: 1, hidden_size: 16, num_heads: 2, sequence_length: 16, steps: 6,
             batch_size: 4, checkpoint_every: 2, log_every: 2, device: cpu, dtype: float32}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(12):
        (texts / f"{number}.txt").write_text(f"To be or not to be, {number} times over. " * 20)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(folder=tmp_path / "run", text=texts))
    return path


def test_one_machine(recipe: Path) -> None:
    path = write_launch_file("torchrun", recipe, ["training.tensor_parallel=2"], processes=4)
    lines = path.read_text().splitlines()
    assert path.name == "tiny.torchrun.sh" and path.stat().st_mode & 0o100
    command = f"run {recipe} --set training.tensor_parallel=2 --resume"
    assert lines[2] == f"hortus {command} --until shards"
    assert lines[3] == f"exec torchrun --standalone --nproc-per-node 4 --max-restarts 3 -m hortus {command}"


@pytest.mark.parametrize("kind", ["torchrun", "slurm"])
def test_several_machines(kind: str, recipe: Path) -> None:
    text = launch_text(kind, recipe, nodes=2, processes=8)
    assert "--nnodes 2 --nproc-per-node 8 --max-restarts 3" in text and "--rdzv-backend c10d" in text
    assert ("#SBATCH --nodes=2" in text and "#SBATCH --gpus-per-node=8" in text) == (kind == "slurm")
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_what_cannot_be_launched_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tensor_parallel=3 does not divide 4"):
        launch_text("slurm", recipe, ["training.tensor_parallel=3"], processes=4)
    with pytest.raises(ConfigError, match="--nodes 0"):
        launch_text("slurm", recipe, nodes=0)
    alone = tmp_path / "alone.yaml"
    alone.write_text("name: a\nfolder: a\nstages:\n  corpus: {sources: [stdlib]}\n")
    with pytest.raises(ConfigError, match="no stage that many processes"):
        launch_text("slurm", alone)


@pytest.mark.slow
def test_the_file_trains_in_two_processes(recipe: Path, tmp_path: Path) -> None:
    script = write_launch_file("torchrun", recipe, processes=2).read_text()
    python = shlex.quote(sys.executable)
    script = script.replace("exec torchrun", f"exec {python} -m torch.distributed.run")
    script = script.replace("\nhortus run", f"\n{python} -m hortus run")
    subprocess.run(["sh", "-c", script], check=True)
    record = json.loads((tmp_path / "run" / "stages" / "training.json").read_text())
    assert record["done"] and record["numbers"]["steps"] == 6
    step = tmp_path / "run" / "training" / "run" / "checkpoints" / "step-00000006"
    assert len(list((step / "model").glob("shard-*"))) == 2
    import hortus

    assert hortus.load(str(tmp_path / "run" / "training" / "model")).generate("To be", max_new_tokens=2)
