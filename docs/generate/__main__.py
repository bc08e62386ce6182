"""Write the reference pages: `python -m docs.generate`, which `make docs` runs first.

A page comes from the module of its name. tests/test_reference.py fails while a page differs from what its module says.
"""

from docs.generate.pages import PAGES, REFERENCE
from retune.system.files import write_text


def main() -> None:
    for name, page in PAGES.items():
        write_text(REFERENCE / name, page())


if __name__ == "__main__":
    main()
