"""Files that start a recipe on many devices: a shell script for torchrun, a batch job for SLURM.

The stages before the first parallel one (text, tokenizer, shards) are run by one process; then torchrun
starts one process a device. A failed process makes torchrun start all anew, from the last checkpoint, up to
`RESTARTS` times; a job that SLURM requeues goes on too, for both pass --resume.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from hortus.artifact import replacing_file
from hortus.errors import ConfigError
from hortus.recipe import Recipe, read_recipe

__all__ = ["RESTARTS", "launch_text", "write_launch_file"]

RESTARTS = 3
PORT = 29_400


def write_launch_file(
    kind: str, recipe: Path, assignments: Sequence[str] = (), *, nodes: int = 1, processes: int = 1
) -> Path:
    """Write RECIPE.torchrun.sh or RECIPE.slurm beside the recipe.

    Raises:
        ConfigError: the recipe is not valid or has no parallel stage; a number below 1; numbers of processes
            that its `tensor_parallel` does not divide.
    """
    text = launch_text(kind, recipe, assignments, nodes=nodes, processes=processes)
    path = recipe.with_suffix(".slurm" if kind == "slurm" else ".torchrun.sh")
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
    return path


def launch_text(
    kind: str, recipe: Path, assignments: Sequence[str] = (), *, nodes: int = 1, processes: int = 1
) -> str:
    """The file's content; arguments and errors are those of `write_launch_file`."""
    read = read_recipe(recipe, assignments)
    names = [planned.name for planned in read.stages if planned.stage.parallel]
    if not names:
        raise ConfigError(f"{recipe} has no stage that many processes carry out", allowed="pretrain")
    _check(read, nodes, processes)
    settings = [part for assignment in assignments for part in ("--set", assignment)]
    command = shlex.join(["run", str(recipe), *settings, "--resume"])
    before = read.stages[max(0, [planned.name for planned in read.stages].index(names[0]) - 1)].name
    agent = f"--nproc-per-node {processes} --max-restarts {RESTARTS}"
    prepare = f"hortus {command} --until {shlex.quote(before)}"
    train = f"-m hortus {command}"
    if kind == "slurm":
        return _SLURM.format(
            name=read.name,
            nodes=nodes,
            processes=processes,
            prepare=prepare,
            agent=agent,
            train=train,
            port=PORT,
        )
    if nodes == 1:
        return _ALONE.format(prepare=prepare, agent=agent, train=train)
    return _TOGETHER.format(nodes=nodes, prepare=prepare, agent=agent, train=train, port=PORT)


def _check(recipe: Recipe, nodes: int, processes: int) -> None:
    if nodes < 1 or processes < 1:
        raise ConfigError(f"--nodes {nodes} --processes {processes}", allowed="1 or more")
    for planned in recipe.stages:
        shared = getattr(planned.config, "tensor_parallel", 1)
        if processes % shared:
            raise ConfigError(
                f"{planned.name}.tensor_parallel={shared} does not divide {processes} processes a node",
                do="matrices are divided inside a node, where devices talk fastest",
            )


_ALONE = """#!/bin/sh
set -e
{prepare}
exec torchrun --standalone {agent} {train}
"""

_TOGETHER = """#!/bin/sh
# Start it on each of the {nodes} nodes: sh FILE HOST_OF_THE_FIRST NUMBER_OF_THIS_NODE (0 is the first).
# The run's folder lies on a file system that all of them share.
set -e
if [ "$2" = 0 ]; then
    {prepare}
fi
exec torchrun --nnodes {nodes} {agent} \\
    --rdzv-backend c10d --rdzv-endpoint "$1:{port}" --rdzv-id hortus {train}
"""

_SLURM = """#!/bin/sh
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={processes}
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output={name}-%j.log
# The run's folder lies on a file system that all nodes share.
set -e
{prepare}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun torchrun --nnodes {nodes} {agent} \\
    --rdzv-backend c10d --rdzv-endpoint "$first:{port}" --rdzv-id "$SLURM_JOB_ID" {train}
"""
