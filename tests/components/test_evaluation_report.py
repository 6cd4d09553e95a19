from __future__ import annotations

import base64
import copy
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components import model_metrics
from components.evaluation_report import (
    charts,
    comparison,
    data_summary,
    formatting,
    gallery,
    model_card,
    page,
    prediction_metrics,
    svg,
)
from components.evaluation_report.charts import ModelCurves
from components.evaluation_report.comparison import ComparedRun
from components.prediction_table import table as prediction_table
from components.prediction_table.table import BaselineState, Predictions
from components.quality_gate import verdict
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from tests.components import prediction_tables, report_inputs
from tests.components.counted_examples import columns, statistics
from trainer import features

HOSTILE = '"><script>alert(1)</script> | `*_[x](http://evil.example)_*` www.evil.example\n# {{ 7 * 7 }}.jpg'


@pytest.fixture(scope="module")
def encoded(make_image: Callable[..., bytes]) -> list[bytes]:
    """Returns 40 images; the last 24 are large and pure noise, the worst case for the page size."""
    small = [make_image(index) for index in range(16)]
    return small + [make_image(index, size=(640, 480), quality=95) for index in range(16, 40)]


@pytest.fixture(scope="module")
def table(encoded: list[bytes]) -> Predictions:
    made = report_inputs.predictions(encoded)
    probabilities = made.probabilities.copy()
    probabilities[16:28] = np.where(
        made.labels[16:28] == 1, 0.01, 0.99
    )  # the large ones are what the gallery shows
    probabilities[28:] = 0.51
    names = made.filenames.copy()
    names[20] = names[30] = HOSTILE
    return replace(made, probabilities=probabilities.astype(np.float32), filenames=names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, encoded: list[bytes], table: Predictions) -> Path:
    """Writes a complete report and its inputs."""
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
def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report" / "report.json").read_text())
    return content


def test_page_is_small_and_shows_every_gallery_image(html: str) -> None:
    assert html.count("data:image/jpeg;base64,") == 2 * 24
    assert len(html.encode()) < 5_000_000


class References(HTMLParser):
    """Collects the elements of a page and their references."""

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


def test_report_data_match_the_inputs(report: dict[str, Any], table: Predictions) -> None:
    measured = model_metrics.compute_metrics(table.labels, table.probabilities, table.class_names)
    for row in report["headline"]:
        assert row["candidate"]["value"] == pytest.approx(measured[row["name"]].value)
        assert row["candidate"]["low"] == pytest.approx(measured[row["name"]].low, abs=0.02)
    assert report["confusion"] == model_metrics.confusion_matrix(table.labels, table.probabilities).tolist()
    assert report["verdict"]["blessed"] is False
    judged = report["verdict"]["comparisons"]["newest"]
    assert report["comparisons"][0]["p_value"] == judged["p_value"]
    assert report["history"]["phases"][0]["epochs"][0]["val_auc"] is None
    assert report["tfma"] is None  # the folder is empty
    assert report["data"]["splits"][0]["classes"] == {"cat": 100, "dog": 100}
    assert {one["feature"]: one["value"] for one in report["data"]["verdict"]["drift"]["distances"]} == {
        name: distance["value"] for name, distance in report_inputs.DISTANCES.items()
    }
    assert report["data"]["rejected"]["reasons"] == {"cannot be decoded": 2}
    assert report["model"]["bytes"] > 1000
    assert [one["input"] for one in report["lineage"]][:2] == ["model", "model_run"]
    assert report["versions"]["tfx"].startswith("1.")


