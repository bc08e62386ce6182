"""Look at the tokens of the rows that are here, before a GPU sees any: what `retune preflight` says.

The thinking is in `retune.preflight.token_audit` and, of a classifier, in `text_audit`, which `validate` asks too:
there their findings are part of the verdict.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from retune.config import params
from retune.config.common import SplitShares
from retune.config.generation import turns_of
from retune.data import answer_counts, replay, replay_sampling, row_table, task_data
from retune.data.answer_counts import AnswerCounts
from retune.data.finding import Finding
from retune.errors import WrongUse
from retune.evaluation import plots
from retune.lineage import parent_version
from retune.models import base_model, chat_template
from retune.preflight import base_check, compute_estimate, memory_check, text_audit, token_audit
from retune.system import dvc_pipeline, git

SPLITS, CURATED, RAW = Path("data/splits"), Path("data/curated/rows.parquet"), Path("data/raw")
GENERAL = Path("data/curated/general.parquet")
TRAINED = "models/reports/train.json"
PICTURE = Path(".retune/preflight/lengths.png")


@dataclass(frozen=True)
class Audited:
    rows_from: str
    base: dict[str, str]  # its name, and its licence in words
    findings: list[Finding]
    figures: dict[str, Any]
    answers: AnswerCounts
    general: dict[str, Any] | None  # figures of general examples, none of which is a row
    effort: compute_estimate.ComputeEstimate
    memory: memory_check.MemoryVerdict  # on this machine

    @property
    def ok(self) -> bool:
        return all(finding.success for finding in self.findings)

    def report(self) -> dict[str, Any]:
        memory = self.memory
        judged = {"verdict": memory.verdict, "told": memory.message, "would_fit": memory.suggestions}
        return {"ok": self.ok, **asdict(self), "memory": judged}


@dataclass(frozen=True)
class AuditedTexts:
    """The same of a classifier's texts, without an estimate of time and memory."""

    rows_from: str
    base: dict[str, str]
    findings: list[Finding]
    figures: dict[str, Any]

    @property
    def ok(self) -> bool:
        return all(finding.success for finding in self.findings)

    def report(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def run_text_preflight(config: params.Classify, picture: Path = PICTURE) -> AuditedTexts:
    """Count the tokens of the texts of this folder, and draw their lengths. Raises WrongUse where there are no rows."""
    base_check.require(config.train)
    rows, _, where = _rows(config.task)
    audit = text_audit.of_base(rows, config.train, config.validate)
    plots.lengths(audit.lengths, config.train.max_tokens, picture)
    return AuditedTexts(where, _base(config), audit.findings, audit.figures)


def _base(config: params.Params) -> dict[str, str]:
    return {"name": config.train.base.name, "licence": base_model.licence_here(config.train.base.name)}


def run_preflight(config: params.Instruct | params.Prefer, picture: Path = PICTURE) -> Audited:
    """Audit the rows of this folder as params.yaml would train on them; draw their lengths.

    Raises WrongUse where there are no rows.
    """
    base_check.require(config.train)
    rows, side, where = _rows(config.task)
    limits = config.validate.preflight
    render = chat_template.renderer(turns_of(config.train))
    rows_audit = token_audit.of_base(rows, config.train, limits, render)
    apart = token_audit.leaked(rows, side, limits, config.validate.max_leaked_rows)
    others = token_audit.of_general(_examples(config), config.train, limits, render)
    plots.lengths(rows_audit.lengths, config.train.max_tokens, picture)
    findings = [*rows_audit.findings, apart, *(others.findings if others else [])]
    if isinstance(config, params.Prefer):
        tested = rows[side == "test"] if where == str(SPLITS) else rows
        findings += token_audit.single_answers(rows, tested, config.train.method, config.promote.metric, limits)
    share = _learned(side, where == str(SPLITS), config.split)
    learned = round(share * (rows_audit.figures["trained_tokens"] + _mixed_in(rows_audit, others, config.train)))
    replay_figures = others.figures if others else None
    return Audited(
        where,
        _base(config),
        findings,
        rows_audit.figures,
        answer_counts.of_rows(rows["text"]),
        replay_figures,
        *_estimates(rows_audit, learned, config.train),
    )


def _examples(config: params.Instruct | params.Prefer) -> pd.DataFrame:
    """The general examples, as far along the road as they have come."""
    return row_table.read(GENERAL) if GENERAL.exists() else replay.read(replay.files_of(config))


def _learned(side: pd.Series, is_split: bool, split: SplitShares) -> float:
    """The share of the rows that is learned from: those on train, or those that `split` will put there."""
    shares = {"train": 1 - split.val_share, "": 1 - split.val_share - split.test_share}
    return float(side.map({"train": 1.0} if is_split else shares).fillna(0.0).mean())


def _mixed_in(rows: token_audit.Audit, replay_examples: token_audit.Audit | None, train: Any) -> int:
    """The tokens of as many replay examples as will be mixed in, each as long as they are on average."""
    if replay_examples is None:
        return 0
    figures = replay_examples.figures
    count: int = min(replay_sampling.required_count(rows.figures["rows"], train.replay_share), figures["rows"])
    return round(count * int(figures["trained_tokens"]) / int(figures["rows"]))


def _rows(task: str) -> tuple[pd.DataFrame, pd.Series, str]:
    """The rows, the side of each, and where they stand: as far along the road as the newest have come."""
    parts = {name: SPLITS / f"{name}.parquet" for name in row_table.SPLITS}
    curated = not dvc_pipeline.read_other("curate", str(RAW))
    if curated and not dvc_pipeline.read_other("split", str(CURATED)) and all(part.exists() for part in parts.values()):
        sides = {name: row_table.read(part) for name, part in parts.items()}
        rows = pd.concat(list(sides.values()), ignore_index=True)
        return (
            rows,
            pd.Series([name for name, side in sides.items() for _ in range(len(side))], dtype="str"),
            str(SPLITS),
        )
    if curated and CURATED.exists():
        rows, where = row_table.read(CURATED), str(CURATED)
    elif RAW.exists():
        rows, where = (
            row_table.read(RAW).drop_duplicates("id", keep="last", ignore_index=True),
            f"{RAW}, not curated yet",
        )
    else:
        raise WrongUse("there are no records yet: `retune ingest FILE` brings them in")
    if missing := [name for name in task_data.of(task).columns if name not in rows]:
        raise WrongUse(f"{where} has no column {missing[0]}: it came in under another task than {task}")
    return rows, rows["given"], where


def _estimates(
    rows_audit: token_audit.Audit, learned: int, train: Any
) -> tuple[compute_estimate.ComputeEstimate, memory_check.MemoryVerdict]:
    import torch

    cuda = train.device != "cpu" and torch.cuda.is_available()
    bf16 = train.precision == "bf16" or (train.precision == "auto" and cuda)
    shape = compute_estimate.shape_of(base_model.find(train.base.name))
    mean, parent = rows_audit.figures["tokens"]["whole"].get("mean", 0.0), _start(train)
    available = memory_check.find(cuda)  # before anything is multiplied
    devices = train.parallel.hosts * (train.parallel.processes if cuda else 1)
    took = compute_estimate.estimate(shape, train, learned, mean, bf16, devices * _multiplies(cuda, bf16), parent)
    return took, memory_check.check_memory(shape, train, bf16, available, cuda, parent)


def _start(train: Any) -> str | None:
    """The method of the version that preferences are learned on; None where none is named, or its record isn't here."""
    begins = (
        parent_version.read() if train.method in compute_estimate.PREFERENCES and parent_version.FILE.exists() else None
    )
    blobs = git.blobs(begins.record_commit, [TRAINED]) if begins else {}
    return str(json.loads(blobs[TRAINED])["method"]) if blobs else None


def _multiplies(cuda: bool, bf16: bool) -> float:
    """Floating-point operations a second of this machine's matrix multiplication, measured in under a second."""
    import time

    import torch

    size = 8192 if cuda else 1024
    kind = torch.bfloat16 if bf16 else torch.float32
    factor = torch.ones(size, size, dtype=kind, device="cuda" if cuda else "cpu")
    seconds = []
    for _ in range(4):  # the first one warms up
        began = time.perf_counter()
        torch.mm(factor, factor)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])
