from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components import figures
from components.evaluation_report import activation, charts, comparison, gallery, prediction_facts
from components.evaluation_report.charts import Model
from components.evaluation_report.comparison import Side
from components.prediction_table import table as prediction_table
from components.prediction_table.table import BaselineState, PredictionTable
from tests.components import prediction_tables, report_inputs
from trainer import features

HOSTILE = '"><script>alert(1)</script> | `*_[x](http://evil.example)_*` www.evil.example\n# {{ 7 * 7 }}.jpg'


@pytest.fixture(scope="module")
def encoded(picture: Callable[..., bytes]) -> list[bytes]:
    """Forty pictures, the last 24 of the worst kind for a small page: large, and nothing but noise."""
    small = [picture(index) for index in range(16)]
    return small + [picture(index, size=(640, 480), quality=95) for index in range(16, 40)]


@pytest.fixture(scope="module")
def table(encoded: list[bytes]) -> PredictionTable:
    made = report_inputs.predictions(encoded)
    answers = made.probabilities.copy()
    answers[16:28] = np.where(
        made.labels[16:28] == 1, 0.01, 0.99
    )  # the large ones are what the gallery shows
    answers[28:] = 0.51
    names = made.filenames.copy()
    names[20] = names[30] = HOSTILE
    return replace(made, probabilities=answers.astype(np.float32), filenames=names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoded: list[bytes], table: PredictionTable) -> Path:
    """A whole report, and what it was made of."""
    folder = tmp_path_factory.mktemp("run")
    report_inputs.report(folder, report_inputs.write(folder, encoded, table))
    return folder


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return (folder / "report" / "report.html").read_text()


@pytest.fixture(scope="module")
def card(folder: Path) -> str:
    return (folder / "report" / "model_card.md").read_text()


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report" / "report.json").read_text())
    return content


def test_the_page_is_small_and_has_every_picture(html: str) -> None:
    assert html.count("data:image/jpeg;base64,") == 2 * 24
    assert len(html.encode()) < 5_000_000


