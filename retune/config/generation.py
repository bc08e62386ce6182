"""The sections of params.yaml that differ for the tasks that train a causal language model: instruct and prefer."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from retune.config.common import (
    EvaluateCommon,
    Full,
    Languages,
    Lora,
    MissingWords,
    NearCopies,
    PromoteCommon,
    TrainCommon,
    ValidateLimits,
)
from retune.config.evaluation import GENERATION_AUTOMATION, VERBATIM, GenerationAutomation, VerbatimMemorisation
from retune.config.personal_data import PII, Pii
from retune.config.poison import POISON, Poison
from retune.config.types import (
    AbsolutePath,
    Count,
    Limit,
    NotNegative,
    Positive,
    Sha256,
    Share,
    Text,
    Tokens,
    Variable,
    Word,
    about,
    section,
)


@section
class GenerationCurate:
    min_chars: Annotated[Count, about("Prompts whose last message has fewer characters are rejected.", "2 to 20")]
    max_chars: Annotated[Count, about("Prompts with more characters in all are rejected.")]
    missing_words: MissingWords
    languages: Languages
    near_copies: Annotated[NearCopies, about("Texts that differ in a few words, a number or a placeholder alone.")]
    pii: Annotated[Pii, PII]
    poison: Annotated[Poison, POISON]


@section
class ReplayFile:
    path: Annotated[AbsolutePath, about("Absolute path of a file in any format that `retune ingest` reads.")]
    sha256: Annotated[Sha256, about("SHA-256 of the file, so that a changed file is noticed.")]


def _distinct_names(files: list[ReplayFile]) -> list[ReplayFile]:
    names = [Path(file.path).name for file in files]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two files are called {repeated[0]!r}, and reports name an example's file: rename one")
    return files


@section
class InstructCurate(GenerationCurate):
    replay: Annotated[
        list[ReplayFile],
        AfterValidator(_distinct_names),
        about(
            "Files of general examples that are mixed in against catastrophic forgetting; they are not records. "
            "train.replay_share says how many are mixed in."
        ),
    ]


@section
class Preflight:
    max_truncated_share: Annotated[
        Limit, about("Largest share of rows with more tokens than train.max_tokens.", "0.01 to 0.1")
    ]
    examples: Annotated[Count, about("Row ids that a finding names.", "3 to 20")]


@section
class GenerationValidate(ValidateLimits):
    preflight: Annotated[Preflight, about("The check of the tokens, before any is trained on.")]


@section
class DecoderLora(Lora):
    rank_stabilised: Annotated[bool, about("Scale by alpha / sqrt(rank) instead of alpha / rank (rsLoRA).")]
    base_precision: Annotated[
        Literal["bf16", "fp8"],
        about(
            "Number format of the base's matrix products while training; fp8 needs a GPU of compute capability 8.9 or "
            "newer."
        ),
    ]


@section
class PromptTuning:
    learning_rate: Annotated[Positive, about("Peak learning rate of the virtual tokens.", "1.0e-3 to 1.0e-1")]
    virtual_tokens: Annotated[Count, about("Trained tokens before each prompt.", "8 to 100")]


@section
class Parallel:
    processes: Annotated[
        Count, about("Training processes per host: one GPU each, or a share of the CPU's cores.", "1 to 8")
    ]
    hosts: Annotated[
        Count, about("Hosts that train together; docs/how-to/train/several-hosts.md says how they meet.", "1")
    ]
    strategy: Annotated[
        Literal["ddp", "fsdp"],
        about("ddp: each process holds the whole network; fsdp: each holds a part, for one that no GPU can hold."),
    ]


@section
class GenerationTrain(TrainCommon):
    deterministic: Annotated[
        bool,
        about("The same bits each time. false: the fastest attention of a GPU, which adds in any order."),
    ]
    template: Annotated[
        Literal["tokenizer", "thinking", "chatml", "plain"],
        about(
            "Chat template, stored with the model. tokenizer takes the base's own, with an empty thought at the end of "
            "each prompt if the base thinks; thinking takes it as it is, for answers that hold thoughts."
        ),
    ]
    max_tokens: Annotated[Tokens, about("Largest number of tokens of a prompt and one answer.", "512 to 8192")]
    too_long: Annotated[
        Literal["drop", "cut_prompt"],
        about("For longer rows: leave them out, or cut the beginning of the prompt. An answer is never cut."),
    ]
    lora: Annotated[
        DecoderLora,
        about("Parameters of the LoRA adapter. An adapter of the parent version keeps its rank, alpha and scaling."),
    ]
    batch_tokens: Annotated[
        Count,
        about("Tokens per batch of packed rows; at least max_tokens, for task prefer twice that.", "2048 to 65536"),
    ]
    gradient_checkpointing: Annotated[
        bool, about("Recompute activations in the backward pass: less memory, a third more time.")
    ]
    compile: Annotated[bool, about("Compile the layers: pays off on a GPU in runs of more than a minute.")]
    parallel: Annotated[Parallel, about("One training over several processes and hosts.")]


@section
class InstructTrain(GenerationTrain):
    method: Annotated[
        Literal["full", "lora", "dora", "qlora", "ia3", "prompt"],
        about("What is trained: the whole network, or an adapter of this kind. A parent version keeps its method."),
    ]
    turns: Annotated[
        Literal["all", "last"],
        about("Which answers of a conversation are learned. last: those before the last one are context only."),
    ]
    replay_share: Annotated[
        Share,
        about(
            "Share of the training examples that come from curate.replay, drawn by the seed; without files it has no "
            "effect.",
            "0.05 to 0.3",
        ),
    ]
    full: Annotated[Full, about("Parameters of method full.")]
    ia3: Annotated[Full, about("Parameters of method ia3.")]
    prompt: Annotated[PromptTuning, about("Parameters of method prompt.")]
    neftune_alpha: Annotated[NotNegative, about("Noise on the embeddings (NEFTune); 0 adds none.", "0 or 5.0")]


@section
class PreferTrain(GenerationTrain):
    method: Annotated[Literal["dpo", "kto"], about("The loss on preferences.")]
    beta: Annotated[Positive, about("How strongly the model is held to its parent version.", "0.01 to 0.5")]


def turns_of(train_config: GenerationTrain) -> str:
    """`train.turns`; of task prefer, what precedes the two answers is context."""
    return train_config.turns if isinstance(train_config, InstructTrain) else "last"


@section
class RetentionSet:
    name: Annotated[Word, about("Name of the benchmark in reports.")]
    path: Annotated[AbsolutePath, about("Absolute path of a file of multiple-choice questions.")]
    by_length: Annotated[bool, about("Divide each choice's log-likelihood by its length.")]


@section
class Judge:
    url: Annotated[
        str, about("Address of an OpenAI-compatible API, without /chat/completions. Empty: no judge is asked.")
    ]
    model: Annotated[str, about("Name of the judge's model.")]
    key_env: Annotated[Variable | None, about("Environment variable that holds the API key. null: no key is sent.")]
    criterion: Annotated[Text, about("What makes one answer better than another, in words.")]
    timeout_seconds: Annotated[Positive, about("Longest time in seconds that one judgement may take.", "30 to 300")]
    attempts: Annotated[Count, about("Attempts for one judgement before the evaluation fails.", "1 to 6")]
    pause_seconds: Annotated[
        NotNegative,
        about("Pause in seconds before the second attempt; it doubles before each further one.", "1 to 10"),
    ]


@section
class GenerationEvaluate(EvaluateCommon):
    generate_rows: Annotated[
        Count,
        about("Test rows that an answer is generated for, no longer than the longest answer in training.", "64 to 512"),
    ]
    json_schema: Annotated[str, about("File of a JSON schema that answers must satisfy. Empty: none.")]
    retention: Annotated[
        list[RetentionSet], about("Multiple-choice benchmarks of what the base knew and must not forget.")
    ]
    judge: Annotated[
        Judge, about("A model that is asked, in both orders, whether the model's or the base's answer is better.")
    ]
    automation: Annotated[GenerationAutomation, GENERATION_AUTOMATION]
    memorisation: Annotated[VerbatimMemorisation, VERBATIM]


@section
class GenerationPromote(PromoteCommon):
    metric: Annotated[
        Literal["preferred", "perplexity", "rouge_l", "bleu", "chrf", "exact_match"],
        about(
            "The score that decides about promotion. preferred: share of pairs whose chosen answer has the higher mean "
            "log-probability per token. A gain of perplexity is in nats per token."
        ),
    ]
    max_retention_loss: Annotated[
        Limit,
        about(
            "Largest loss of right answers to evaluate.retention against the base, beyond chance; 1.0 allows any.",
            "0.01 to 0.1",
        ),
    ]
    max_verbatim_share: Annotated[
        Limit,
        about(
            "Largest share of the learned answers that the model may give back word for word, from the prompt or from "
            "half of the answer (`verbatim_share`, `verbatim_share_from_half`), beyond chance; 1.0 allows any.",
            "0.01 to 0.1",
        ),
    ]


@section
class InstructPromote(GenerationPromote):  # its rows have no second answer to prefer the first to
    metric: Annotated[
        Literal["perplexity", "rouge_l", "bleu", "chrf", "exact_match"],
        about("The score that decides about promotion. A gain of perplexity is in nats per token."),
    ]