def test_model_card_shows_the_report_data(report: dict[str, Any], card: str) -> None:
    accuracy = report["headline"][0]["candidate"]
    shown = " to ".join(f"{100 * accuracy[end]:.1f}" for end in ("low", "high"))
    assert f"{100 * accuracy['value']:.1f}\u202f% ({shown}\u202f%)" in card
    for one in report["slices"]:
        assert f": {one['value']} | {one['pictures']} |" in card
    assert "min_slice_accuracy: 0.8" in card
    for shown in ("0.03", "| cannot be decoded | 2 |", "| REST | 12.5 ms | 20.1 ms |", "report.html"):
        assert shown in card
    assert str(formatting.p_value(report["comparisons"][0]["p_value"]).unescape()) in card
    for bucket in report["curves"]["candidate"]["calibration"]:
        assert f"| {100 * bucket['probability']:.1f}\u202f% | {100 * bucket['share']['value']:.1f}" in card


def test_small_slices_are_marked(table: Predictions) -> None:
    found = prediction_metrics.collect(table, min_slice_images=20)["slices"]
    assert {one["judged"] for one in found} == {True, False}
    assert all(one["judged"] == (one["pictures"] >= 20) for one in found)
    sizes = [one["value"] for one in found if one["feature"].endswith("byte_size_range")]
    assert sizes == ["under 16 kB", "16 to 64 kB"]


def test_only_the_largest_slices_are_shown() -> None:
    labels, probabilities = prediction_tables.drawn(101)
    slices = prediction_tables.table(labels, probabilities).slices
    slices[features.SOURCE_FOLDER] = ["large", "large", *(f"folder {index}" for index in range(99))]
    many = prediction_metrics.collect(prediction_tables.table(labels, probabilities, slices=slices), 1)
    shown = [one["value"] for one in many["slices"] if one["feature"] == features.SOURCE_FOLDER]
    assert "large" in shown
    assert (len(shown), many["slices_left_out"]) == (40, 60)


def test_gallery_shows_most_confident_mistakes_and_least_certain_others() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([0.9, 0.1, 0.45, 0.2, 0.52, 0.99])
    shown = prediction_metrics.collect(prediction_tables.table(labels, probabilities), 1)["gallery"]
    assert [one["file"] for one in shown["mistakes"]] == ["0000.jpg", "0003.jpg"]
    assert [one["file"] for one in shown["uncertain"]][:2] == ["0004.jpg", "0002.jpg"]
    assert shown["mistakes"][1]["answer"] == "cat"
    assert shown["mistakes"][1]["probability"] == pytest.approx(0.8)


def test_heatmap_is_red_where_it_supports_the_prediction() -> None:
    towards = np.array([[1.0, 0.0], [0.0, -0.5]])
    laid = np.asarray(gallery.overlay_heatmap(Image.new("RGB", (40, 40), (128, 128, 128)), towards)).astype(
        int
    )
    red, blue = laid[2, 2], laid[-3, -3]
    assert red[0] - red[2] > 60
    assert blue[2] - blue[0] > 30


def test_only_requested_images_are_read(folder: Path, table: Predictions, encoded: list[bytes]) -> None:
    files = [str(path) for path in (folder / "examples" / "Split-test").iterdir()]
    assert gallery.read(files, {table.digests[3]}) == {table.digests[3]: encoded[3]}


def test_thinned_curves_keep_their_shape() -> None:
    labels, probabilities = prediction_tables.drawn(20_000, 0.97)
    curve = prediction_metrics.curves(labels, probabilities)["roc"]
    assert len(curve["x"]) <= 400
    whole = model_metrics.roc_curve(labels, probabilities)
    assert np.trapezoid(curve["y"], curve["x"]) == pytest.approx(np.trapezoid(whole.y, whole.x), abs=1e-3)
    assert (curve["x"][0], curve["y"][-1]) == (0, 1)


def _odd() -> dict[str, Predictions]:
    labels, probabilities = prediction_tables.drawn(40)
    gone = BaselineState("unreadable", 3, "/models/3", "its files are gone")
    return {
        "no images": prediction_tables.table([], []),
        "one class": prediction_tables.table(np.ones(40, int), probabilities),
        "no baseline": prediction_tables.table(labels, probabilities),
        "unreadable baselines": replace(
            prediction_tables.table(labels, probabilities), baselines={"newest": gone, "best": gone}
        ),
        "diverged": prediction_tables.table(labels, np.full(40, math.nan)),
        "compared with a diverged one": prediction_tables.table(
            labels, probabilities, {"newest": np.full(40, math.nan)}
        ),
        "no grey image, no changes": prediction_tables.table(
            labels, probabilities, grey=math.nan, changed={"flipped": np.full(40, math.nan)}
        ),
        "without a mistake": prediction_tables.table(labels, np.where(labels == 1, 0.99, 0.01)),
    }


