"""The section `curate.pii` of params.yaml."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from retune.config.types import BaseName, Variable, about, section

Action = Literal["redact", "hash", "drop", "keep"]
PII = about(
    "What happens to personal and secret data in texts and answers. redact puts a placeholder such as <EMAIL_1> in its "
    "place, hash one that is the same in every row, drop rejects the row, keep leaves it."
)


def _regions(codes: list[str]) -> list[str]:
    from phonenumbers import SUPPORTED_REGIONS  # a door of its own has the rest; this is the list of the codes

    if unknown := [code for code in codes if code not in SUPPORTED_REGIONS]:
        hint = "; the United Kingdom is GB" if "UK" in unknown else ""
        raise ValueError(f"{unknown[0]!r} is no country: write two capital letters of ISO 3166{hint}")
    return codes


@section
class Pii:
    email: Annotated[Action, about("What happens to e-mail addresses.")]
    phone: Annotated[Action, about("What happens to phone numbers.")]
    card: Annotated[Action, about("What happens to card numbers, by the Luhn checksum.")]
    iban: Annotated[Action, about("What happens to bank accounts, by the checksum of an IBAN.")]
    national_id: Annotated[
        Action, about("What happens to national ids of US, UK, DE, FR, ES, IT, NL, PL, BR and IN, by their checksums.")
    ]
    ip: Annotated[Action, about("What happens to IP addresses.")]
    mac: Annotated[Action, about("What happens to MAC addresses.")]
    url_credentials: Annotated[Action, about("What happens to a user name and password in a URL.")]
    secret: Annotated[Action, about("What happens to API keys, tokens and passwords.")]
    date_of_birth: Annotated[Action, about("What happens to dates that are said to be of birth.")]
    address: Annotated[Action, about("What happens to postal addresses with a street and a number.")]
    name: Annotated[Action, about("What happens to names of people. They are found only by names_model.")]
    keep: Annotated[
        list[str], about("Values that stay whatever their type, such as the business's own.", "[support@example.com]")
    ]
    phone_regions: Annotated[
        list[str],
        AfterValidator(_regions),
        about("Countries whose phone numbers count without a + and without a word such as call.", "[US, GB]"),
    ]
    secret_env: Annotated[
        Variable | None,
        about("Environment variable of the secret that keys hashes: 16 characters or more. Only action hash needs it."),
    ]
    names_model: Annotated[
        BaseName | None,
        about("A token-classification model that finds names: folder:<path> or hub:<name>@<revision>; null: none."),
    ]
