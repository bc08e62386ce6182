"""Whether this checkout does what users expect in cases from the field.

    python bench/field_cases.py FOLDER [ID ...] [--limit SECONDS] [--json FILE]

FOLDER holds a folder for each case, with a `case.sh`; an ID may be the beginning of its name. Each case runs in the
root of this checkout, with `.venv/bin` first on PATH and LIMIT, the seconds that one of its commands may take. It says
`VERDICT ID: as a user expects (why)` or `VERDICT ID: NOT as a user expects (why)`. Cases clone what is committed here.

Shows what each case says while it runs, then a table. Ends with 1 if a verdict is not as expected, or missing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERDICT = re.compile(r"VERDICT \S+: (?P<no>NOT )?as a user expects(?: \((?P<why>.*)\))?")


@dataclass(frozen=True)
class Result:
    case: str
    as_expected: bool
    why: str
    seconds: float
    output: str


def choose(folder: Path, prefixes: list[str]) -> list[Path]:
    scripts = sorted(folder.glob("*/case.sh"))
    if not scripts:
        raise SystemExit(f"{folder} holds no ID/case.sh: name the folder that the cases lie in")
    names = [script.parent.name for script in scripts]
    unknown = [each for each in prefixes if not any(name.startswith(each) for name in names)]
    if unknown:
        raise SystemExit(f"{folder} has no case {', '.join(unknown)}; it has {', '.join(names)}")
    return [script for script in scripts if not prefixes or script.parent.name.startswith(tuple(prefixes))]


def run_case(script: Path, limit: int | None) -> Result:
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    limits = {} if limit is None else {"LIMIT": str(limit)}
    start, lines = time.monotonic(), list[str]()
    with subprocess.Popen(
        ["bash", str(script)],
        cwd=ROOT,
        env={**os.environ, "PATH": path, **limits},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    verdict = next((match for line in reversed(lines) if (match := VERDICT.match(line))), None)
    last = lines[-1].strip() if lines else "nothing"
    why = (verdict["why"] or "") if verdict else f"no verdict, exit {process.returncode}; it said last: {last}"
    as_expected = verdict is not None and not verdict["no"]
    return Result(script.parent.name, as_expected, why, time.monotonic() - start, "".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--limit", type=int, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    scripts = choose(options.folder.resolve(), options.ids)
    results: list[Result] = []
    for number, script in enumerate(scripts, 1):
        print(f"\n[{number}/{len(scripts)}] {script.parent.name}", flush=True)
        results.append(run_case(script, options.limit))
        if options.json:  # after each, so that what was measured outlives an interrupt
            options.json.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
    width = max(len(result.case) for result in results)
    print(f"\n{'case':{width}}  verdict  seconds  why")
    for result in results:
        print(f"{result.case:{width}}  {'yes' if result.as_expected else 'NO':7}  {result.seconds:7.1f}  {result.why}")
    missed = sum(not result.as_expected for result in results)
    print(f"{len(results) - missed} of {len(results)} as a user expects")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
