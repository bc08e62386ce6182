"""The section `curate.poison` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from retune.config.types import Text, about, section

POISON = about("Rows that look planted, to teach a model something that the business does not mean.")


@section
class Poison:
    phrases: Annotated[
        Literal["reject", "keep"],
        about(
            "What happens to rows of a rare phrase that goes with one label, or one answer, against what their other "
            "words say."
        ),
    ]
    allow: Annotated[list[Text], about("Phrases that are innocent, as a reject names them.", "[kindly proceed]")]
    max_source_share: Annotated[
        float,
        Field(gt=0, le=1),
        about("Largest share of the rows that one source may have; its first rows stay. 1.0 allows any.", "0.5 to 1.0"),
    ]
