"""The `retune` command. Each subcommand imports its heavy packages itself.

Exit codes: 0 yes, 1 the answer is no (refused data, failed gate, nothing found), 2 wrong use, 3 no answer
(something broke: a stage crashed, a store is away).
"""

import re
import signal
import sys
from typing import Any

import click

from flows.cli import (
    data,
    data_quality,
    forgetting,
    golden,
    history,
    lineage,
    models,
    monitor,
    params,
    promotion,
    retraining,
    review,
    rollout,
    schedule,
    services,
    serving,
    train,
)
from flows.cli.groups import SectionedGroup
from flows.cli.output import reader_has_gone
from flows.execution import disk_errors
from flows.project import environment, process_environment
from retune.errors import Broken, RetuneError, WrongUse

SECTIONS = {
    "Data": (data.ingest, data.sources, data_quality.data, data.quarantine, forgetting.forget),
    "Train": (train.task, params.params, train.preflight, train.plan, train.run),
    "Models": (
        models.models,
        models.predict,
        golden.golden,
        review.review,
        promotion.promote,
        promotion.rollback,
        promotion.approve,
        promotion.reject,
    ),
    "Serving": (serving.serve, serving.api_keys, rollout.rollout, monitor.monitor),
    "Lineage": (lineage.lineage, history.history, history.verify, history.reproduce),
    "Retraining": (retraining.retrain, schedule.schedule, retraining.clean),
    "Services": (
        services.up,
        services.down,
        services.rotate_passwords,
        services.worker,
        services.ui,
        services.notify,
        services.doctor,
    ),
}
RENAMED = {
    "audit": "retune preflight",
    "intake show": "retune quarantine list",
    "intake accept": "retune quarantine release",
    "intake": "retune quarantine",
    "rotate": "retune rotate-passwords",
    "watch": "retune schedule health",
}


@click.group(
    cls=SectionedGroup,
    sections=SECTIONS,
    renamed=RENAMED,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`retune COMMAND --help` explains a command, with an example.",
)
@click.version_option(package_name="retune", prog_name="retune", message="%(prog)s %(version)s")
def retune() -> None:
    """From a business's own records to a fine-tuned, registered, explained model."""


class Terminated(BaseException):
    """Turn SIGTERM into what Ctrl-C does: a running command ends the processes that it started."""


def _terminated(*_: Any) -> None:
    raise Terminated


def main() -> None:
    signal.signal(signal.SIGTERM, _terminated)
    try:
        process_environment.run_own_code(environment.find_project(), sys.argv[1:])
        retune(prog_name="retune", standalone_mode=False)
    except RetuneError as error:
        _fail(f"retune: {error}", error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(WrongUse.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("retune: stopped", 130)
    except Terminated:
        _fail("retune: stopped", 143)
    except UnicodeEncodeError:
        _fail("retune: not UTF-8: an argument of the command, or a file name", WrongUse.exit_code)
    except BrokenPipeError:  # `| head`
        reader_has_gone()
    except OSError as error:
        _fail(f"retune: {environment.explain_os_error(error)}", Broken.exit_code)
    except Exception as error:
        # A store or server that does not answer raises any of a hundred classes; people need one line.
        if type(error).__module__.partition(".")[0] not in STORES:
            raise
        _fail(
            f"retune: {type(error).__name__}: {disk_errors.first_line(str(error))} (`retune doctor` checks)",
            Broken.exit_code,
        )


STORES = ("httpx", "mlflow", "prefect", "requests", "sqlalchemy")


READ_ONLY = re.compile("Read-only file system|readonly database", re.IGNORECASE)


def _fail(message: str, code: int) -> None:
    if READ_ONLY.search(message) and environment.RIGHTS not in message:
        message = f"{message}. {environment.RIGHTS}"  # a message of git, DVC or SQLite
    click.echo(disk_errors.advised(message), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