@pytest.mark.parametrize(("name", "odd"), _odd().items(), ids=list(_odd()))
def test_unusual_data_have_a_report(name: str, odd: Predictions, tmp_path: Path) -> None:
    inputs = report_inputs.folders(tmp_path)  # optional inputs are missing
    prediction_table.write(str(tmp_path / "predictions"), odd)
    written = report_inputs.report(tmp_path, inputs)
    html = (written / "report.html").read_text()
    report = json.loads((written / "report.json").read_text(), parse_constant=pytest.fail)
    assert (report["verdict"], report["history"]) == (None, None)
    assert [one["state"] for one in report["comparisons"]] == [one.state for one in odd.baselines.values()]
    assert ("its files are gone" in html) == (name == "unreadable baselines")


def _run(run: str, table: Predictions | None, settings: str) -> ComparedRun:
    made = table or prediction_tables.table(*prediction_tables.drawn(30))
    report = prediction_metrics.collect(made, 30) | {
        "pipeline": "catsdogs",
        "verdict": None,
        "history": report_inputs.HISTORY,
        "settings": settings,
        "versions": {"tfx": "1.21.0"},
    }
    return ComparedRun(run, report, table)


def test_runs_are_compared_on_common_images(tmp_path: Path) -> None:
    labels, probabilities = prediction_tables.drawn(60)
    first = prediction_tables.table(labels, probabilities)
    changed = probabilities.copy()
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
    runs = _run("<first>", first, "a: 1\nb: {c: 2}\n"), _run("second", second, "a: 1\nb: {c: 3}\n")
    paired = comparison.pair(*runs)
    assert paired is not None
    assert (paired.images, paired.totals) == (55, (60, 55))
    (moved,) = paired.only_first + paired.only_second
    assert moved.file == "0010.jpg"
    assert moved.first == pytest.approx(probabilities[10] if labels[10] else 1 - probabilities[10])
    assert moved.second == pytest.approx(changed[10] if labels[10] else 1 - changed[10])
    assert list(comparison.differences(runs[0].report["settings"], runs[1].report["settings"])) == [
        ("b.c", "2", "3")
    ]
    comparison.write_page(*runs, tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text()
    assert "0010.jpg" in text
    assert "<first>" not in text
    assert text.count("<svg") == 5


def test_relabelled_images_are_excluded_from_the_comparison() -> None:
    labels, probabilities = prediction_tables.drawn(40)
    relabelled = labels.copy()
    relabelled[:3] = 1 - relabelled[:3]
    runs = (
        _run("first", prediction_tables.table(labels, probabilities), "a: 1"),
        _run("second", prediction_tables.table(relabelled, probabilities), "a: 1"),
    )
    paired = comparison.pair(*runs)
    assert paired is not None
    assert (paired.images, paired.relabelled, paired.totals) == (37, 3, (40, 40))
    assert paired.metrics["difference"]["value"] == 0  # the same predictions for the same labels
    assert 'id="images"' in comparison.render(*runs)
    turned = _run("second", prediction_tables.table(1 - labels, probabilities), "a: 1")
    assert comparison.pair(runs[0], turned) is None


UNREADABLE = {
    "gone": {"rejected/counts.json": "", "rejected/rejected.csv": "", "data_verdict/verdict.json": ""},
    "no JSON": {"rejected/counts.json": "{", "data_verdict/verdict.json": "[1"},
    "other JSON": {"rejected/counts.json": "[]", "data_verdict/verdict.json": "[]"},
    "no table": {"rejected/rejected.csv": 'file,reason,detail\na.jpg,"why" not,\n'},
}


@pytest.mark.parametrize("broken", UNREADABLE.values(), ids=list(UNREADABLE))
def test_unreadable_inputs_are_null_and_logged(
    broken: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = report_inputs.folders(tmp_path)
    prediction_table.write(str(tmp_path / "predictions"), prediction_tables.table([], []))
    report_inputs.write_data(tmp_path)
    for path, content in broken.items():
        if content:
            (tmp_path / path).write_text(content)
        else:
            (tmp_path / path).unlink()
    data = json.loads((report_inputs.report(tmp_path, inputs) / "report.json").read_text())["data"]
    files = {
        "rejected": "rejected/counts.json",
        "rejected_files": "rejected/rejected.csv",
        "verdict": "data_verdict/verdict.json",
    }
    assert {name for name in files if data[name] is None} == {
        name for name, path in files.items() if path in broken
    }
    assert [record for record in caplog.records if record.name.endswith("report_data")]


@pytest.mark.parametrize("render", [lambda report: page.render(report, {}), model_card.render])
@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("rejected", {"pictures": 0, "reasons": {}, "in_test_and_elsewhere": 0, "outside_links": 0}),
        ("verdict", {"summary": "fine", "drift": None}),
    ],
)
def test_unreadable_inputs_render_differently_from_empty_ones(
    render: Callable[[dict[str, Any]], str], name: str, nothing: dict[str, Any], report: dict[str, Any]
) -> None:
    texts = {render({**report, "data": {**report["data"], name: found}}) for found in (None, nothing)}
    assert len(texts) == 2


