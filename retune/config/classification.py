"""The sections of params.yaml that differ for task classify."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from retune.config.common import (
    EvaluateCommon,
    Full,
    Languages,
    Lora,
    MissingWords,
    NearCopies,
    PromoteCommon,
    SplitShares,
    TrainCommon,
    ValidateLimits,
)
from retune.config.evaluation import MEMORISATION, Memorisation
from retune.config.personal_data import PII, Pii
from retune.config.poison import POISON, Poison
from retune.config.types import (
    Confidence,
    Count,
    CountOrZero,
    Limit,
    OnMissing,
    Positive,
    Share,
    Tokens,
    about,
    section,
)


def _one_step(labels: dict[str, str]) -> dict[str, str]:
    if chained := sorted(set(labels) & set(labels.values())):
        raise ValueError(f"{chained[0]!r} is both merged and a label that others become: name the last label for each")
    if blank := [label for label, after in labels.items() if not after.strip()]:
        raise ValueError(f"{blank[0]!r} becomes an empty label: name a label, or list it in curate.missing_words")
    return labels


@section
class Curate:
    min_chars: Annotated[Count, about("Texts with fewer characters are rejected.", "2 to 20")]
    max_chars: Annotated[Count, about("Texts with more characters are rejected.")]
    min_label_rows: Annotated[
        Count, about("Labels with fewer rows are rejected: they are typing errors rather than classes.", "5 to 50")
    ]
    missing_words: MissingWords
    merge_labels: Annotated[
        dict[str, str],
        AfterValidator(_one_step),
        about("Label as it is in the data -> label that it becomes; other labels stay as they are.", "{Spam.: spam}"),
    ]
    languages: Languages
    near_copies: Annotated[NearCopies, about("Texts that differ in a few words, a number or a placeholder alone.")]
    pii: Annotated[Pii, PII]
    poison: Annotated[Poison, POISON]


@section
class Validate(ValidateLimits):
    min_labels: Annotated[int, Field(ge=2), about("Smallest number of labels.", "2")]
    labels: Annotated[list[str], about("The only labels that are allowed; an empty list allows those of the data.")]
    min_rows_per_label: Annotated[
        Count, about("Smallest number of rows per label that are not preassigned to test.", "10 to 50")
    ]
    max_truncated_share: Annotated[
        Limit,
        about("Largest share of texts with more tokens than train.max_tokens, whose ends are cut.", "0.05 to 0.5"),
    ]


@section
class MissingLabel:
    train: Annotated[OnMissing, about("For a label without a training row.", "refuse")]
    val: Annotated[OnMissing, about("For a label without a validation row.", "warn")]
    test: Annotated[OnMissing, about("For a label without a test row.", "warn")]


@section
class Split(SplitShares):
    missing_label: Annotated[MissingLabel, about("What to do when a label has no row in a split: refuse or warn.")]


@section
class Probe:
    c: Annotated[
        Positive, about("Inverse strength of the logistic regression's L2 penalty (scikit-learn's C).", "0.1 to 100")
    ]
    max_iterations: Annotated[Count, about("Largest number of iterations of the solver.", "100 to 5000")]


@section
class Incremental:
    replay_share: Annotated[
        float,
        Field(gt=0, le=1),
        about(
            "Share of each label's rows that the parent version learned from and that are replayed against "
            "catastrophic forgetting.",
            "0.1 to 0.5",
        ),
    ]
    epochs: Annotated[Count, about("Passes over the new and the replayed rows.", "1 to 3")]
    learning_rate_factor: Annotated[Positive, about("Factor of every learning rate of the method.", "0.1 to 1.0")]


@section
class Train(TrainCommon):
    method: Annotated[
        Literal["probe", "lora", "full"],
        about("probe: logistic regression on the frozen base; lora: an adapter; full: the whole network."),
    ]
    max_tokens: Annotated[Tokens, about("Longer texts are cut to this many tokens.", "64 to 512")]
    probe: Annotated[Probe, about("Parameters of method probe, which is also the baseline and the start of the head.")]
    full: Annotated[Full, about("Parameters of method full.")]
    lora: Annotated[Lora, about("Parameters of method lora.")]
    head_learning_rate: Annotated[Positive, about("Peak learning rate of the classification head.", "1.0e-4 to 1.0e-2")]
    batch_size: Annotated[Count, about("Rows per batch.", "8 to 64")]
    dropout: Annotated[Share, about("Dropout inside the encoder.", "0 to 0.2")]
    class_weights: Annotated[
        Literal["none", "balanced"], about("balanced weighs each label's rows by the inverse of their share.")
    ]
    stored_vectors: Annotated[
        CountOrZero,
        about(
            "Rows that the model learned from whose vectors a version keeps, for `retune predict --explain`; of more "
            "rows those with the smallest hash of seed and id. A vector of the default base takes 768 bytes. 0: none.",
            "0 to 50000",
        ),
    ]
    incremental: Annotated[
        Incremental, about("Used only when models/start.json names a parent version to continue from.")
    ]


@section
class OutOfScope:
    path: Annotated[
        str,
        about(
            "CSV file in the project whose column `text` holds texts that belong to none of the labels. Empty: none."
        ),
    ]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$"), about("SHA-256 of that file.")]


@section
class Automation:
    precision: Annotated[
        Annotated[float, Field(ge=0.5, lt=1)] | None,
        about(
            "Promised share of right answers among those that nobody reads. `retune predict` sends the others to a "
            "person. null: a person reads everything.",
            "0.9 to 0.99",
        ),
    ]
    confidence: Annotated[
        Confidence, about("Probability with which the promise holds, over the draw of the rows.", "0.9 to 0.99")
    ]
    by_label: Annotated[
        bool,
        about(
            "Labels with enough validation rows keep the promise each for itself, by a threshold of their own; the "
            "promises hold together."
        ),
    ]
    out_of_scope: Annotated[OutOfScope, about("Texts of none of the labels: how many of them would nobody read?")]


@section
class Evaluate(EvaluateCommon):
    bins: Annotated[Count, about("Bins of the calibration error and of its plot.", "10 to 20")]
    automation: Annotated[Automation, about("What the model may do alone, at a promised precision.")]
    memorisation: Annotated[Memorisation, MEMORISATION]


@section
class Promote(PromoteCommon):
    metric: Annotated[Literal["accuracy", "macro_f1"], about("The score that decides about promotion.")]
    max_label_recall_loss: Annotated[
        Limit,
        about(
            "Largest loss of recall against the champion that a label may have, beyond chance; 1.0 allows any.",
            "0.02 to 0.1",
        ),
    ]
    max_membership_auc: Annotated[
        Limit,
        about(
            "Largest AUC with which an attacker may tell rows that were learned from others, beyond chance "
            "(`membership_auc_calibrated`); 0.5 is a guess, 1.0 allows any.",
            "0.55 to 0.7",
        ),
    ]
    calibration_error_rise: Annotated[
        Limit,
        about(
            "Largest rise of the calibration error against the champion, beyond chance; 1.0 allows any.", "0.02 to 0.1"
        ),
    ]
    calibration_bins: Annotated[Count, about("Bins of the calibration error.", "10 to 20")]
