from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect, sync_playwright

from serving.client import Client
from serving.local.options import RequestLimits
from serving.local.page import render_page


def test_loads_nothing_from_other_servers() -> None:
    body, headers = render_page(["catsdogs"])
    text = body.decode()
    assert re.findall(r"""(?:src|href|url|@import|from)\s*[=(]?\s*["']?(?!data:)(?:https?:)?//""", text) == []
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", text)  # the policy forbids these


def test_escapes_model_names() -> None:
    names = ['"><script>alert(1)</script>', "a, b"]
    text = render_page(names)[0].decode()
    assert "<script>alert" not in text
    (content,) = re.findall(r'<meta name="models" content="(.*?)">', text)
    assert json.loads(content.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">")) == names


@pytest.fixture(scope="module")
def browser(require_tool: Callable[[str], str]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_tool("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.serving import saved_models  # imports TensorFlow, which is slow

    folder = tmp_path_factory.mktemp("served") / "catsdogs"
    saved_models.classifier(folder, version=1_700_000_000)
    saved_models.half_plus_two(folder.with_name("numbers"), version=3)
    return folder


@pytest.fixture(scope="module")
def url(model_dir: Path) -> Iterator[str]:
    from tests.serving.local.rest_server import rest_server

    folders = {"catsdogs": model_dir, "numbers": model_dir.with_name("numbers")}
    limits = RequestLimits(max_body_bytes=100_000)
    with rest_server(folders, model_dir.with_name("models.config"), limits=limits) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """The page, just opened; an error in it fails the test."""
    context = browser.new_context()
    failures: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("requestfailed", lambda request: failures.append(request.url))
    page.goto(url)
    page.wait_for_selector("#served.available")
    yield page
    failed = list(failures)
    context.close()
    assert failed == []


DROP = """
async (files) => {
  const data = new DataTransfer();
  for (const [name, type, base64] of files) {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    data.items.add(new File([bytes], name, { type }));
  }
  const init = { dataTransfer: data, bubbles: true, cancelable: true };
  const event = EVENT;
  document.querySelector("#drop").dispatchEvent(event);
}
"""


def drop(page: Page, **files: bytes) -> None:
    """Drops files on the page."""
    script = DROP.replace("EVENT", 'new DragEvent("drop", init)')
    page.evaluate(script, [[name, "", base64.b64encode(data).decode()] for name, data in files.items()])


def paste(page: Page, data: bytes) -> None:
    script = DROP.replace("EVENT", 'new ClipboardEvent("paste", { clipboardData: data, bubbles: true })')
    page.evaluate(script, [["image.png", "image/png", base64.b64encode(data).decode()]])


def wait_for_prediction(page: Page, file: str) -> dict[str, str]:
    """Waits for the prediction for a file, and returns the texts that the page shows."""
    expect(page.locator("#name")).to_have_text(file)
    expect(page.locator("#facts")).to_be_visible()
    names = ("label", "class1", "probability1", "class2", "probability2", "version", "latency")
    return {name: page.inner_text(f"#{name}") for name in names}


@pytest.mark.slow
def test_shows_the_prediction_of_a_dropped_image(
    opened: Page, url: str, make_image: Callable[..., bytes]
) -> None:
    one = make_image(1)
    drop(opened, mine=one)
    seen = wait_for_prediction(opened, "mine")
    (truth,) = Client(url, include_version=True).predict([one])
    assert seen["label"].lower() == truth.label
    assert seen["class2"] == truth.probability_of == "dog"
    assert seen["probability2"] == f"{100 * truth.probability:.1f} %"
    assert seen["probability1"] == f"{100 * (1 - truth.probability):.1f} %"
    assert seen["version"] == str(truth.version)
    assert int(seen["latency"].removesuffix(" ms")) > 0
    assert f"mine: {truth.label}" in opened.inner_text("#announcement")
    assert opened.evaluate("document.querySelector('#image').naturalWidth") == 48


@pytest.mark.slow
def test_shows_an_error_for_a_dropped_file_that_is_not_an_image(
    opened: Page, make_image: Callable[..., bytes]
) -> None:
    drop(opened, first=make_image(1), text=b"this is not an image", last=make_image(2))
    expect(opened.locator("#list .one, #list .two")).to_have_count(2)
    buttons = opened.locator("#list button")
    assert [buttons.nth(index).get_attribute("title") for index in range(3)] == ["last", "text", "first"]
    buttons.nth(1).focus()
    opened.keyboard.press("Enter")
    assert opened.is_visible("#title")
    assert "neither a JPEG nor a PNG" in opened.inner_text("#advice")
    assert opened.is_hidden("#retry")
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert wait_for_prediction(opened, "first")["version"] == "1700000000"


@pytest.mark.slow
def test_accepts_pasted_and_chosen_images(
    opened: Page, make_image: Callable[..., bytes], tmp_path: Path
) -> None:
    paste(opened, make_image(3, "PNG"))
    wait_for_prediction(opened, "image.png")
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name="Choose images").press("Enter")
    (tmp_path / "chosen.jpg").write_bytes(make_image(4))
    chooser.value.set_files(tmp_path / "chosen.jpg")
    wait_for_prediction(opened, "chosen.jpg")


@pytest.mark.slow
def test_uses_a_new_version_as_soon_as_it_serves(
    opened: Page, url: str, model_dir: Path, make_image: Callable[..., bytes]
) -> None:
    drop(opened, before=make_image(5))
    assert wait_for_prediction(opened, "before")["version"] == "1700000000"
    shutil.copytree(model_dir / "1700000000", model_dir / ".pushing")
    (model_dir / ".pushing").rename(model_dir / "1700000001")
    deadline = time.monotonic() + 60
    while (
        requests.get(f"{url}/v1/models/catsdogs/versions/1700000001/metadata", timeout=5).status_code != 200
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    drop(opened, after=make_image(5))
    assert wait_for_prediction(opened, "after")["version"] == "1700000001"
    assert opened.inner_text("#served") == "version 1700000001"


@pytest.mark.slow
def test_retries_after_the_server_was_unreachable(
    browser: Browser, url: str, make_image: Callable[..., bytes]
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    context.set_offline(True)
    drop(page, mine=make_image(6))
    expect(page.locator("#advice")).to_contain_text("catsdogs serve")
    context.set_offline(False)
    page.click("#retry")
    wait_for_prediction(page, "mine")
    context.close()


@pytest.mark.slow
def test_shows_an_error_for_an_image_over_the_servers_limit(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    drop(page, large=bytes(150_000))
    expect(page.locator("#title")).to_contain_text("too large")
    page.close()


@pytest.mark.slow
def test_selects_another_model(opened: Page, make_image: Callable[..., bytes]) -> None:
    opened.get_by_label("Model").select_option("numbers")
    expect(opened.locator("#served")).to_have_text("version 3")
    drop(opened, mine=make_image(7))
    expect(opened.locator("#title")).to_be_visible()


@pytest.mark.slow
def test_another_sites_page_can_link_here_but_send_nothing(browser: Browser, url: str) -> None:
    page = browser.new_page()
    predict = f"{url}/v1/models/numbers:predict"
    foreign = f'<a href="{url}">classify</a><form method="post" action="{predict}"></form>'
    page.route("http://evil.example/", lambda route: route.fulfill(body=foreign, content_type="text/html"))
    page.goto("http://evil.example/")
    with page.expect_navigation(url=predict) as posted:  # also waits until the response is shown
        page.evaluate("document.querySelector('form').submit()")
    assert posted.value.status == 403
    page.goto("http://evil.example/")
    page.click("a")
    page.wait_for_selector("#served.available")
    page.close()
