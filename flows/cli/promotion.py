"""Commands of the people responsible for the champion: promote, rollback, approve, reject.

Each says why and by whom it was done (git's identity), and is written into the history.
"""

from collections.abc import Callable
from typing import Any

import click

from flows.cli.output import as_json, print_json, print_table, require_reason, say_if_slow
from flows.project import environment
from retune.errors import Refused, WrongUse
from retune.system import git

even_forgotten = click.option("--even-forgotten", is_flag=True, help="Take it even if it learned from suppressed rows.")
evidence_option = click.option(
    "--evidence",
    "named",
    metavar="HASH",
    help="sha256 of the lineage.json that you looked at; another one is refused.",
)


@click.command(epilog='Example: retune promote classifier/3 --reason "asked for by the desk"')
@click.argument("model", metavar="NAME/VERSION")
@require_reason("the history")
@even_forgotten
@as_json
def promote(model: str, reason: str, even_forgotten: bool, json_: bool) -> None:
    """Make a version champion by hand.

    Only if its files are those that were registered, and it loads and predicts as recorded; whatever the gate said.
    """
    _activate_as_a_person()
    from retune.registry import clean_process

    with clean_process.clean_process() as reader:  # it imports its packages meanwhile
        from tasks.promote import manual

        version = _resolve_after_repair(model)
        entry = manual.promote_manually(version, reason, _check(reader, even_forgotten))
    print_entry(entry, json_)


@click.command(epilog='Example: retune rollback classifier --reason "too many refunds misrouted"')
@click.argument("name", required=False)
@click.option("--to", metavar="VERSION", help="Earlier champion to go back to; the previous one if not given.")
@require_reason("the history")
@even_forgotten
@as_json
def rollback(name: str | None, to: str | None, reason: str, even_forgotten: bool, json_: bool) -> None:
    """Make an earlier champion champion again.

    It passes the same checks as `retune promote`.
    """
    _activate_as_a_person()
    from retune.registry import clean_process

    with clean_process.clean_process() as reader:
        from tasks.promote import manual

        model, number = _rollback_target(name, to)
        _reconcile(model)
        entry = manual.roll_back(model, number, reason, _check(reader, even_forgotten))
    print_entry(entry, json_)


@click.command(epilog='Example: retune approve classifier/3 --reason "checked by hand"')
@click.argument("model", metavar="NAME/VERSION")
@require_reason("the history")
@evidence_option
@even_forgotten
@as_json
def approve(model: str, reason: str, named: str | None, even_forgotten: bool, json_: bool) -> None:
    """Approve a version that waits for an answer.

    It becomes champion, and its flow run resumes.
    """
    _activate_as_a_person()
    from retune.registry import clean_process

    with clean_process.clean_process() as reader:
        from tasks.promote import approval

        evidence = approval.read_evidence(_resolve_after_repair(model), named)
        _show(evidence, json_)
        entry = approval.approve(evidence, reason, _check(reader, even_forgotten))
    print_entry(entry, json_, _resume(evidence.version))


@click.command(epilog='Example: retune reject classifier/3 --reason "worse on refunds"')
@click.argument("model", metavar="NAME/VERSION")
@require_reason("the history")
@evidence_option
@as_json
def reject(model: str, reason: str, named: str | None, json_: bool) -> None:
    """Reject a version that waits for an answer.

    It stops being challenger, and its flow run resumes.
    """
    _activate_as_a_person()
    from tasks.promote import approval

    evidence = approval.read_evidence(_resolve_after_repair(model), named)
    _show(evidence, json_)
    entry = approval.reject(evidence, reason)
    print_entry(entry, json_, _resume(evidence.version))


def _activate_as_a_person() -> None:
    """Raises Refused before seconds of checks where the history could not name the person who decides."""
    environment.activate_project()

    git.require_person()


def _check(reader: Any, even_forgotten: bool) -> Callable[[Any], dict[str, str]]:
    """What must hold before a version may serve, for `tasks.promote`."""
    from tasks.promote import manual

    def check(version: Any) -> dict[str, str]:
        work = f"checking {version}: the hash of each file, and its predictions in a process of its own"
        with say_if_slow(work):
            return manual.fit_to_serve(version, reader, even_forgotten)

    return check


