import re

import pytest

from tests.hostile import HOSTILE

PRINTED_WIDTH_PX = 688  # A4 without margins of 14 mm, at 96 px an inch

FILES = "Object.keys(JSON.parse(document.getElementById('details').textContent).pictures)"
OPEN_ALL = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
SCROLL_WIDTH = "document.documentElement.scrollWidth"
UNLOADED = """Array.from(document.images).filter((image) =>
    !image.closest('details:not([open])') && !(image.complete && image.naturalWidth > 0)).length"""
BOXES = """(pairs) => pairs.map((pair) => ({
  file: pair.dataset.file,
  boxes: Array.from(pair.querySelectorAll('img')).map((image) => {
    const box = image.getBoundingClientRect();
    return [box.left, box.top, box.right];
  }),
}))"""
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map(
      (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const find = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return /^rgb\\(/.test(colour) || !element.parentElement ? colour : find(element.parentElement);
  };
  const names = ['body', 'h1', '.note', '.eyebrow', '.card dt', 'thead th', 'nav a', '.caption'];
  return names.map((name) => {
    const element = document.querySelector(name);
    const [a, b] = [getComputedStyle(element).color, find(element)].map(parse).map(light);
    return [name, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""


def test_page_opens_from_a_file_without_errors_and_asks_the_network_for_nothing(report, open_page):
    opened = open_page(report)
    opened.page.evaluate(OPEN_ALL)
    opened.page.wait_for_function(f"{UNLOADED} === 0")
    assert opened.messages == []
    asked = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
    assert asked == [report.as_uri()]


@pytest.mark.parametrize("width", ["phone", "desktop"])
@pytest.mark.parametrize(
    "name", ["report", pytest.param("hostile_report", marks=pytest.mark.thorough)]
)
def test_page_never_scrolls_sideways(name, width, open_page, request):
    page = open_page(request.getfixturevalue(name), width).page
    page.evaluate(OPEN_ALL)
    assert page.evaluate(SCROLL_WIDTH) <= page.viewport_size["width"]


def test_every_chart_is_drawn(report, open_page):
    page = open_page(report).page
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg .trace").first.wait_for(state="attached")
    drawn = page.evaluate(
        "Object.fromEntries(Array.from(document.querySelectorAll('.chart')).map("
        "(chart) => [chart.id, chart.querySelectorAll('svg .trace').length]))"
    )
    names = ("classes", "marketing", "forgetting", "effects", "prompts", "loss", "validation")
    assert set(drawn) == {f"chart-{name}" for name in names}
    assert all(drawn.values())


def test_every_picture_of_every_prompt_is_reached_side_by_side(report, open_page):
    page = open_page(report).page
    files = page.evaluate(FILES)
    seen = []
    for prompt in page.locator("#explorer > details").all():
        prompt.locator("summary").click()
        for pair in prompt.locator("button.pair").evaluate_all(BOXES):
            (left, top, right), (next_left, next_top, _) = pair["boxes"]
            assert next_left >= right > left
            assert next_top == top
            seen.append(pair["file"])
    assert sorted(seen) == sorted(files)
    page.wait_for_function(f"{UNLOADED} === 0")


def test_pictures_of_a_closed_prompt_are_not_decoded(report, open_page):
    page = open_page(report).page
    first = page.locator("#explorer > details").first
    assert first.locator("img[src]").count() == 0
    pictures = first.locator("img").count()
    first.locator("summary").click()
    first.locator("img[src]").nth(pictures - 1).wait_for(state="attached")  # opening is an event
    assert first.locator("img[src]").count() == pictures > 0


def test_a_pair_opens_with_all_scores_and_keys_go_on_and_back(report, open_page):
    page = open_page(report).page
    page.locator("#explorer > details").last.locator("summary").click()
    pairs = page.locator("#explorer > details").last.locator("button.pair")
    pairs.first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    rows = dialog.locator("tbody tr")
    assert "CLIP cosine" in rows.first.inner_text()
    assert rows.count() == 9
    assert all(re.search(r"\d", cell) for cell in rows.first.locator("td").all_inner_texts())
    assert "Picture 1," in dialog.inner_text()
    page.keyboard.press("ArrowRight")
    assert "Picture 2," in dialog.inner_text()
    page.keyboard.press("ArrowRight")  # there is no third
    page.keyboard.press("ArrowLeft")
    assert "Picture 1," in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert pairs.first.evaluate("(pair) => pair === document.activeElement")


def test_prompts_are_found_by_their_words_and_ordered_by_their_change(desktop):
    page = desktop
    shown = page.locator("#explorer > details:visible")
    total = shown.count()
    page.locator("#find").fill("FROG plain")
    assert shown.count() == 1
    assert page.locator("#found").inner_text() == "1 prompt"
    page.locator("#find").fill("")
    assert shown.count() == total
    for order, sign in (("gain", -1), ("loss", 1)):
        page.locator("#order").select_option(order)
        changes = shown.evaluate_all("(all) => all.map((one) => Number(one.dataset.difference))")
        assert changes == sorted(changes, key=lambda change: sign * change)
    page.locator("#order").select_option("listed")


def test_a_link_to_a_prompt_opens_it(desktop):
    page = desktop
    page.evaluate("location.hash = '#prompt-3'")
    page.wait_for_selector("#prompt-3[open] img[src]")


@pytest.mark.thorough
def test_hostile_texts_stay_texts(hostile_report, open_page):
    opened = open_page(hostile_report)
    page = opened.page
    page.evaluate(OPEN_ALL)
    page.locator("#explorer button.pair").first.click()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.injected") is None
    assert page.locator("#injected").count() == 0
    assert page.locator("body script").count() == 5
    texts = page.locator("#explorer .whole").all_inner_texts()
    assert any("</script><script>" in text for text in texts)
    assert opened.messages == []


@pytest.mark.thorough
def test_a_hostile_name_is_shown_by_a_chart_as_it_is(hostile_report, open_page):
    page = open_page(hostile_report).page
    page.locator("#chart-classes").scroll_into_view_if_needed()
    page.locator("#chart-classes .ytick").first.wait_for(state="attached")
    labels = page.locator("#chart-classes .ytick").all_text_contents()
    assert any("</script>" in label for label in labels)
    assert "".join(HOSTILE.split())[:40] in "".join("".join(labels).split())


def test_a_foreign_script_is_refused(desktop):
    page = desktop
    page.evaluate(
        "() => { const script = document.createElement('script');"
        "script.textContent = 'window.injected = 3'; document.body.append(script); }"
    )
    assert page.evaluate("window.injected") is None


def test_dark_and_light_differ_and_both_can_be_read(report, open_page):
    papers = set()
    for scheme in ("light", "dark"):
        page = open_page(report, scheme=scheme).page
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for name, contrast in page.evaluate(CONTRASTS):
            assert contrast >= 4.5, f"{name} in {scheme}: {contrast:.1f}"  # WCAG 2.2, 1.4.3
    assert len(papers) == 2


def test_print_is_black_on_white_and_fits_the_paper(report, open_page):
    page = open_page(report, scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": PRINTED_WIDTH_PX, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.locator("#chart-classes").is_visible()
    assert page.evaluate(SCROLL_WIDTH) <= PRINTED_WIDTH_PX
    page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_collapse_is_the_first_line_and_its_pictures_are_shown(desktop):
    page = desktop
    warning, verdict = page.locator("header .warning"), page.locator("h1")
    assert warning.bounding_box()["y"] < verdict.bounding_box()["y"]
    reasons = page.locator("#collapse .caption").all_inner_texts()
    assert [reason.strip() for reason in reasons] == ["black", "duplicated"]


def test_page_is_built_for_screen_readers(desktop):
    page = desktop
    assert page.locator("h1").count() == 1
    assert page.locator("main > section").count() == page.locator("main > section > h2").count()
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator(".scroll:not([tabindex='0'][aria-label])").count() == 0
    assert page.locator(".chart:not([aria-label])").count() == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    targets = page.locator("nav a").evaluate_all("(links) => links.map((link) => link.hash)")
    assert all(page.locator(target).count() == 1 for target in targets)