@pytest.mark.parametrize("render", [lambda report: page.render(report, {}), model_card.render])
def test_links_out_of_the_image_folder_are_counted(
    render: Callable[[dict[str, Any]], str], report: dict[str, Any]
) -> None:
    rejected = report["data"]["rejected"]
    assert rejected["outside_links"] == 0
    assert "out of the image folder" not in render(report)
    data = {**report["data"], "rejected": {**rejected, "outside_links": 12_345}}
    assert "12,345" in render({**report, "data": data})


def test_truncated_examples_do_not_fail_the_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = report_inputs.folders(tmp_path)
    prediction_table.write(
        str(tmp_path / "predictions"), prediction_tables.table(*prediction_tables.drawn(16))
    )
    (tmp_path / "examples" / "Split-test").mkdir()
    (tmp_path / "examples" / "Split-test" / "data-00000-of-00001.gz").write_bytes(b"torn")
    html = (report_inputs.report(tmp_path, inputs) / "report.html").read_text()
    assert "<img" not in html
    assert [record for record in caplog.records if record.name.endswith("gallery")]


def test_failing_chart_is_replaced_by_a_message(
    report: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken = copy.deepcopy(report)
    broken["data"]["distributions"][0]["splits"][0]["edges"][0] = None
    html = page.render(broken, {})
    assert html.count("<svg") == 8
    assert "distribution0" in caplog.text


def test_undecodable_image_is_omitted(
    tmp_path: Path, make_image: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "data.gz"), "GZIP") as writer:
        for digest, data in (("a", b"no image"), ("b", make_image(0))):
            example = tf.train.Example()
            for name, value in ((features.DIGEST, digest.encode()), (features.ENCODED, data)):
                example.features.feature[name].bytes_list.value.append(value)
            writer.write(example.SerializeToString())
    shown = {"mistakes": [{"digest": name, "answer": "cat"} for name in "ab"], "uncertain": []}
    drawn = gallery.render_thumbnails(shown, str(tmp_path / "data*"), str(tmp_path / "no model"), "dog")
    assert set(drawn) == {"b"}
    assert len([record for record in caplog.records if record.name.endswith("gallery")]) == 2


