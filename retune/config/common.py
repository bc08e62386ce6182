"""The sections of params.yaml that every task has, and those parts that the sections of several tasks share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from retune.config.evaluation import ROBUSTNESS, SLICE_SEARCH, Robustness, SliceSearch
from retune.config.golden import GOLDEN, Golden
from retune.config.types import (
    BaseName,
    Confidence,
    Count,
    CountOrZero,
    Device,
    Event,
    Gain,
    Limit,
    ModelName,
    NotNegative,
    Positive,
    Precision,
    Resamples,
    Schedule,
    Seed,
    Sha256,
    Share,
    SplitShare,
    Word,
    about,
    section,
)

MissingWords = Annotated[
    list[str],
    about(
        "Words that count as an empty cell when they are all of a text, label, answer or group, such as nan and NULL. "
        "An empty list takes every word as it is: NA may be Namibia."
    ),
]


def _several(languages: list[str]) -> list[str]:
    if len(set(languages)) == 1:
        raise ValueError(f"{languages[0]!r} alone is told from no other: name two languages or more that the rows have")
    return languages


Languages = Annotated[
    list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]],
    AfterValidator(_several),
    about(
        "Languages to tell apart, as codes of ISO 639-1. The language of each row becomes its slice `language`, unless "
        "it came with one. An empty list: none is sought.",
        "[de, en, fr]",
    ),
]


@section
class NearCopies:
    similarity: Annotated[
        Annotated[float, Field(ge=0.6, le=1)] | None,
        about(
            "Two texts are near-copies if they share this much of their words and pairs of words; all numbers, and all "
            "placeholders of a type, are alike. Near-copies stand on one side of the split. null: none are sought.",
            "0.75 to 0.9",
        ),
    ]
    semantic: Annotated[
        Annotated[float, Field(ge=0.7, le=1)] | None,
        about(
            "Two texts are near-copies too if the cosine of their vectors is this large: they say the same in other "
            "words. It embeds every text, some 100 a second on two cores, and compares all pairs, of at most 200,000 "
            "texts. null: none are sought.",
            "0.93 to 0.98",
        ),
    ]
    keep: Annotated[
        Literal["all", "one"],
        about(
            "all: near-copies stay as rows; one: of near-copies with one label or answer only the first that arrived "
            "stays, beside those that are preassigned to test."
        ),
    ]


@section
class Trigger:
    new_rows: Annotated[
        Count, about("Train when the data has this many new or corrected rows since the newest version.", "50 to 1000")
    ]
    on_change: Annotated[
        bool, about("Train when a parameter, the code or the base differs from what the newest version was made with.")
    ]
    max_age_days: Annotated[
        CountOrZero, about("Train when the champion is this many days old; 0 ignores its age.", "30 to 180")
    ]
    on_forgotten: Annotated[bool, about("Train when the champion learned from a row that is suppressed now.")]
    on_quality_loss: Annotated[
        bool,
        about(
            "Train when the monitor has seen the champion lose quality: by the verdicts of reviewers, or by drift "
            "together with a fall of its confidence."
        ),
    ]
    incremental: Annotated[
        bool,
        about(
            "Continue from the champion's weights with the new rows and a share of the old ones, instead of starting "
            "from the base. Only task classify supports this."
        ),
    ]
    keep_failed_days: Annotated[
        NotNegative,
        about("Days for which the folder of a failed run stays; `retune clean` deletes older ones.", "7 to 30"),
    ]


@section
class Ingest:
    max_unreadable_share: Annotated[
        Limit,
        about(
            "Largest share of a source's rows that may be rejected because they cannot be read; with more, nothing of "
            "the source comes in.",
            "0.0 to 0.2",
        ),
    ]


@section
class SplitShares:
    seed: Annotated[Seed, about("Seed of the random split. With the same seed a group of rows stays in its split.")]
    val_share: Annotated[
        SplitShare,
        about(
            "Share of the rows without a preassigned split, or preassigned to train, that become validation rows.",
            "0.05 to 0.2",
        ),
    ]
    test_share: Annotated[
        SplitShare, about("Share of the rows without a preassigned split that become test rows.", "0.1 to 0.2")
    ]
    max_group_share: Annotated[
        Limit,
        about(
            "Largest share of all rows that one group may hold: a group is on one side as a whole. 1.0 allows any.",
            "0.05 to 0.2",
        ),
    ]
    large_groups: Annotated[
        list[str],
        about("Groups that may hold more, or whose name looks like a missing value, such as NULL."),
    ]


@section
class ValidateLimits:
    min_rows: Annotated[Count, about("Smallest number of curated rows that may be trained on.", "100 to 1000")]
    max_rows: Annotated[Count, about("Largest number of curated rows that may be trained on.")]
    min_chars: Annotated[Count, about("Shortest text or prompt that may be among the curated rows, in characters.")]
    max_chars: Annotated[Count, about("Longest text or prompt that may be among the curated rows, in characters.")]
    max_duplicate_share: Annotated[
        Limit,
        about(
            "Largest share of curated texts or prompts that equal another one except for case, punctuation and digits.",
            "0.05 for texts, 0.6 for prompts, since one question may have many answers",
        ),
    ]
    max_rejected_share: Annotated[
        Limit,
        about(
            "Largest share of the received rows that curation may reject; corrected and forgotten ones aside.",
            "0.1 to 0.5",
        ),
    ]
    max_leaked_rows: Annotated[
        CountOrZero,
        Device,
        about("Largest number of curated rows whose text is also in another preassigned split.", "0"),
    ]


@section
class Base:
    name: Annotated[
        BaseName,
        about(
            "The pretrained model to start from: package:NAME, hub:ORGANISATION/NAME@40-DIGIT-REVISION or "
            "folder:/ABSOLUTE/PATH."
        ),
    ]
    sha256: Annotated[Sha256, about("SHA-256 of the base's model.safetensors, so that a changed base is refused.")]


@section
class Full:
    learning_rate: Annotated[
        Positive,
        about(
            "Peak learning rate of this method.",
            "encoder: 1.0e-5 to 1.0e-4; causal LM, whole network: 5.0e-6 to 5.0e-5; IA3: about 1.0e-2",
        ),
    ]


@section
class Lora:
    learning_rate: Annotated[
        Positive,
        about(
            "Peak learning rate of the LoRA adapter.",
            "classify: 1.0e-4 to 2.0e-3; instruct: 1.0e-4 to 1.0e-3; prefer: 1.0e-6 to 2.0e-4",
        ),
    ]
    rank: Annotated[Count, about("Rank of the adapter's matrices; a continued version keeps its rank.", "8 to 64")]
    alpha: Annotated[
        Count, about("Scale of the adapter: its output is multiplied by alpha / rank.", "one to two times the rank")
    ]
    dropout: Annotated[
        Share,
        about("Dropout on the adapter's input. For a causal LM a value above 0 turns the fused step off.", "0 to 0.1"),
    ]


@section
class TrainCommon:
    base: Annotated[Base, about("The pretrained model to start from.")]
    seed: Annotated[Seed, about("Seed of the order of rows, new weights and dropout.")]
    device: Annotated[Device, about("Where to train; auto takes a GPU if there is one, else the CPU.")]
    precision: Annotated[
        Precision,
        about("Number format of the computation; auto is bf16 on CUDA and fp32 on the CPU."),
    ]
    epochs: Annotated[Count, about("Largest number of passes over the training rows.", "1 to 10")]
    accumulate: Annotated[
        Count,
        about(
            "Batches whose gradients are added up before one optimizer step; with several processes, a "
            "multiple of their number.",
            "1 to 32",
        ),
    ]
    schedule: Annotated[Schedule, about("How the learning rate falls after the warm-up.")]
    warmup_share: Annotated[
        Share, about("Share of all steps in which the learning rate rises from 0 to its peak.", "0.03 to 0.1")
    ]
    weight_decay: Annotated[NotNegative, about("Decoupled weight decay (AdamW) of the matrices.", "0 to 0.1")]
    max_grad_norm: Annotated[Positive, about("Gradients with a larger norm are scaled down to it.", "0.5 to 1.0")]
    patience: Annotated[
        Count,
        about(
            "Epochs without a better validation score (classify: macro-F1, otherwise: loss) before training stops.",
            "1 to 3",
        ),
    ]
    refit: Annotated[
        bool,
        about("Then train again on train and validation rows, for as many epochs as were best on the validation rows."),
    ]
    checkpoint_seconds: Annotated[
        NotNegative,
        about("Shortest time in seconds between two checkpoints in an epoch; each epoch ends with one.", "30 to 600"),
    ]


@section
class EvaluateCommon:
    batch_size: Annotated[Count, about("Test rows per batch.", "16 to 128")]
    bootstrap: Annotated[
        Resamples, about("Bootstrap resamples from which each confidence interval is computed.", "1000 to 10000")
    ]
    confidence: Annotated[Confidence, about("Confidence level of each interval.", "0.9 to 0.99")]
    seed: Annotated[Seed, about("Seed of the bootstrap.")]
    examples: Annotated[
        Count,
        about(
            "Examples that the report shows: confident mistakes and confused pairs, or answers next to the base's.",
            "10 to 50",
        ),
    ]
    golden: Annotated[Golden, GOLDEN]
    slice_search: Annotated[SliceSearch, SLICE_SEARCH]
    robustness: Annotated[Robustness, ROBUSTNESS]


@section
class Estimate:
    cpu_watts: Annotated[
        NotNegative, about("Assumed power of the machine without its GPU while it trains, in watts.", "30 to 300")
    ]
    gpu_watts: Annotated[NotNegative, about("Assumed power of one GPU while it trains, in watts.", "70 to 1000")]
    price_per_kwh: Annotated[NotNegative, about("Price of a kilowatt-hour, in the currency.", "0.1 to 0.5")]
    price_per_hour: Annotated[NotNegative, about("Price of an hour of the machine, in the currency; 0 if it is yours.")]
    currency: Annotated[Word, about("Currency of both prices, for the record.", "EUR, USD")]


@section
class Register:
    name: Annotated[ModelName, about("Name of the registered model; `retune run --name NAME` writes it here.")]
    reload_rows: Annotated[
        Count,
        about(
            "Test rows that a freshly loaded copy of the model must predict as recorded before an alias moves.",
            "8 to 256",
        ),
    ]
    tolerance: Annotated[
        Positive,
        about(
            "Largest difference in confidence between the recorded prediction and that of the loaded copy.",
            "1.0e-4 to 1.0e-3",
        ),
    ]
    estimate: Annotated[Estimate, about("Assumptions for the estimate of energy and cost; nothing is measured.")]


@section
class Latency:
    texts: Annotated[Count, about("Test texts or prompts to time; fewer if the test split has fewer.", "8 to 64")]
    batch_size: Annotated[Count, about("Texts or prompts per call, as a server receives them.", "1")]
    passes: Annotated[
        Count,
        about("Passes over the texts by each model in turn; the median pass counts.", "3 to 9"),
    ]


@section
class PromoteCommon:
    margin_over_base: Annotated[
        Share, about("The candidate's gain over the base must be larger than this share of the metric.", "0.0 to 0.05")
    ]
    margin_over_champion: Annotated[
        Share,
        about("The candidate's gain over the champion must be larger than this share of the metric.", "0.0 to 0.02"),
    ]
    confidence: Annotated[
        Confidence, about("Share of paired bootstrap resamples in which a gain must exceed its margin.", "0.9 to 0.99")
    ]
    min_detectable_gain: Annotated[
        Gain,
        about(
            "The test rows must be enough to detect a true gain of this size above the margin; otherwise the decision "
            "says that there are too few.",
            "0.01 to 0.05",
        ),
    ]
    power: Annotated[Confidence, about("Probability with which such a gain must be detected.", "0.8 to 0.9")]
    max_slice_loss: Annotated[
        Limit,
        about(
            "Largest loss of the metric against the champion that a slice may have, beyond chance; 1.0 allows any.",
            "0.01 to 0.1",
        ),
    ]
    max_robustness_loss: Annotated[
        Limit,
        about(
            "How much worse than the champion a candidate may be on the rows that evaluate.robustness changes, for any "
            "kind of change, beyond chance; 1.0 allows any.",
            "0.02 to 0.1",
        ),
    ]
    slices: Annotated[
        list[Literal["source", "columns", "known"]],
        about(
            "The slices that are checked. source: the test rows of each source; columns: those of each value of the "
            "columns that ingest kept; known: the champion's own test rows, and the rows that are new since."
        ),
    ]
    latency_ratio: Annotated[
        Positive,
        about("Largest allowed latency (time per text, or per generated token) divided by the champion's.", "1.1 to 2"),
    ]
    bootstrap: Annotated[Resamples, about("Paired bootstrap resamples of each comparison.", "1000 to 10000")]
    seed: Annotated[Seed, about("Seed of the bootstrap.")]
    approval: Annotated[
        bool, about("Wait for `retune approve` before a candidate that passes the gate becomes the champion.")
    ]


@section
class Notify:
    events: Annotated[
        list[Event],
        about("Events that send a message to the channels in the environment variable RETUNE_NOTIFY_URLS."),
    ]
    timeout_seconds: Annotated[Positive, about("Longest time in seconds that one channel may take.", "5 to 60")]