def _resolve_after_repair(model: str) -> Any:
    """The version by its name, after the repair of what a crash left."""
    from retune.registry import versions

    _reconcile(versions.resolve(model).name)
    return versions.resolve(model)


def _reconcile(name: str) -> None:
    with say_if_slow(f"comparing registry and history of {name}"):
        from tasks.promote import reconcile

        repairs = reconcile.reconcile(name)
    for repair in repairs:
        click.echo(f"repaired: {repair}", err=True)


def _rollback_target(name: str | None, to: str | None) -> tuple[str, int | None]:
    """The model and the number to go back to. NAME may be left out where there is one model, or --to says it."""
    from retune.lineage import history

    model, _, number = (to or "").rpartition("/")
    if to is not None and not (number.isascii() and number.isdigit()):
        raise WrongUse(f"--to is {to!r}: write a version's number, or NAME/VERSION")
    if name and model and name != model:
        raise WrongUse(f"--to is {to!r}: not a version of {name}")
    names = history.names()
    if (target := name or model) and target not in names:
        raise Refused(f"{target} has no history, so there is nothing to go back from: `retune models` lists the models")
    if not target and len(names) > 1:
        raise WrongUse(f"there are several models: name one of {', '.join(names)}")
    if not target and not names:
        raise Refused("no model has a history yet, so there is nothing to go back from: `retune run` starts one")
    return target or names[0], int(number) if number else None


def _show(evidence: Any, json_: bool) -> None:
    """Print what the answer is about: scores side by side, the reasons of the gate, the hash."""
    if json_:
        return
    from retune.registry.reload_check import RELOADED

    record, version = evidence.record, evidence.version
    models = {who: scores for who, scores in record["scores"].items() if isinstance(scores, dict)}
    rows: list[tuple[str, ...]] = [("model", *next(iter(models.values())))]
    for who, scores in models.items():
        title = {"candidate": str(version), "champion": record["gate"]["champion"] or "champion"}.get(who, who)
        rows.append(
            (title, *(f"{each['value']:.4f} [{each['low']:.3f}, {each['high']:.3f}]" for each in scores.values()))
        )
    print_table(rows)
    for rival in record["gate"]["rivals"]:
        click.echo(f"  {rival['reason']}")
    if "review.told" in version.tags:
        click.echo(f"  people who compared it: {version.tags['review.told']}")
    click.echo(f"  loaded again: {version.tags.get(RELOADED, 'not yet')}")
    click.echo(f"evidence: {evidence.sha256} (lineage.json of {version})")


def _resume(version: Any) -> bool | None:
    """Resume the flow run that waits for the answer. Whether it resumes; None if none waits."""
    from tasks.promote.approval import FLOW_RUN

    flow_run = version.tags.get(FLOW_RUN)
    if not flow_run:
        return None
    from flows.retraining import approval

    return approval.resume(flow_run)


def print_entry(entry: Any, json_: bool, resumed: bool | None = None) -> None:
    what = entry.version_name
    if not resumed:  # a flow run that resumes reports it with its outcome
        _notify_others(entry)
    if json_:
        facts = {"name": entry.model, "version": entry.version, "event": entry.event, "how": entry.how}
        more = {"reasons": entry.why, "by": entry.by, "at": entry.at, "evidence": entry.evidence}
        checked = {"checked": entry.checked, "forgotten": entry.forgotten, "golden": entry.golden}
        print_json({**facts, **more, **checked, "entry": entry.tag, "resumed": resumed})
        return
    if entry.event == "champion":
        click.echo(f"{what} is champion: checked, {entry.checked}. Entry {entry.tag} says so.")
    else:
        click.echo(f"{what} is {entry.event}. Entry {entry.tag} says so.")
    for fact in (entry.forgotten, entry.golden):
        if fact:
            click.echo(f"but {fact}")
    if resumed is not None:
        on = "resumes" if resumed else "no longer waits, or its server does not answer; the answer stands all the same"
        click.echo(f"the flow run that asked for this {on}")


def _notify_others(entry: Any) -> None:
    """Notify others even if params.yaml is wrong: the decision is made."""
    from flows.retraining import notifications

    section, wrong = notifications.load_config()
    if wrong:
        click.echo(wrong, err=True)
    notifications.notify_manual_promotion(entry, section)
