"""The evaluation on one page: HTML that needs no network, light and dark, wide and narrow."""

import base64
from pathlib import Path
from typing import Any

from retune.evaluation import task_metrics

Scores = dict[str, float]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --ground: #fff; --bar: #0072B2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #3d444d; --ground: #0d1117; --bar: #56B4E9 } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { margin: 0 } h2 { margin-top: 2.5rem } p { color: var(--soft); margin: .3rem 0 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; white-space: nowrap } td.n { white-space: nowrap } small { color: var(--soft) }
.bar { background: var(--bar); height: .5rem; border-radius: .25rem; min-width: 1px }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)) }
img[alt=learning_curve] { grid-column: 1 / -1; order: 1 }
img { max-width: 100%; background: #fff; border: 1px solid var(--line); border-radius: .4rem }
.text { overflow-wrap: anywhere; min-width: 18rem }
</style></head><body>
<h1>Evaluation</h1>
<p>Method {{ manifest.method }}, {{ manifest.labels | length }} labels, base {{ manifest.base_name }}.
Scored on {{ scores.rows }} rows that training did not see; in brackets the bootstrap interval.</p>
<div class="wide"><table>
<tr><th>model</th>{% for name in names %}<th>{{ name.replace("_", " ") }}</th>{% endfor %}</tr>
{% for prefix, title in models %}<tr><th>{{ title }}</th>
{% for name in names %}<td class="n">{{ "%.4f" | format(scores[prefix + name]) }}
<small>[{{ "%.3f" | format(scores[prefix + name + "_low"]) }},
{{ "%.3f" | format(scores[prefix + name + "_high"]) }}]</small>
{% if name != "calibration_error" %}<div class="bar" style="width: {{ 100 * scores[prefix + name] }}%"></div>{% endif %}
</td>{% endfor %}</tr>{% endfor %}
</table></div>
<p>Calibration error: the mean distance of confidence and accuracy; smaller is better.
{{ "%.0f" | format(scores.rows_per_second) }} rows a second.</p>
<h2>Pictures</h2><div class="pictures">
{% for name, data in pictures %}<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">{% endfor %}</div>
<h2>Labels</h2><div class="wide"><table>
<tr><th>label</th><th>precision</th><th>recall</th><th>F1</th><th>rows</th></tr>
{% for row in details.labels %}<tr><td>{{ row.label }}</td><td>{{ "%.3f" | format(row.precision) }}</td>
<td>{{ "%.3f" | format(row.recall) }}</td><td>{{ "%.3f" | format(row.f1) }}</td><td>{{ row.rows }}</td></tr>
{% endfor %}</table></div>
<h2>Most confused</h2><div class="wide"><table><tr><th>true label</th><th>predicted</th><th>rows</th></tr>
{% for row in details.confused %}<tr><td>{{ row.label }}</td><td>{{ row.predicted }}</td><td>{{ row.rows }}</td></tr>
{% endfor %}</table></div>
<h2>Most confident mistakes</h2><div class="wide"><table>
<tr><th>row</th><th>text</th><th>true label</th><th>predicted</th><th>confidence</th></tr>
{% for row in details.mistakes %}<tr><td class="n">{{ row.id }}</td><td class="text">{{ row.text | truncate(400) }}</td>
<td>{{ row.label }}</td><td>{{ row.predicted }}</td><td>{{ "%.3f" | format(row.confidence) }}</td></tr>
{% endfor %}</table></div>
</body></html>
"""


ANSWERS = (
    PAGE[: PAGE.index("<h1>")]
    + """<h1>Evaluation</h1>
<p>Method {{ manifest.method }}, base {{ manifest.base_name }}, template {{ manifest.template }}. Likelihood of the
references on {{ scores.rows }} rows that training did not see; answers written for {{ scores.rows_written }} of them.
In brackets the bootstrap interval.</p>
<div class="wide"><table>
<tr><th>model</th>{% for name, title in names.items() %}<th>{{ title }}</th>{% endfor %}</tr>
{% for prefix, title in models %}<tr><th>{{ title }}</th>
{% for name in names %}<td class="n">{{ "%.4f" | format(scores[prefix + name]) }}
<small>[{{ "%.3f" | format(scores[prefix + name + "_low"]) }},
{{ "%.3f" | format(scores[prefix + name + "_high"]) }}]</small></td>{% endfor %}</tr>{% endfor %}
</table></div>
<p>{% if "preferred" in names %}Preferred: the share of pairs whose chosen answer is likelier than the rejected, by its
mean log-probability a token; larger is better. The reference is the chosen answer. {% endif %}Perplexity: e to the mean
negative log-likelihood of a token of the reference; smaller is better. The others say how like the reference an answer
is; larger is better.</p>
{% if general %}<h2>What the base knew</h2><div class="wide"><table>
<tr><th>questions</th><th>candidate</th><th>base, untouched</th></tr>
{% for name in general %}<tr><td>{{ name }}</td><td class="n">{{ "%.4f" | format(scores["general_" + name]) }}</td>
<td class="n">{{ "%.4f" | format(scores["base_general_" + name]) }}</td></tr>{% endfor %}</table></div>{% endif %}
<h2>Pictures</h2><div class="pictures">
{% for name, data in pictures %}<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">{% endfor %}</div>
<h2>Answers, least like the reference first</h2><div class="wide"><table>
<tr><th>row</th><th>prompt</th><th>reference</th><th>answer</th><th>base</th><th>ROUGE-L</th></tr>
{% for row in details.answers %}<tr><td class="n">{{ row.id }}</td>
<td class="text">{% for turn in row.prompt %}<small>{{ turn.role }}</small> {{ turn.content | truncate(400) }}<br>
{% endfor %}</td><td class="text">{{ row.reference | truncate(600) }}</td>
<td class="text">{{ row.answer | truncate(600) }}</td><td class="text">{{ row.base | truncate(600) }}</td>
<td class="n">{{ "%.3f" | format(row.rouge_l) }}</td></tr>
{% endfor %}</table></div>
</body></html>
"""
)


def write(path: Path, scores: Scores, details: dict[str, Any], manifest: dict[str, Any], pictures: list[Path]) -> None:
    """scores: evaluate.json; details: details.json; manifest: model.json; pictures: PNG files, in this order."""
    _render(
        path,
        PAGE,
        pictures,
        scores=scores,
        details=details,
        manifest=manifest,
        names=("accuracy", "macro_f1", "calibration_error"),
        models=(("", "candidate"), ("probe_", "probe"), ("base_", "base, untouched")),
    )


def write_answers(
    path: Path, scores: Scores, details: dict[str, Any], manifest: dict[str, Any], pictures: list[Path]
) -> None:
    """The same of a generative model: its answers beside those of the base and the reference."""
    _render(
        path,
        ANSWERS,
        pictures,
        scores=scores,
        details=details,
        manifest=manifest,
        names=task_metrics.titles_in(scores),
        general=sorted(set(details["general"]["set"])),
        models=(("", "candidate"), ("base_", "base, untouched")),
    )


def _render(path: Path, page: str, pictures: list[Path], **values: Any) -> None:
    from jinja2 import Environment

    images = [(file.stem, base64.b64encode(file.read_bytes()).decode()) for file in pictures]
    path.write_text(Environment(autoescape=True).from_string(page).render(**values, pictures=images), "utf-8")
