"""docs/reference/params.md: every parameter of each task, from the types in `retune/config`."""

from docs.generate.markdown import code, head, table
from retune.config import params, reference


def page() -> str:
    answer = "`params.yaml` holds these parameters, one table a task. `retune params explain NAME` prints one of them."
    lines = head("Parameters", answer, "the types in `retune/config`")
    for task in params.TASKS:
        rows = [
            (code(each.path), each.type, code(each.allowed), each.usual, each.description)
            for each in reference.parameters(task)
        ]
        lines += [f"## Task {task}", "", *table(("parameter", "type", "allowed", "usual", "meaning"), rows)]
    return "\n".join(lines)
