"""The model in the page, from disk and from a server: ids and activations equal those of the sweep."""

from __future__ import annotations

import json
import random
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from safetensors.torch import save_file

from sitegen.cli import main
from sitegen.config import load_config
from sitegen.records import HOOKS, LiveModel, LiveSettings
from sitegen.render.live import live_scripts
from sitegen.render.packing import value_of
from sitegen.sources.inputs import load_inputs
from sitegen.sources.plain_transformer import plain_transformer
from sitegen.sources.tokenizer import load_tokenizer
from sitegen.store import StoreWriter, read_live, read_manifest
from tests.conftest import REPOSITORY
from tests.tiny import TinyInputs, documents
from tests.unit.test_models import load

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
FEATURE = 5
ENCODE = """async (texts) => {
    const ids = [];
    for (const text of texts) ids.push(await sitegen.live.encode(text));
    return ids;
}"""
ACTIVATIONS = """async (wanted) => {
    const found = [];
    for (const [place, ids] of wanted) found.push(await sitegen.live.activations(place, ids, () => undefined));
    return found;
}"""
# Digits, and characters that are white space in only one of the two languages: libraries differ on these
UNLIKE_SPACES = "\u0085\ufeff\u180e\u200b\u3000\u2028\u001c\u0663\u07c5\u2167\u00bd"
HOLD_BACK = """(held) => {
    const load = sitegen.load;
    sitegen.load = (name, keep) =>
        name === held ? new Promise((done) => (window.release = () => done(load(name, keep)))) : load(name, keep);
}"""
STRONGEST = "(ids) => sitegen.live.strongest(ids, () => undefined, () => false)"


