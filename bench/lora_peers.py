"""The peers of `lora_step.py`: transformers' Trainer with PEFT, and TRL's SFTTrainer."""

import argparse
import tempfile
import time
from typing import Any

import torch
from lora_shapes import (
    LENGTH,
    ON_GPU,
    RATE,
    SEQUENCES,
    Rows,
    collate,
    lora_config,
    network_of,
    package_versions,
    synchronize,
    warmup_steps,
    with_lora,
)


class RowDataset(torch.utils.data.Dataset):
    def __init__(self, rows: Rows) -> None:
        self.rows = [{"input_ids": tokens, "labels": [-100] * prompt + tokens[prompt:]} for tokens, prompt in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        return self.rows[at]


def common_arguments(scratch: str, options: argparse.Namespace) -> dict[str, Any]:
    arguments = {"output_dir": scratch, "max_steps": warmup_steps(options) + options.steps, "learning_rate": RATE}
    return arguments | {"logging_steps": 1, "save_strategy": "no", "report_to": "none", "bf16": ON_GPU}


def best_plain_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The best plain settings of either trainer."""
    if options.tokens:
        batches = {"per_device_train_batch_size": 32, "train_sampling_strategy": "group_by_length"}
    else:
        batches = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": SEQUENCES // 2}
    return {"gradient_checkpointing": False, **batches}


def time_trainer(trainer: Any, options: argparse.Namespace, start: float) -> dict[str, Any]:
    """Run a Trainer: the steps of warm-up, then those that are timed. Counts the tokens that its collator returns."""
    from transformers import TrainerCallback

    collator, tokens_served = trainer.data_collator, [0]

    def counting(rows: Any) -> Any:
        batch = collator(rows)
        tokens_served[0] += (
            int(batch["attention_mask"].sum()) if "attention_mask" in batch else int(batch["input_ids"].numel())
        )
        return batch

    class Clock(TrainerCallback):
        first_step = timing_start = timing_end = 0.0
        tokens = 0
        losses: list[float] = []  # noqa: RUF012

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            synchronize()
            if state.global_step == 1:
                self.first_step = time.perf_counter() - start
            if state.global_step == warmup_steps(options):
                self.timing_start, self.tokens = time.perf_counter(), tokens_served[0]
            if state.global_step == warmup_steps(options) + options.steps:
                self.timing_end, self.tokens = time.perf_counter(), tokens_served[0] - self.tokens

        def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))

    clock = Clock()
    trainer.data_collator = counting
    trainer.add_callback(clock)
    trainer.train()
    return {
        "tokens_per_second": clock.tokens / (clock.timing_end - clock.timing_start),
        "first_step": clock.first_step,
        "losses": clock.losses or [float("nan")],
    }


def run_trainer(_who: str, rows: Rows, options: argparse.Namespace, start: float) -> dict[str, Any]:
    from transformers import Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            remove_unused_columns=False, **common_arguments(scratch, options), **best_plain_settings(options)
        )
        trainer = Trainer(
            with_lora(network_of(options, "sdpa")), arguments, data_collator=collate, train_dataset=RowDataset(rows)
        )
        return time_trainer(trainer, options, start) | {"versions": package_versions("transformers", "peft")}


def run_trl(who: str, rows: Rows, options: argparse.Namespace, start: float) -> dict[str, Any]:
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(WordLevel({"<unk>": 1, "<pad>": 0, "<end>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    table = Dataset.from_list(
        [
            {"input_ids": tokens, "completion_mask": [0] * prompt + [1] * (len(tokens) - prompt)}
            for tokens, prompt in rows
        ]
    )
    best = best_plain_settings(options) if who == "trl-best" else {}
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(max_length=LENGTH, **common_arguments(scratch, options), **best)
        trainer = SFTTrainer(
            network_of(options, "sdpa"),
            arguments,
            train_dataset=table,
            processing_class=tokenizer,
            peft_config=lora_config(),
        )
        return time_trainer(trainer, options, start) | {"versions": package_versions("trl", "transformers", "peft")}
