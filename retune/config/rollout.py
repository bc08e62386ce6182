"""The section `rollout` of params.yaml. No stage reads it: a change trains nothing."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from retune.config.types import Confidence, Count, Gain, Limit, NotNegative, Positive, about, section

SHADOW = "shadow"
Percent = Annotated[int, Field(ge=1, le=100)]
Metric = Literal["error", "corrected", "rating", "latency"]
Ratio = Annotated[float, Field(gt=1, le=10)]


Step = Literal["shadow"] | Percent


def ascending(steps: list[Step]) -> list[Step]:
    """Raises ValueError for steps that no rollout goes through."""
    shares = [step for step in steps if isinstance(step, int)]
    if not shares or shares != sorted(set(shares)) or not 1 <= shares[0] <= shares[-1] <= 100 or SHADOW in steps[1:]:
        raise ValueError("write growing percentages, at most 100, with shadow before them or not at all")
    return steps


Steps = Annotated[list[Step], AfterValidator(ascending)]


@section
class Breaker:
    failures: Annotated[Count, about("Failures in a row after which an arm is not asked any more.", "3 to 20")]
    rate: Annotated[Limit, about("The same by the share of failures among the last ones.", "0.3 to 0.7")]
    window: Annotated[Count, about("How many of the last requests of an arm that share is of.", "20 to 200")]
    open_seconds: Annotated[Positive, about("Then one request tries it again, in seconds.", "5 to 60")]


@section
class Rollout:
    steps: Annotated[
        Steps,
        about(
            "What a rollout goes through: shadow, where the challenger answers for nobody, and percentages of subjects "
            "that it answers."
        ),
    ]
    metric: Annotated[
        Metric,
        about(
            "What decides: error (no answer), corrected (feedback says that the answer is wrong), rating, or latency."
        ),
    ]
    confidence: Annotated[
        Confidence,
        about(
            "A challenger that is no worse is rolled back with at most the rest of this probability, however often "
            "somebody looks."
        ),
    ]
    max_error_ratio: Annotated[
        Ratio,
        about(
            "The last step needs proof that the odds of an error, or of a correction, are below this many times the "
            "champion's.",
            "1.2 to 2.0",
        ),
    ]
    negligible_error_rate: Annotated[
        Gain,
        about(
            "Or proof that the challenger's share of errors, or of corrections, is below this: where hardly anything "
            "goes wrong, no ratio can be proved.",
            "0.001 to 0.02",
        ),
    ]
    max_latency_ratio: Annotated[Ratio, about("The same for the typical latency.", "1.1 to 1.5")]
    max_rating_loss: Annotated[Positive, about("The same for the mean rating: the largest loss, in its own unit.")]
    min_requests: Annotated[Count, about("Answers that the challenger must have given in a step.", "100 to 5000")]
    min_minutes: Annotated[NotNegative, about("How long a step lasts at least, in minutes.", "10 to 1440")]
    look_seconds: Annotated[
        Positive, about("How often the flow decides and servers read how requests are divided, in seconds.", "2 to 60")
    ]
    shadow_queue: Annotated[
        Count, about("Requests that wait for their shadow answer; further ones have none, and are counted.")
    ]
    fallback_share: Annotated[
        Gain, about("Share of the time left that an arm leaves to those to fall back to.", "0.3 to 0.6")
    ]
    base_arm: Annotated[
        bool, about("Keep the untouched base under its probe ready, to answer when the champion cannot; encoders only.")
    ]
    breaker: Annotated[Breaker, about("When an arm that fails is left alone.")]


ROLLOUT = about("How a version takes over from the champion, step by step, while it is served.")
