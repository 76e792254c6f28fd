"""What the benchmark can be told; every field is a command-line flag."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.benchmarks import measure
from experiments.benchmarks.architectures import ARCHITECTURES
from experiments.benchmarks.loops import LOOPS, PLAIN
from experiments.benchmarks.machine import cuda_at_hand
from experiments.benchmarks.subjects import Kind, LoopKind, SingleKind, VectorKind
from lr_env.errors import InvalidArgumentError, UnknownNameError


@dataclass(frozen=True)
class BenchConfig:
    """Time vector environments against plain loops and single environments."""

    architectures: tuple[str, ...] = tuple(ARCHITECTURES)
    """Networks, by the names of the tables."""
    loops: tuple[str, ...] = tuple(LOOPS)
    """Loops of one training, by the names of the tables; the fastest plain one is the measure."""
    singles: tuple[int, ...] = (1, 16)
    """Sizes of SyncVectorEnv; the largest of AsyncVectorEnv."""
    lanes: tuple[int, ...] = (1, 16, 64, 256, 1024)
    """Sizes of the vector environment in one process, eager."""
    compiled: tuple[int, ...] = (64, 256, 1024)
    """Sizes of the compiled one, in one process; the smallest and the largest of them alone where
    compiling takes long."""
    divided: tuple[int, ...] = (1024,)
    """Sizes of the compiled one that is divided among two processes."""
    cuda: tuple[int, ...] = (256, 1024, 8192, 65536)
    """Sizes of the vector environment on a GPU, where there is one."""
    ending: bool = True
    """Whether trainings that end and begin anew are timed as well."""
    meta_training: bool = True
    """Whether a piece of a meta-training is timed."""
    rounds: int = measure.ROUNDS
    """Turns that each line of a table gets."""
    seconds: float = measure.SECONDS
    """Seconds of a turn, at least."""
    out: Path = Path("runs/bench")
    """Folder for benchmarks.json and benchmarks.md."""
    page: Path | None = Path("docs/benchmarks.md")
    """Where the page is written besides."""

    def __post_init__(self) -> None:
        for name, known in (("architectures", ARCHITECTURES), ("loops", LOOPS)):
            for own in getattr(self, name):
                if own not in known:
                    raise UnknownNameError(name.removesuffix("s"), own, known)
        if not set(self.loops) & set(PLAIN):
            raise InvalidArgumentError(
                f"loops must hold a plain one, which all else is measured by: {', '.join(PLAIN)}."
            )
        if not self.lanes:
            raise InvalidArgumentError("lanes must hold a size, and not none.")
        sizes = (*self.singles, *self.lanes, *self.compiled, *self.divided, *self.cuda)
        for name, least in (("rounds", self.rounds), *(("sizes", own) for own in sizes)):
            if least < 1:
                raise InvalidArgumentError(f"{name} must be at least 1, not {least}.")

    def kinds(self, architecture: str) -> list[Kind]:
        """Return the lines of an architecture's table."""
        own = ARCHITECTURES[architecture]
        ending = VectorKind(own.ending, ending=True)
        compiled = sorted(set(self.compiled))
        if own.weight > 1.0:
            compiled = sorted({*compiled[:1], *compiled[-1:]})
        kinds: list[Kind] = [
            *(LoopKind(name) for name in self.loops),
            *(SingleKind(num, False) for num in self.singles),
            *(SingleKind(num, True) for num in self.singles[-1:]),
            *(VectorKind(num) for num in self.lanes),
            *[ending] * self.ending,
            *(VectorKind(num, compile=True) for num in compiled),
            *[replace(ending, compile=True)] * (self.ending and bool(compiled)),
            *(VectorKind(num, workers=2, compile=True) for num in self.divided),
            *(VectorKind(num, device="cuda") for num in self.cuda if cuda_at_hand()),
        ]
        return list(dict.fromkeys(kinds))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        page = None if self.page is None else str(self.page)
        return {**asdict(self), "out": str(self.out), "page": page}
