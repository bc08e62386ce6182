"""Write the generated pages: `python -m docs.generate`, which `make docs` runs first.

tests/test_docs.py fails while a page differs from what its module says.
"""

from docs.generate.pages import PAGES, ROOT
from retune.system.files import write_text


def main() -> None:
    for path, page in PAGES.items():
        write_text(ROOT / path, page())


if __name__ == "__main__":
    main()
