"""The page of a run, rendered from its facts: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from components.evaluation_report import charts, formatting
from components.evaluation_report.charts import ModelCurves
from components.evaluation_report.gallery import Illustration
from components.evaluation_report.json_values import Facts
from components.evaluation_report.svg import drawn_or_not

TEMPLATES = Path(__file__).with_name("templates")

_NOTED = {
    "data": ("source", "folder", "class_names"),
    "training": ("backbone", "weights", "image_size", "frozen", "fine_tuning", "unfrozen_blocks", "seed"),
    "evaluation": ("min_accuracy", "min_slice_accuracy", "max_accuracy_loss", "missing_baseline"),
}
_POINTS = 12
_SLICE = "slice "
SLICES_SHOWN = 40  # rules about slices: those that failed, and as many others


def render(facts: Facts, illustrations: Mapping[str, Illustration]) -> str:
    """Returns the page.

    Args:
        facts: As `collect` returned them.
        illustrations: Thumbnails by digest.
    """
    floor = facts["limits"].get("min_slice_accuracy")
    overall = next((row["candidate"] for row in facts["headline"] if row["name"] == "accuracy"), None)
    return (
        environment()
        .get_template("report.html")
        .render(
            facts=facts,
            illustrations=illustrations,
            looked=any(one.looked for one in illustrations.values()),
            charts=_charts(facts),
            shown_models=shown_models(facts),
            rules=shown_rules(facts["verdict"]),
            floor=floor,
            overall=overall and overall["value"],
            slice_scale=_scale(facts["slices"], floor),
        )
    )


@cache
def environment() -> jinja2.Environment:
    """Returns what renders the HTML: file names are escaped, for anybody may have chosen them."""
    made = make_environment(autoescape=jinja2.select_autoescape(["html"]))
    made.filters |= {
        "at": _at,
        "groupby_in_order": _grouped,
        "of_note": _of_note,
        "some_points": _some_points,
    }
    return made


def make_environment(**options: Any) -> jinja2.Environment:
    """Returns what page and model card have in common: how facts are named and written."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    made.filters |= formatting.FILTERS
    made.globals |= {
        "models": formatting.MODELS,
        "rule_states": formatting.RULE_STATES,
        "slice_names": formatting.SLICES,
        "inputs": formatting.INPUTS,
    }
    return made


def shown_models(facts: Facts) -> list[str]:
    """Returns the candidate and what it was compared with; the best one only where it is another model."""
    compared = [one["baseline"] for one in facts["comparisons"] if one["state"] == "compared"]
    return ["candidate", *(name for name in compared if name in facts["curves"])]


def shown_rules(verdict: Facts | None) -> Facts:
    """Chooses the rules to show: a source may have any number of folders, each of them a slice.

    Args:
        verdict: As `report.json` has it; None has no rules.

    Returns:
        `highlighted`: those that failed, and then the others that are not about slices.
        `failed_left_out`: how many failed slices these leave out.
        `collapsed`: slices that did not fail, the nearest to the floor first.
        `slices`: how many such slices there are.
        `too_small`: how many of them are too small to judge.
    """
    rules = (verdict or {}).get("rules", [])
    slices = [rule for rule in rules if rule["name"].startswith(_SLICE)]
    slices.sort(
        key=lambda rule: (rule["state"] == "not judged", (rule["figure"] or 0) - (rule["bound"] or 0))
    )
    failed = [rule for rule in slices if rule["state"] == "failed"]
    others = [rule for rule in slices if rule["state"] != "failed"]
    highlighted = [rule for rule in rules if not rule["name"].startswith(_SLICE)] + failed[:SLICES_SHOWN]
    return {
        "highlighted": sorted(highlighted, key=lambda rule: bool(rule["state"] != "failed")),
        "failed_left_out": len(failed[SLICES_SHOWN:]),
        "collapsed": others[:SLICES_SHOWN],
        "slices": len(others),
        "too_small": sum(rule["state"] == "not judged" for rule in others),
    }


def _charts(facts: Facts) -> Facts:
    _, second = facts["class_names"]
    models = [ModelCurves("this model", facts["curves"]["candidate"])]
    if "newest" in facts["curves"]:
        models.append(charts.second("last blessed", facts["curves"]["newest"]))
    history = facts["history"]
    return {
        "learning": learning([("", history)])
        if history and any(p["epochs"] for p in history["phases"])
        else [],
        "curves": curves(models, second) if facts["pictures"] else [],
        "distributions": [
            (one["label"].split(",")[0], drawn_or_not(charts.distribution, f"distribution{place}", one))
            for place, one in enumerate(facts["data"]["distributions"])
            if any(split["edges"] for split in one["splits"])
        ],
    }


def learning(histories: Sequence[tuple[str, Facts]]) -> list[tuple[str, Markup]]:
    """Returns the titles and charts of the training of one run, or of two."""
    return [
        (title, drawn_or_not(charts.learning, f"learning-{metric}", histories, metric, title.lower()))
        for metric, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]


def curves(models: Sequence[ModelCurves], second: str) -> list[tuple[str, Markup, str]]:
    """Returns titles, charts and captions of ROC, precision-recall and calibration."""
    found = []
    if all(charts.drawable(model.curves["roc"]) for model in models):
        found += [
            (
                "ROC",
                drawn_or_not(charts.roc, "roc", models, second),
                "The closer to the upper left corner, the better.",
            ),
            (
                "Precision and recall",
                drawn_or_not(charts.precision_recall, "precision-recall", models, second),
                "The closer to the upper right corner, the better.",
            ),
        ]
    caption = (
        "Probabilities are right where points lie on the dotted line. Below: how many pictures each is of."
    )
    return [*found, ("Calibration", drawn_or_not(charts.calibration, "calibration", models, second), caption)]


def _scale(slices: Sequence[Facts], floor: float | None) -> tuple[float, float]:
    """Returns where the axis of the slices starts and ends: with room for every one that is judged."""
    lows = [one["candidate"]["low"] for one in slices if one["judged"] and one["candidate"]]
    lowest = min([*lows, 0.9 if floor is None else floor])
    return (max(0.0, int(20 * lowest - 0.2) / 20), 1.0)


def _at(value: float | None, scale: tuple[float, float]) -> float:
    """Returns the place of a value on a scale in percent; what lies beyond an end is at that end."""
    start, end = scale
    if value is None:
        return 0.0
    return round(min(100.0, max(0.0, 100 * (value - start) / ((end - start) or 1))), 2)


def _grouped(rows: Iterable[Facts], key: str) -> list[tuple[Any, list[Facts]]]:
    """Returns neighbouring rows by a key; jinja's `groupby` would sort them."""
    return [(value, list(group)) for value, group in groupby(rows, itemgetter(key))]


def _of_note(text: str) -> Iterator[tuple[str, str]]:
    settings: Facts = yaml.safe_load(text) or {}
    for section, names in _NOTED.items():
        for name in names:
            chosen = (settings.get(section) or {}).get(name)
            if chosen is None:
                continue
            if isinstance(chosen, dict):
                chosen = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in chosen.items())
            elif isinstance(chosen, list):
                chosen = ", ".join(map(str, chosen))
            yield f"{section}.{name}", str(chosen)


def _some_points(curve: Facts) -> list[tuple[float, float, float]]:
    rows = list(zip(curve["thresholds"], curve["x"], curve["y"], strict=True))
    rows = [row for row in rows if row[0] is not None]
    step = max(1, -(-len(rows) // _POINTS))
    return rows[::step]
