"""Two runs side by side, as a page: `catsdogs compare RUN RUN`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from components.evaluation_report import charts, page, prediction_facts
from components.evaluation_report.charts import ModelCurves
from components.evaluation_report.json_values import Facts
from components.model_metrics import is_correct
from components.prediction_table.table import PredictionTable

_LISTED = 20  # pictures that only one of the two gets right
_ABSENT = "–"


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes:
        run: Its id.
        facts: Its `report.json`.
        table: Its prediction table; None where that is gone.
    """

    run: str
    facts: Facts
    table: PredictionTable | None = None


@dataclass(frozen=True)
class OnlyOne:
    """A picture that only one of the two models gets right.

    Attributes:
        file: As the second run calls it.
        truth: Its class.
        first: The first model's probability of that class.
        second: The second model's.
    """

    file: str
    truth: str
    first: float
    second: float


@dataclass(frozen=True)
class Paired:
    """What two models say of the pictures that both judged.

    Attributes:
        pictures: How many those are.
        of: How many each of the two judged.
        relabelled: How many both judged whose label differs between the two; they are left out.
        figures: The second model's accuracy minus the first one's, counts and p-value, as in `report.json`.
        only_first: Pictures that only the first one gets right, the clearest first.
        only_second: Likewise.
    """

    pictures: int
    of: tuple[int, int]
    relabelled: int
    figures: Facts
    only_first: list[OnlyOne]
    only_second: list[OnlyOne]


def write_page(first: Side, second: Side, path: Path) -> None:
    """Writes the page, one file that needs nothing beside it.

    Args:
        first: The run to compare with, usually the older one.
        second: The run that is compared.
        path: Of the HTML file.
    """
    path.write_text(render(first, second), encoding="utf-8")


def render(first: Side, second: Side) -> str:
    """Returns the page as text."""
    sides = (first, second)
    names = [row["name"] for row in second.facts["headline"]]
    histories = [(side.run, side.facts["history"]) for side in sides if side.facts["history"]]
    same_classes = first.facts["class_names"] == second.facts["class_names"]
    drawn = same_classes and all(side.facts["pictures"] for side in sides)
    models = [ModelCurves(first.run, first.facts["curves"]["candidate"])]
    models.append(charts.second(second.run, second.facts["curves"]["candidate"]))
    return (
        page.environment()
        .get_template("comparison.html")
        .render(
            sides=sides,
            figures=[(name, [_headline(side, name) for side in sides]) for name in names],
            paired=pair(first, second),
            learning=page.learning(histories) if histories else [],
            curves=page.curves(models, second.facts["class_names"][1]) if drawn else [],
            settings=list(differences(first.facts["settings"], second.facts["settings"])),
            versions=list(_differing(first.facts["versions"], second.facts["versions"])),
        )
    )


def pair(first: Side, second: Side) -> Paired | None:
    """Compares the models on the pictures, known by their digests, that both judged by the same label.

    Returns:
        None where a prediction table is gone, the classes differ, or there is no such picture.
    """
    one, other = first.table, second.table
    if one is None or other is None or one.class_names != other.class_names:
        return None
    places = {digest: place for place, digest in enumerate(one.digests)}
    both = {digest: place for place, digest in enumerate(other.digests) if digest in places}
    common = {
        digest: place for digest, place in both.items() if one.labels[places[digest]] == other.labels[place]
    }
    if not common:
        return None
    in_first = np.array([places[digest] for digest in common])
    in_second = np.array(list(common.values()))
    labels = other.labels[in_second]
    before, after = one.probabilities[in_first], other.probabilities[in_second]
    right_before, right_after = is_correct(labels, before), is_correct(labels, after)

    def pictures(chosen: np.ndarray) -> list[OnlyOne]:
        places = np.flatnonzero(chosen)
        clearest = places[np.argsort(-np.abs(after[places] - before[places]), kind="stable")][:_LISTED]
        return [
            OnlyOne(
                other.filenames[in_second[place]],
                other.class_names[labels[place]],
                *(float(said[place] if labels[place] else 1 - said[place]) for said in (before, after)),
            )
            for place in clearest
        ]

    return Paired(
        pictures=len(common),
        of=(len(one.digests), len(other.digests)),
        relabelled=len(both) - len(common),
        figures=prediction_facts.paired(labels, after, before),
        only_first=pictures(right_before & ~right_after),
        only_second=pictures(right_after & ~right_before),
    )


def differences(first: str, second: str) -> Iterator[tuple[str, str, str]]:
    """Yields the dotted name and both values of every setting that differs.

    Args:
        first: Resolved settings as YAML.
        second: Likewise.
    """
    yield from _differing(dict(_flat(yaml.safe_load(first) or {})), dict(_flat(yaml.safe_load(second) or {})))


def _differing(first: Facts, second: Facts) -> Iterator[tuple[str, str, str]]:
    for name in [*first, *(name for name in second if name not in first)]:
        values = [_ABSENT if name not in side else str(side[name]) for side in (first, second)]
        if values[0] != values[1]:
            yield name, values[0], values[1]


def _flat(settings: Facts, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _headline(side: Side, name: str) -> Facts | None:
    return next((row["candidate"] for row in side.facts["headline"] if row["name"] == name), None)