def test_report_json_and_model_card_are_written_first(tmp_path: Path) -> None:
    inputs = report_inputs.folders(tmp_path)
    inputs["examples"].split_names = '["train"]'  # so that there is nowhere to take images from
    prediction_table.write(str(tmp_path / "predictions"), prediction_tables.table([], []))
    with pytest.raises(ValueError, match="test"):
        report_inputs.report(tmp_path, inputs)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "model_card.md"}


def _tick_labels(drawing: str) -> list[list[str]]:
    """Returns the labels of the ticks of every axis of a chart."""
    return [
        [
            "".join(text.itertext())
            for tick in axis
            if "tick_" in tick.get("id", "")
            for text in tick.iter("text")
        ]
        for axis in ElementTree.fromstring(drawing).iter("g")
        if "matplotlib.axis_" in axis.get("id", "")
    ]


def _history(metric: str, values: list[float]) -> dict[str, Any]:
    epochs = [
        {"epoch": place + 1, metric: value, f"val_{metric}": value + 1e-4}
        for place, value in enumerate(values)
    ]
    return {"phases": [{"name": "frozen", "epochs": epochs}], "kept": {"phase": "frozen", "epoch": 1}}


def _sizes(label: str, low: float, high: float) -> dict[str, Any]:
    edges = list(np.linspace(low, high, 11))
    return {"label": label, "splits": [{"split": "train", "edges": edges, "pictures": [3] * 10}]}


def _losses(*values: float) -> tuple[Any, ...]:
    return charts.learning, [("", _history("loss", list(values)))], "loss", "loss"


AXES: dict[str, tuple[Any, ...]] = {
    "losses of a hundredth": _losses(0.0123, 0.0119, 0.0117, 0.0116),
    "one epoch": _losses(0.7),
    "many epochs": _losses(*np.geomspace(0.7, 0.01, 137)),
    "one brightness": (charts.distribution, _sizes("Brightness, 0 to 1", 0.5, 0.5)),
    "narrow file sizes": (charts.distribution, _sizes("File size, bytes", 1_234_500, 1_234_510)),
    "few mistakes": (
        charts.roc,
        [ModelCurves("m", prediction_metrics.curves(*prediction_tables.drawn(4000, 0.999)))],
        "dog",
    ),
}


@pytest.mark.parametrize("chart", AXES.values(), ids=list(AXES))
def test_no_axis_has_the_same_label_twice(chart: tuple[Any, ...]) -> None:
    axes = _tick_labels(svg.draw_chart(chart[0], "x", *chart[1:]))
    assert len(axes) >= 2
    assert any(axes)
    for labels in axes:
        assert len(set(labels)) == len(labels), labels


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("one epoch", [1]),
        ("losses of a hundredth", [1, 2, 3, 4]),
        ("many epochs", [20, 40, 60, 80, 100, 120]),
    ],
)
def test_epochs_are_whole_numbers(name: str, epochs: list[int]) -> None:
    draw, *report = AXES[name]
    labels, _ = _tick_labels(svg.draw_chart(draw, "x", *report))
    assert [int(label) for label in labels] == epochs


def test_chart_text_is_not_parsed_as_math_or_markup() -> None:
    labels, probabilities = prediction_tables.drawn(50)
    model = ModelCurves("<b> 1.23456", prediction_metrics.curves(labels, probabilities))
    models = [model, charts.baseline_curves("#010101 0.98765", model.curves)]
    drawn = svg.draw_chart(charts.roc, "roc", models, "$\\frac{<")
    for text in ("$\\frac{&lt;", ">&lt;b&gt; 1.23456<", ">#010101 0.98765<"):
        assert text in drawn
    assert not re.search(r'="[^"]*\d\.\d{3}', drawn)


def test_infinite_histogram_buckets_are_omitted() -> None:
    counted = statistics(columns(20))
    brightness = next(one for one in counted.datasets[0].features if one.path.step[0] == features.BRIGHTNESS)
    for histogram in brightness.num_stats.histograms:
        histogram.buckets[0].low_value = -math.inf
    found = data_summary.summarize_statistics({"train": counted})["distributions"]
    (shown,) = next(one["splits"] for one in found if one["feature"] == features.BRIGHTNESS)
    assert None not in shown["edges"]
    assert len(shown["edges"]) == len(shown["pictures"]) + 1