def all_kinds_of_texts() -> list[str]:
    """500 texts: those of the corpus, chosen ones, and random characters of every category and script from a seed."""
    picked = [
        "",
        " ",
        "\n\n\t \r\n",
        "a\u0301e\u0301 n\u0303",
        "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪",
        "<|BOS|><|EOS|> <|PAD|>x",
        "שלום עולם مرحبا بالعالم",
        "नमस्ते दुनिया",
        "1234567890 3.14159 1,000,000",
        "x = {'a': [1, 2]}  # \\n \\t",
        "\u0000\u0001\u001f\u007f\u0085\u00a0\u2028\u2029\ufeff",
        "I'll we've they'd he's I'M DON'T",
        "\ufb01 \ufb02 \u212b \u212a ½ ² \u210c",
        "\U0001d54f\U00020000\U0010ffff",
        "a" * 300,
        "   leading and trailing   ",
        *(f"a  {space} b{space}{space} 1 {space}d\n{space}" for space in UNLIKE_SPACES),
    ]
    drawn = random.Random(11)
    assigned = [
        chr(code)
        for code in range(0x20, 0x30000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
    ]
    texts = picked + documents()
    while len(texts) < 500:
        kind = len(texts) % 3
        length = drawn.randrange(1, 60)
        if kind == 0:
            texts.append("".join(drawn.choices(assigned, k=length)))
        elif kind == 1:
            texts.append("".join(chr(drawn.randrange(0x20, 0x250)) for _ in range(length)))
        else:
            parts = [
                drawn.choice([drawn.choice(assigned), " ", "\n", "'s", "12", "word"])
                for _ in range(length)
            ]
            texts.append("".join(parts))
    return texts


def test_ids_equal_those_of_the_python_tokenizer(open_page: OpenPage, tiny: TinyInputs) -> None:
    texts = all_kinds_of_texts()
    assert len(texts) == 500
    page = open_page("active.html")
    assert page.evaluate(ENCODE, texts) == load_tokenizer(str(tiny.tokenizer)).encode(texts)


def rows_of(output: Path) -> dict[int, list[int]]:
    """Token ids of every row that contains a shown context."""
    found: dict[int, list[int]] = {}
    for path in (output / "data/rows").iterdir():
        record = json.loads(path.read_bytes())
        found |= dict(zip(record["row"], record["tokens"], strict=True))
    return found


def records_of(output: Path) -> list[dict[str, Any]]:
    """The records of all features, in order."""
    return [json.loads(path.read_bytes()) for path in sorted((output / "data/features").iterdir())]


def largest_difference(page: Page, output: Path) -> float:
    """Largest difference between activations of page and records, as a fraction of the feature's maximum."""
    rows, records = rows_of(output), records_of(output)
    special_ids = read_manifest(output / "data").special_ids
    wanted = [
        (index, context)
        for index, record in enumerate(records)
        for context in record["contexts"][::5]
    ]
    assert len(wanted) > 50
    found = page.evaluate(ACTIVATIONS, [[index, rows[c["row"]]] for index, c in wanted])
    worst = 0.0
    for (index, context), values in zip(wanted, found, strict=True):
        at = context["start"]
        here = np.array(values[at : at + len(context["activations"])])
        difference = np.abs(here - np.array(context["activations"]))
        special = np.isin(context["tokens"], special_ids)  # counted in no maximum
        worst = max(worst, difference[~special].max() / records[index]["max_activation"])
    return float(worst)


def test_activations_equal_those_of_the_sweep(open_page: OpenPage, tiny_output: Path) -> None:
    page = open_page(f"features/{FEATURE}.html")
    assert largest_difference(page, tiny_output) < 1e-2


class TestWithExactWeights:
    @pytest.fixture(scope="class")
    @staticmethod
    def tiny_output(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
        out = tmp_path_factory.mktemp("fp32") / "tiny"
        assert (
            main(["run", str(tiny.preset), "--out", str(out), "--set", "live.precision=fp32"]) == 0
        )
        return out

    def test_activations_equal_those_of_the_sweep(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        page = open_page(f"features/{FEATURE}.html")
        assert largest_difference(page, tiny_output) < 1e-4


class TestOfOtherMakers:
    """A JumpReLU with thresholds at 0.3 of each feature's maximum, and autoencoders with normalised inputs."""

    @pytest.fixture(scope="class", params=["jumprelu", "layer_norm", "constant_norm_rescale"])
    @staticmethod
    def tiny_output(
        request: pytest.FixtureRequest,
        tiny: TinyInputs,
        tiny_output: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Path:
        made = tmp_path_factory.mktemp(request.param)
        autoencoder = load_inputs(load_config(str(tiny.preset))).autoencoder
        weights = {
            name: getattr(autoencoder, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")
        }
        settings = {
            "architecture": "standard",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
        }
        if request.param == "jumprelu":
            settings["architecture"] = "jumprelu"
            maxima = [record["max_activation"] for record in records_of(tiny_output)]
            weights["threshold"] = 0.3 * torch.tensor(maxima)
        else:
            settings["normalize_activations"] = request.param
        (made / "sae").mkdir()
        (made / "sae/cfg.json").write_text(json.dumps(settings))
        save_file(weights, made / "sae/sae_weights.safetensors")
        options = [
            f"autoencoder.source={made}/sae",
            "autoencoder.accept_poor_fit=true",  # the weights were not fitted to these settings
            "live.precision=fp32",
        ]
        changes = [part for option in options for part in ("--set", option)]
        assert main(["run", str(tiny.preset), "--out", str(made / "tiny"), *changes]) == 0
        return made / "tiny"

    def test_activations_equal_those_of_the_sweep(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        page = open_page(f"features/{FEATURE}.html")
        assert largest_difference(page, tiny_output) < 1e-3  # of maxima down to 0.007

    def test_the_strongest_of_all_features_are_found(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        test_the_strongest_of_all_features_are_found(open_page, tiny_output)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("hook", HOOKS)
def test_the_engine_runs_deeper_models(
    browser: Browser, tiny_output: Path, gpt2: Path, tmp_path: Path, hook: str, layer: int
) -> None:
    """The engine alone, on files as a site has them; the encoder is an identity and shows the hook point."""
    model = load(gpt2, f"blocks.{layer}.{hook}")
    plain = plain_transformer(model, 20)
    weights = {name: weight.float().numpy() for name, weight in plain.weights.items()}
    weights["encoder.weight"] = np.eye(model.d_hook, dtype=np.float32)
    weights["encoder.bias"] = np.full(model.d_hook, 50, np.float32)  # nothing is cut off at 0
    settings = LiveSettings("fp32", plain.settings, "none", 1, 20, 1, 0.0)
    (tmp_path / "data").mkdir()
    StoreWriter(tmp_path / "data").add_live(LiveModel(settings, weights, b"{}"))
    files = {}
    for name, content in live_scripts(tmp_path / "data", []):
        if "/library" not in name:
            loaded_as, value = value_of(content)
            files[loaded_as.removeprefix("live/")] = json.loads(value)
    ids = [5, 7, 300, 7, 12, 40, 41, 42, 8]
    page = browser.new_page()
    page.goto(f"file://{tiny_output}/site/index.html")
    found = page.evaluate(
        """([files, texts]) => {
            const engine = sitegen.makeEngine();
            engine.start(files.settings);
            for (const [name, value] of Object.entries(files)) {
                const [kind, number] = name.split("/");
                if (kind === "settings" || kind === "tokenizer") continue;
                engine.take(kind, Number(number ?? 0), value);
            }
            return texts.map((text) => {
                engine.read(text);
                return Array.from({ length: files.settings.n_features }, (_, place) => engine.feature(place));
            });
        }""",
        [files, [[5, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9], [*ids, 3], ids]],
    )
    page.close()
    expected = model.hook_activations(torch.tensor([ids]))[0].numpy() + 50
    np.testing.assert_allclose(np.array(found[2]).T, expected, atol=2e-4)


def test_the_strongest_of_all_features_are_found(open_page: OpenPage, tiny_output: Path) -> None:
    ids = rows_of(tiny_output).popitem()[1]
    found = open_page("active.html").evaluate(STRONGEST, ids)
    live = read_live(tiny_output / "data")
    assert live is not None
    wanted = [[index, ids] for index in range(93)]
    each = np.array(
        open_page("active.html").evaluate(ACTIVATIONS, wanted)
    )  # [n_features, n_tokens]
    active = {index: (value, token) for index, value, token in found["active"]}
    is_special = np.isin(ids, read_manifest(tiny_output / "data").special_ids)
    on_text = np.where(is_special, 0, each)  # special tokens count in no maximum
    assert set(active) == set(np.flatnonzero(on_text.max(1)).tolist())
    for index, (value, token) in active.items():
        assert value == pytest.approx(on_text[index].max())
        assert token == on_text[index].argmax()
    for token, list_ in enumerate(found["strongest"]):
        n = min(12, int((each[:, token] > 0).sum()))
        values = [value for _, value in list_]
        assert values == pytest.approx(np.sort(each[:, token])[::-1][:n].tolist())
        assert all(each[index, token] == pytest.approx(value) for index, value in list_)


def test_typing_changes_the_activations(open_page: OpenPage, tiny_output: Path) -> None:
    page = open_page(f"features/{FEATURE}.html")
    field = page.get_by_role("textbox", name="Your own text")
    expect(field).to_have_value(
        "Hero and I will head to Samantha and Mark's, then he and she will. Then I or you"
    )
    assert page.locator(".try .own-text").count() == 0
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.keyboard.press("e")
    expect(field).to_be_focused()
    expect(page.locator(".try")).to_have_attribute("data-ran", field.input_value())
    assert any("live/encoder/0.js" in url for url in loaded)
    assert not any("live/encoder/1.js" in url for url in loaded)
    field.fill("The whale rose")
    expect(page.locator(".try")).to_have_attribute("data-ran", "The whale rose")
    ids = [1, *load_ids(page, "The whale rose")]
    values = page.evaluate(ACTIVATIONS, [[FEATURE, ids]])[0]
    pieces = page.locator(".own-text button")
    assert pieces.count() == len(ids)
    for i, value in enumerate(values):
        assert ("--a" in (pieces.nth(i).get_attribute("style") or "")) == (value > 0)
    pieces.nth(2).hover()
    expect(page.locator(".pointed")).to_contain_text(f"token {ids[2]} at position 2: activation")
    pieces.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(pieces.nth(1)).to_be_focused()
    expect(page.locator(".pointed")).to_contain_text(f"token {ids[1]} at position 1")


def load_ids(page: Page, text: str) -> list[int]:
    ids: list[int] = page.evaluate(ENCODE, [text])[0]
    return ids


def test_a_fixed_maximum_changes_the_colours_alone(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html#text=The%20men%20cried%20out")
    expect(page.locator(".try")).to_have_attribute("data-ran", "The men cried out")
    heat = "[...document.querySelectorAll('.own-text button')].map((b) => Number(b.style.getPropertyValue('--a')))"
    before = page.evaluate(heat)
    assert max(before) > 0
    maximum = page.evaluate("Number(sitegen.columns.style.getPropertyValue('--max'))")
    page.get_by_role("spinbutton", name="Maximum of the colour scale").fill(str(2 * maximum))
    assert page.evaluate(heat) == pytest.approx([value / 2 for value in before], abs=2e-3)


def test_a_link_carries_the_text(open_page: OpenPage) -> None:
    text = 'Ünïcödé & "quotes" <b>\n100% 🐳\'s'
    page = open_page(f"features/{FEATURE}.html")
    page.get_by_role("textbox", name="Your own text").fill(text)
    expect(page.locator(".try")).to_have_attribute("data-ran", text)
    link = page.evaluate(
        "sitegen.ownText.linkTo(location.href, document.querySelector('textarea').value)"
    )
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator(".try")).to_have_attribute("data-ran", text)
    page.get_by_role("link", name="All features active on this text").click()
    expect(page.locator("#active")).to_have_attribute("data-ran", text)
    assert "#text=" in page.url
    page.locator("#active th a").first.click()
    expect(page.locator(".try")).to_have_attribute("data-ran", text)


def test_any_context_can_be_tried(open_page: OpenPage, tiny_output: Path) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.locator("button.location").first.click()
    page.get_by_role("button", name="Try this").click()
    field = page.get_by_role("textbox", name="Your own text")
    expect(field).to_be_focused()
    expect(page.locator(".try")).to_have_attribute("data-ran", field.input_value())
    record = json.loads((tiny_output / f"data/features/{FEATURE:05d}.json").read_bytes())
    context = record["contexts"][0]
    row = rows_of(tiny_output)[context["row"]]
    specials = [i for i in range(context["position"]) if row[i] in (0, 1, 2)]
    if specials == [0]:  # nothing but BOS was left out: the peak is the same
        peak = context["activation"]
        values = page.evaluate(ACTIVATIONS, [[FEATURE, [1, *load_ids(page, field.input_value())]]])[
            0
        ]
        assert max(values) == pytest.approx(peak, rel=1e-2)


def test_features_active_on_a_token_are_listed(open_page: OpenPage) -> None:
    page = open_page("active.html")
    page.get_by_role("textbox", name="Your own text").fill("In 1899, 193714 votes were cast.")
    page.get_by_role("button", name="Find active features").click()
    expect(page.locator("#active")).to_have_attribute(
        "data-ran", "In 1899, 193714 votes were cast."
    )
    expect(page.get_by_role("heading", name="Anywhere in the text")).to_be_visible()
    pieces = page.locator(".own-text button")
    pieces.nth(3).hover()
    expect(page.locator("#active h2").first).to_contain_text("at position 3")
    expect(pieces.nth(3)).to_have_attribute("aria-pressed", "true")
    shares = (
        page.locator("#active section").nth(1).locator("tbody tr td:nth-child(3)").all_inner_texts()
    )
    as_numbers = [float(share.split()[0]) for share in shares]
    assert as_numbers == sorted(as_numbers, reverse=True)
    page.get_by_role("combobox", name="Sort by").select_option("value")
    values = (
        page.locator("#active section").nth(1).locator("tbody tr td:nth-child(2)").all_inner_texts()
    )
    assert [float(value) for value in values] == sorted(map(float, values), reverse=True)
    page.get_by_role("textbox", name="Your own text").fill("out")
    expect(page.locator("#active")).to_have_attribute("data-ran", "out")
    page.locator("#active tbody th a").first.click()
    expect(page.locator(".try")).to_have_attribute("data-ran", "out")


def test_a_search_over_all_features_can_be_cancelled(open_page: OpenPage) -> None:
    page = open_page("active.html")
    page.evaluate(HOLD_BACK, "live/encoder/1")
    page.get_by_role("button", name="Find active features").click()
    page.wait_for_function("!!window.release")
    page.get_by_role("button", name="Cancel").click()
    page.evaluate("window.release()")
    expect(page.locator("#active [role=status]")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Find active features")).to_be_visible()
    page.get_by_role("button", name="Find active features").click()
    expect(page.get_by_role("heading", name="Anywhere in the text")).to_be_visible()


@pytest.mark.parametrize(
    "missing",
    [
        "load/live/settings.js",
        "load/live/tokenizer.js",
        "load/live/layers/0.js",
        "load/live/encoder/0.js",
    ],
)
def test_a_missing_file_is_named_and_loaded_once_it_exists(
    browser: Browser, tiny_output: Path, broken_site: Path, missing: str
) -> None:
    page = browser.new_page()
    page.goto((broken_site / f"features/{FEATURE}.html").as_uri())
    field = page.get_by_role("textbox", name="Your own text")
    field.focus()
    expect(page.locator(".try")).to_contain_text(f"The model cannot run: {missing} cannot be read.")
    shutil.copy(tiny_output / "site" / missing, broken_site / missing)
    field.fill("again")
    expect(page.locator(".try")).to_have_attribute("data-ran", "again")
    page.close()


@pytest.mark.parametrize("missing", ["load/live/settings.js"])
def test_trying_a_context_names_the_missing_file(
    browser: Browser, broken_site: Path, missing: str
) -> None:
    page = browser.new_page()
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((broken_site / f"features/{FEATURE}.html").as_uri())
    page.locator("button.location").first.click()
    page.get_by_role("button", name="Try this").click()
    expect(page.locator(".try")).to_contain_text(f"The model cannot run: {missing} cannot be read.")
    assert not errors
    page.close()


def test_a_text_longer_than_a_row_is_cut_with_a_notice(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html")
    page.get_by_role("textbox", name="Your own text").fill("whale " * 60)
    expect(page.locator(".try [role=status]")).to_contain_text("The text is longer than a row")
    assert page.locator(".own-text button").count() == 24


def test_the_text_box_is_absent_without_scripts(open_page: OpenPage) -> None:
    page = open_page(f"features/{FEATURE}.html", java_script_enabled=False)
    expect(page.locator(".try")).to_be_hidden()
    assert page.locator("textarea").count() == 0
    page = open_page("active.html", java_script_enabled=False)
    expect(page.get_by_text("The model runs in a script.")).to_be_visible()


class TestWithoutBos:
    """A site whose rows begin with text: no token is added before a reader's text."""

    @pytest.fixture(scope="class")
    @staticmethod
    def tiny_output(tiny: TinyInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
        out = tmp_path_factory.mktemp("without-bos") / "tiny"
        exact = ["--set", "live.precision=fp32"]
        assert main(["run", str(tiny.qwen_preset), "--out", str(out), *exact]) == 0
        return out

    def test_ids_equal_those_of_the_python_tokenizer(
        self, open_page: OpenPage, tiny: TinyInputs
    ) -> None:
        texts = [*all_kinds_of_texts(), "<|endoftext|><|im_start|>"]
        found = open_page("active.html").evaluate(ENCODE, texts)
        assert found == load_tokenizer(str(tiny.qwen)).encode(texts)

    def test_activations_equal_those_of_the_sweep(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        page = open_page(f"features/{FEATURE}.html")
        assert largest_difference(page, tiny_output) < 1e-4

    def test_the_strongest_of_all_features_are_found(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        test_the_strongest_of_all_features_are_found(open_page, tiny_output)

    def test_a_text_has_no_token_before_it(self, open_page: OpenPage) -> None:
        page = open_page(f"features/{FEATURE}.html")
        field = page.get_by_role("textbox", name="Your own text")
        status, pieces = page.locator(".try [role=status]"), page.locator(".own-text button")
        for text in ("The whale rose", "", "rose"):  # each runs after the previous one
            field.fill(text)
            expect(page.locator(".try")).to_have_attribute("data-ran", text)
            ids = load_ids(page, text)
            expect(status).to_contain_text(f"{len(ids)} tokens: ")
            assert pieces.count() == len(ids)
            values = page.evaluate(ACTIVATIONS, [[FEATURE, ids]])[0]
            assert len(values) == len(ids)
            for i, value in enumerate(values):
                assert ("--a" in (pieces.nth(i).get_attribute("style") or "")) == (value > 0)
        field.fill("7" * 30)
        expect(status).to_contain_text("24 tokens: ")
        expect(status).to_contain_text("6 more tokens were cut off")

    def test_the_first_token_may_be_the_strongest(
        self, open_page: OpenPage, tiny_output: Path
    ) -> None:
        """A text that begins a row with a feature's strongest context gives the same activation."""
        records = [
            (index, record["contexts"]) for index, record in enumerate(records_of(tiny_output))
        ]
        index, context = next((p, c[0]) for p, c in records if c and c[0]["position"] == 0)
        row = rows_of(tiny_output)[context["row"]]
        found = open_page("active.html").evaluate(STRONGEST, row)
        most = {index: (value, token) for index, value, token in found["active"]}
        assert most[index] == (pytest.approx(context["activation"], rel=1e-3), 0)

    def test_an_empty_text_has_no_active_features(self, open_page: OpenPage) -> None:
        page = open_page("active.html")
        page.get_by_role("textbox", name="Your own text").fill("")
        page.get_by_role("button", name="Find active features").click()
        expect(page.locator("#active")).to_have_attribute("data-ran", "")
        expect(page.locator("#active [role=status]")).to_contain_text(
            "are active on these 0 tokens"
        )
        expect(page.locator("#active h2")).to_have_text(["Anywhere in the text"])
        page.get_by_role("textbox", name="Your own text").fill("out")
        expect(page.locator("#active")).to_have_attribute("data-ran", "out")
        expect(page.locator("#active h2").first).to_contain_text("at position")


@pytest.mark.slow
class TestOnTheDemo:
    @pytest.fixture(scope="class")
    @staticmethod
    def tiny_output(demo_output: Path) -> Path:
        return demo_output

    def test_ids_equal_those_of_the_python_tokenizer(self, open_page: OpenPage) -> None:
        texts = all_kinds_of_texts()
        page = open_page("active.html")
        tokenizer = load_tokenizer(str(REPOSITORY / "demo/tokenizer"))
        assert page.evaluate(ENCODE, texts) == tokenizer.encode(texts)

    def test_features_active_on_a_sentence_are_found(self, open_page: OpenPage) -> None:
        page = open_page("active.html#text=for%20i%20in%20range(10)%3A")
        expect(page.locator("#active")).to_have_attribute("data-ran", "for i in range(10):")
        assert page.locator("#active section").nth(1).locator("tbody tr").count() > 10