class References(HTMLParser):
    """All that the elements of a page refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.elements: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.found |= {value or "" for name, value in attributes if name in ("src", "href", "xlink:href")}
        assert not any(name.startswith("on") for name, _ in attributes)


def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    references = References()
    references.feed(html)
    assert {one[:5] for one in references.found if not one.startswith("#")} == {"data:"}
    assert not references.elements & {"script", "iframe", "object", "embed", "form"}
    (style,) = re.findall("<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_file_names_stay_text(html: str, card: str) -> None:
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "49.jpg" not in html + card
    assert not re.search(r"(?<!\\)[<>]", card)
    assert not re.search(r"(?<!\\)\]\(", card)
    row = next(line for line in card.splitlines() if "alert(1)" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4  # no cell more than the others have


def test_ids_are_unlike_and_are_those_referred_to(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


def test_colours_of_charts_are_those_of_the_style_sheet(html: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert drawings.count("aria-label") == 2 + 3 + 4  # learning, curves, distributions
    assert re.findall(r"#[0-9a-f]{6}\b", drawings) == []
    assert "var(--first)" in drawings
    assert "font-family" not in drawings


def test_facts_are_those_of_the_inputs(facts: dict[str, Any], table: PredictionTable) -> None:
    measured = figures.measure(table.labels, table.probabilities, table.class_names)
    for row in facts["headline"]:
        assert row["candidate"]["value"] == pytest.approx(measured[row["name"]].value)
        assert row["candidate"]["low"] == pytest.approx(measured[row["name"]].low, abs=0.02)
    assert facts["confusion"] == figures.confusion(table.labels, table.probabilities).tolist()
    assert facts["verdict"]["blessed"] is False
    judged = facts["verdict"]["comparisons"]["newest"]
    assert facts["comparisons"][0]["p_value"] == judged["p_value"]
    assert facts["history"]["phases"][0]["epochs"][0]["val_auc"] is None
    assert facts["tfma"] is None  # the folder is empty
    assert facts["data"]["splits"][0]["classes"] == {"cat": 100, "dog": 100}
    assert {one["feature"]: one["value"] for one in facts["data"]["drift"]["distances"]} == {
        name: distance["value"] for name, distance in report_inputs.DISTANCES.items()
    }
    assert facts["data"]["rejected"]["reasons"] == {"cannot be decoded": 2}
    assert facts["model"]["bytes"] > 1000
    assert [one["input"] for one in facts["lineage"]][:2] == ["model", "model_run"]
    assert facts["versions"]["tfx"].startswith("1.")


def test_the_card_says_what_the_page_says(facts: dict[str, Any], card: str) -> None:
    accuracy = facts["headline"][0]["candidate"]
    shown = " to ".join(f"{100 * accuracy[end]:.1f}" for end in ("low", "high"))
    assert f"{100 * accuracy['value']:.1f}\u202f% ({shown}\u202f%)" in card
    assert "**Not blessed.**" in card
    for one in facts["slices"]:
        assert f": {one['value']} | {one['pictures']} |" in card
    assert "min_slice_accuracy: 0.8" in card
    assert "brightness 0.03 (allowed 0.8)" in card


def test_slices_that_are_too_small_say_so(table: PredictionTable) -> None:
    found = prediction_facts.collect(table, min_slice_pictures=20)["slices"]
    assert {one["judged"] for one in found} == {True, False}
    assert all(one["judged"] == (one["pictures"] >= 20) for one in found)
    sizes = [one["value"] for one in found if one["feature"].endswith("byte_size_range")]
    assert sizes == ["under 16 kB", "16 to 64 kB"]


def test_of_very_many_slices_the_largest_are_shown() -> None:
    labels, answers = prediction_tables.drawn(101)
    slices = prediction_tables.table(labels, answers).slices
    slices[features.SOURCE_FOLDER] = ["large", "large", *(f"folder {index}" for index in range(99))]
    many = prediction_facts.collect(prediction_tables.table(labels, answers, slices=slices), 1)
    shown = [one["value"] for one in many["slices"] if one["feature"] == features.SOURCE_FOLDER]
    assert "large" in shown
    assert (len(shown), many["slices_left_out"]) == (40, 60)


def test_the_gallery_has_the_most_confident_mistakes_and_the_least_certain_others() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    answers = np.array([0.9, 0.1, 0.45, 0.2, 0.52, 0.99])
    shown = prediction_facts.collect(prediction_tables.table(labels, answers), 1)["gallery"]
    assert [one["file"] for one in shown["mistakes"]] == ["0000.jpg", "0003.jpg"]
    assert [one["file"] for one in shown["uncertain"]][:2] == ["0004.jpg", "0002.jpg"]
    assert shown["mistakes"][1]["answer"] == "cat"
    assert shown["mistakes"][1]["probability"] == pytest.approx(0.8)


def test_red_is_what_speaks_for_the_answer() -> None:
    towards = np.array([[1.0, 0.0], [0.0, -0.5]])
    laid = np.asarray(activation.laid_over(Image.new("RGB", (40, 40), (128, 128, 128)), towards)).astype(int)
    red, blue = laid[2, 2], laid[-3, -3]
    assert red[0] - red[2] > 60
    assert blue[2] - blue[0] > 30


def test_only_the_chosen_pictures_are_kept(
    folder: Path, table: PredictionTable, encoded: list[bytes]
) -> None:
    files = [str(path) for path in (folder / "examples" / "Split-test").iterdir()]
    assert gallery.read(files, {table.digests[3]}) == {table.digests[3]: encoded[3]}


def test_curves_of_many_pictures_keep_their_shape_in_few_points() -> None:
    labels, answers = prediction_tables.drawn(20_000, 0.97)
    curve = prediction_facts.curves(labels, answers)["roc"]
    assert len(curve["x"]) <= 400
    whole = figures.roc(labels, answers)
    assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx(np.trapezoid(whole.y, whole.x), abs=1e-3)
    assert (curve["x"][0], curve["y"][-1]) == (0, 1)


def test_names_of_classes_are_no_formulas_in_charts() -> None:
    labels, answers = prediction_tables.drawn(50)
    drawn = charts.roc("roc", [Model("<b>", prediction_facts.curves(labels, answers))], "$\\frac{<")
    assert "$\\frac{&lt;" in drawn
    assert "<b>" not in drawn


def _odd() -> dict[str, PredictionTable]:
    labels, answers = prediction_tables.drawn(40)
    gone = BaselineState("unreadable", 3, "/models/3", "its files are gone")
    return {
        "no pictures": prediction_tables.table([], []),
        "one class": prediction_tables.table(np.ones(40, int), answers),
        "no baseline": prediction_tables.table(labels, answers),
        "unreadable baselines": replace(
            prediction_tables.table(labels, answers), baselines={"newest": gone, "best": gone}
        ),
        "diverged": prediction_tables.table(labels, np.full(40, math.nan)),
        "compared with a diverged one": prediction_tables.table(
            labels, answers, {"newest": np.full(40, math.nan)}
        ),
        "no grey picture, no changes": prediction_tables.table(
            labels, answers, grey=math.nan, changed={"flipped": np.full(40, math.nan)}
        ),
        "without a mistake": prediction_tables.table(labels, np.where(labels == 1, 0.99, 0.01)),
    }


@pytest.mark.parametrize(("name", "odd"), _odd().items(), ids=list(_odd()))
def test_odd_data_have_a_report_too(name: str, odd: PredictionTable, tmp_path: Path) -> None:
    inputs = report_inputs.folders(tmp_path)  # whatever may be missing is missing as well
    prediction_table.write(str(tmp_path / "predictions"), odd)
    written = report_inputs.report(tmp_path, inputs)
    page = (written / "report.html").read_text()
    json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert "The verdict of this run cannot be read" in page
    assert "The training left no history" in page
    assert ("its files are gone" in page) == (name == "unreadable baselines")
    none = {baseline.state for baseline in odd.baselines.values()} == {"none"}
    assert ("No other model has been blessed before" in page) == none


def _side(run: str, table: PredictionTable | None, settings: str) -> Side:
    made = table or prediction_tables.table(*prediction_tables.drawn(30))
    facts = prediction_facts.collect(made, 30) | {
        "pipeline": "catsdogs",
        "verdict": None,
        "history": report_inputs.HISTORY,
        "settings": settings,
        "versions": {"tfx": "1.21.0"},
    }
    return Side(run, facts, table)


def test_two_runs_are_compared_on_the_pictures_that_both_judged(tmp_path: Path) -> None:
    labels, answers = prediction_tables.drawn(60)
    first = prediction_tables.table(labels, answers)
    changed = answers.copy()
    changed[10] = 1 - changed[10]
    kept = np.arange(60) >= 5
    second = prediction_tables.table(labels, changed)
    second = replace(
        second,
        filenames=second.filenames[5:],
        digests=second.digests[5:],
        labels=labels[kept],
        probabilities=changed[kept],
        slices={name: values[5:] for name, values in second.slices.items()},
        seen=second.seen[5:],
        changed={},
    )
    sides = _side("<first>", first, "a: 1\nb: {c: 2}\n"), _side("second", second, "a: 1\nb: {c: 3}\n")
    paired = comparison.pair(*sides)
    assert paired is not None
    assert (paired.pictures, paired.of) == (55, (60, 55))
    (moved,) = paired.only_first + paired.only_second
    assert moved.file == "0010.jpg"
    assert moved.first == pytest.approx(answers[10] if labels[10] else 1 - answers[10])
    assert moved.second == pytest.approx(changed[10] if labels[10] else 1 - changed[10])
    assert list(comparison.differences(sides[0].facts["settings"], sides[1].facts["settings"])) == [
        ("b.c", "2", "3")
    ]
    comparison.write_page(*sides, tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text()
    assert "0010.jpg" in text
    assert "<first>" not in text
    assert text.count("<svg") == 5


def test_runs_without_tables_are_compared_by_their_figures() -> None:
    sides = _side("first", None, "a: 1"), _side("second", None, "a: 1")
    assert comparison.pair(*sides) is None
    assert "cannot be compared picture by picture" in comparison.render(*sides)