def test_16_bit_thumbnail_matches_the_model_input() -> None:
    grey = (np.linspace(0.2, 0.6, 64 * 64).reshape(64, 64) * 65535).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    shown = gallery.draw_thumbnail(buffer.getvalue(), None)
    with Image.open(io.BytesIO(base64.b64decode(shown.image.partition(",")[2]))) as thumbnail:
        assert np.asarray(thumbnail).mean() == pytest.approx(255 * 0.4, abs=4)


def test_page_with_many_folders_is_small(tmp_path: Path) -> None:
    labels, probabilities = prediction_tables.drawn(20_000, 0.97)
    slices = prediction_tables.table(labels, probabilities).slices
    deep = "/".join(["a folder with a long name"] * 12)
    slices[features.SOURCE_FOLDER] = [f"{deep}/{index}" for index in range(20_000)]
    slices[features.SOURCE_FOLDER][:300] = ["large"] * 150 + ["larger"] * 150
    table = prediction_tables.table(labels, probabilities, {"newest": probabilities}, slices=slices)
    inputs = report_inputs.folders(tmp_path)
    prediction_table.write(str(tmp_path / "predictions"), table)
    verdict.write(str(tmp_path / "blessing"), judge(table, GateLimits()))
    written = report_inputs.report(tmp_path, inputs)
    html, card = (written / "report.html").read_text(), (written / "model_card.md").read_text()
    assert len(html.encode()) < 1_500_000  # the gallery's 3 MB come on top
    assert len(card.encode()) < 200_000
    judged = json.loads((written / "report.json").read_text())["verdict"]["rules"]
    assert len(judged) > 19_000
    for text in (html, card):
        assert "slice source folder larger" in text
        assert re.search(r"\b19,[67][0-9]{2}\b", text)  # slices that are left out
        assert deep not in re.sub('title="[^"]*"', "", text)


def test_slices_closest_to_the_minimum_are_shown() -> None:
    def rule(name: str, state: str, figure: float) -> dict[str, Any]:
        return {"name": name, "state": state, "figure": figure, "bound": 0.8, "words": ""}

    passed = [rule(f"slice source folder {index}", "passed", 0.8 + index / 1000) for index in range(99)]
    small = [rule(f"slice brightness {index}", "not judged", 0.1) for index in range(3)]
    failed = [rule(f"slice source folder bad {index}", "failed", index / 1000) for index in range(60)]
    found = page.rules_to_show({"rules": [rule("accuracy", "passed", 0.9), *passed[::-1], *small, *failed]})
    assert [one["state"] for one in found["highlighted"]] == ["failed"] * 40 + ["passed"]
    assert found["highlighted"][0]["name"] == "slice source folder bad 0"
    assert found["collapsed"] == passed[:40]
    assert (found["slices"], found["too_small"], found["failed_left_out"]) == (102, 3, 20)


def test_overridden_rules_are_listed_up_to_ten(report: dict[str, Any]) -> None:
    override = {"applied": True, "by": "Ann", "at": "2026-11-22T15:10:00+00:00", "reason": "it must go out"}
    lifted = ["accuracy", "slice brightness dark", *(f"slice {index}" for index in range(12))]
    changed = {
        **report,
        "verdict": {**report["verdict"], "override": {**override, "lifted": lifted}},
        "slices_left_out": 1234,
    }
    for text in (model_card.render(changed), page.render(changed, {})):
        for shown in ("Ann", "it must go out", "accuracy", "slice brightness dark", "slice 7", "1,234"):
            assert shown in text
        assert "slice 11" not in text  # ten are named


def test_control_characters_are_visible_in_the_model_card(report: dict[str, Any]) -> None:
    card = model_card.render({**report, "pipeline": "a\x1b\x9b\u202e\n#b"})
    assert r"# Model card: a \\x9b\\u202e \#b" in card
