"""Tests the page in a browser: its metrics match report.json, which matches TFMA."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from components import tfma_metrics
from components.evaluation_report import formatting
from tests.components import report_inputs
from tests.components.test_tfma_metrics import evaluate

WIDTHS = (1280, 360)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], str]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_tool("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_dir(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("run")
    encoded = [make_image(index) for index in range(60)]
    table = report_inputs.predictions(encoded)
    inputs = report_inputs.write(folder, encoded, table)
    evaluate(folder / "tfma", table)
    shutil.copytree(folder / "tfma" / "evaluation", folder / "evaluation", dirs_exist_ok=True)
    return report_inputs.report(folder, inputs)


@pytest.fixture(scope="module")
def report(report_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((report_dir / "report.json").read_text())
    return content


@pytest.fixture(params=WIDTHS)
def opened(browser: Browser, report_dir: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Opens the report offline at one width; any console message or failed request fails the test."""
    context = browser.new_context(viewport={"width": request.param, "height": 800}, offline=True)
    failures: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: failures.append(message.text))
    page.on("requestfailed", lambda failed: failures.append(failed.url))
    page.goto((report_dir / "report.html").as_uri())
    yield page
    context.close()
    assert failures == []


@pytest.mark.slow
def test_stored_metrics_match_tfma(report: dict[str, Any]) -> None:
    assert len(report["tfma"]) == len(report["headline"]) == 10
    for row in report["headline"]:
        tolerance = 1e-3 if row["name"] == "auc" else 1e-4
        assert row["candidate"]["value"] == pytest.approx(report["tfma"][row["name"]], abs=tolerance)


@pytest.mark.slow
def test_slice_metrics_match_tfma(report_dir: Path, report: dict[str, Any]) -> None:
    slices = tfma_metrics.read(report_dir.parent / "evaluation").slices
    assert len(report["slices"]) == sum(map(len, slices.values()))
    for one in report["slices"]:
        theirs = slices[one["feature"]][one["value"]].figures(("cat", "dog"))
        assert theirs.keys() == one["figures"].keys()
        for name, value in theirs.items():
            ours = one["figures"][name]
            assert (ours is None) == math.isnan(value), (one["value"], name)
            if ours:
                tolerance = 1e-3 if name == "auc" else 1e-4
                assert ours["value"] == pytest.approx(value, abs=tolerance), (one["value"], name)


@pytest.mark.slow
def test_shown_slice_metrics_match_report_json(opened: Page, report: dict[str, Any]) -> None:
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for place in (0, 3, len(report["slices"]) - 1):
        row = opened.locator(f'[data-slice="{place}"]')
        assert report["slices"][place]["value"] in (row.locator("th").text_content() or "")
        for name, figure in report["slices"][place]["figures"].items():
            written = row.locator(f'[data-of="{name}"]').text_content()
            assert written == f"{formatting.metric(figure, name)}" + (
                f"{formatting.interval(figure, name)}" if figure else ""
            )
    box = opened.locator("div.wide:has(> table.everything)")
    assert (
        box.evaluate("(one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).overflowX")
        == "auto"
    )


@pytest.mark.slow
def test_shown_metrics_match_report_json(opened: Page, report: dict[str, Any]) -> None:
    def shown(figure: str) -> str:
        return opened.locator(f'[data-metric="{figure}"]').text_content() or ""

    for row in report["headline"]:
        for model in ("candidate", "newest"):
            written = shown(f"{row['name']}/{model}")
            assert str(formatting.metric(row[model], row["name"])) in written
            assert str(formatting.interval(row[model], row["name"])) in written
    accuracy = report["headline"][0]["candidate"]
    assert shown("accuracy") == f"{100 * accuracy['value']:.1f}\u202f%"
    for truth in (0, 1):
        for output in (0, 1):
            cell = opened.locator(f'[data-confusion="{truth}{output}"]')
            assert cell.text_content() == str(report["confusion"][truth][output])
    assert opened.locator("h1").text_content() == report["verdict"]["sentence"]


@pytest.mark.slow
def test_nothing_is_wider_than_the_screen(opened: Page) -> None:
    assert opened.evaluate(OVERFLOW) <= 0
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.evaluate(OVERFLOW) <= 0


@pytest.mark.slow
def test_images_and_charts_are_shown(opened: Page, report: dict[str, Any]) -> None:
    images = len(report["gallery"]["mistakes"]) + len(report["gallery"]["uncertain"])
    loaded = opened.evaluate("[...document.images].filter((one) => one.naturalWidth > 0 && one.alt).length")
    assert loaded == 2 * images
    assert opened.locator("svg[role=img][aria-label]").count() == 9


@pytest.mark.slow
def test_dark_and_light_differ_in_text_and_charts(browser: Browser, report_dir: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto((report_dir / "report.html").as_uri())
        seen[scheme] = page.evaluate(
            "[getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('svg text')).fill]"
        )
        context.close()
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))
