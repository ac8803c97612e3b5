"""The text of tokens, against how each family's tokenizer decodes sequences."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models

from sitegen.analysis.live import published_tokenizer
from sitegen.cli import main
from sitegen.errors import SourceError
from sitegen.render.live import LIBRARY
from sitegen.render.text import group_tokens, plain
from sitegen.sources.decoding import BYTE_TOKEN
from sitegen.sources.tokenizer import TextTokenizer, load_tokenizer
from sitegen.store import read_vocab
from tests.tiny import SENTENCES, TinyInputs, model_config, model_weights
from tests.tokenizer_families import FAMILIES, UNDERLINE, Family, plain_tokens

TEXTS = [
    *SENTENCES,
    "    four spaces before,   three within and two behind  ",
    "the the\n\n\n\tthe\r\n",
    "caf\u00e9 日本 🐳\u00a0\u3000 \ufffd",
    "<s> <|endoftext|> [CLS] <0x41> ##the <h1>the</h1>",
]

Loaded = tuple[Family, TextTokenizer]


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    family = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("tokenizers") / request.param
    return family, load_tokenizer(str(family.write(folder)))


def saved(made: Tokenizer, folder: Path) -> Path:
    """A folder with a tokenizer, loaded without changes."""
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    (folder / "tokenizer_config.json").write_text(config)
    return folder


def text_defaults(tokenizer: TextTokenizer, ids: list[int]) -> str:
    """The text that the tokenizer's library decodes from ids."""
    text: str = tokenizer.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
    return text


def joined(loaded: Loaded, ids: list[int]) -> str:
    """The text of ids by the vocabulary table, without the space that the family's decoder removes at the start."""
    family, tokenizer = loaded
    table = tokenizer.token_bytes()
    text = b"".join(table[i] or b"" for i in ids).decode(errors="replace")
    return text.removeprefix(" ") if family.strips else text


def test_every_id_decodes_as_the_tokenizer_decodes_it(loaded: Loaded) -> None:
    family, tokenizer = loaded
    vocab = tokenizer.tokenizer.get_vocab()
    around = vocab[family.the]
    assert tokenizer.text_of(around) == " the"
    table = tokenizer.token_bytes()
    assert {i for i, token in enumerate(table) if token is not None} == set(vocab.values())
    for token, i in vocab.items():
        ids = [around, i, around]
        assert joined(loaded, ids) == text_defaults(tokenizer, ids), token


def test_whole_texts_decode_as_the_tokenizer_decodes_them(loaded: Loaded) -> None:
    family, tokenizer = loaded
    table = [token or b"" for token in tokenizer.token_bytes()]
    for text, ids in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
        assert joined(loaded, ids) == text_defaults(tokenizer, ids)
        if family.is_exact:
            assert b"".join(table[i] for i in ids).decode().lstrip(" ") == text.lstrip(" ")


def test_characters_of_several_tokens_are_put_together(loaded: Loaded) -> None:
    _, tokenizer = loaded
    table = [token or b"" for token in tokenizer.token_bytes()]
    for ids in tokenizer.encode(TEXTS):
        groups = group_tokens([table[i] for i in ids], plain)
        assert "".join(group.text for group in groups) == b"".join(table[i] for i in ids).decode()


def test_no_internal_marker_of_a_tokenizer_is_shown(loaded: Loaded) -> None:
    _, tokenizer = loaded
    text = b" ".join(token or b"" for token in tokenizer.token_bytes()).decode(errors="replace")
    assert not {UNDERLINE, "Ġ", "Ċ", "##", "<0x41>"} & {*text, *text.split()}


def test_tokens_are_found_by_their_text(loaded: Loaded) -> None:
    family, tokenizer = loaded
    for i, token in enumerate(tokenizer.token_bytes()):
        found = tokenizer.id_of(token.decode()) if token is not None and token.isascii() else i
        assert found is not None
        assert tokenizer.token_bytes()[found] == tokenizer.token_bytes()[i]
    assert tokenizer.id_of(" the") == tokenizer.tokenizer.get_vocab()[family.the]
    for token_id in tokenizer.special_ids:
        assert tokenizer.id_of(tokenizer.tokenizer.convert_ids_to_tokens(token_id)) == token_id
    space = tokenizer.id_of(" ")
    written = None if space is None else tokenizer.tokenizer.convert_ids_to_tokens(space)
    assert written is None or not BYTE_TOKEN.fullmatch(written)


def test_an_added_token_stands_for_itself_where_its_decoder_breaks_it(tmp_path: Path) -> None:
    """A byte-level decoder treats the letters of an added token as bytes, which form no character here."""
    made = FAMILIES["qwen2"].train()
    made.add_tokens(plain_tokens(["caf\u00e9"]))
    tokenizer = load_tokenizer(str(saved(made, tmp_path)))
    [[found]] = tokenizer.encode(["caf\u00e9"])
    assert text_defaults(tokenizer, [found]) == "caf\ufffd"
    assert tokenizer.text_of(found) == "caf\u00e9"


def test_runs_of_spaces_are_single_tokens(tmp_path: Path) -> None:
    for name in ("gemma", "gpt-neox"):
        tokenizer = load_tokenizer(str(FAMILIES[name].write(tmp_path / name)))
        ids = tokenizer.encode(["x" + " " * 9 + "\n"])[0]
        assert [tokenizer.text_of(i) for i in ids] == ["x", " " * 9, "\n"]


def test_pages_tokenize_texts_in_the_same_way(tmp_path: Path) -> None:
    """The JavaScript library that pages run, with the tokenizer definition that they load."""
    tokenizers = [load_tokenizer(str(one.write(tmp_path / name))) for name, one in FAMILIES.items()]
    definitions = [json.loads(published_tokenizer(tokenizer)) for tokenizer in tokenizers]
    script = (
        f"const {{ Tokenizer }} = require({json.dumps(str(LIBRARY))});"
        "const [definitions, texts] = JSON.parse(require('fs').readFileSync(0));"
        "const ids = (made) => texts.map((text) => made.encode(text, { add_special_tokens: false }).ids);"
        "console.log(JSON.stringify(definitions.map((one) => ids(new Tokenizer(one, {})))));"
    )
    lines = subprocess.run(
        ["node", "-e", script],
        input=json.dumps([definitions, TEXTS]),
        capture_output=True,
        text=True,
        check=True,
    )
    for name, tokenizer, found in zip(FAMILIES, tokenizers, json.loads(lines.stdout), strict=True):
        assert found == tokenizer.encode(TEXTS), name


@pytest.mark.parametrize(
    ("decoder", "complaint"),
    [
        (None, "(none) inserts text between any two tokens, or drops tokens"),
        (decoders.CTC(), "(CTC) inserts text between any two tokens, or drops tokens"),
        (
            decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\ufffd", "?\ufffd")]),
            "in a way that is not supported",
        ),
    ],
    ids=["none", "ctc", "bytes"],
)
def test_a_decoder_that_does_not_join_tokens_is_refused(
    tiny: TinyInputs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    decoder: decoders.Decoder | None,
    complaint: str,
) -> None:
    made = Tokenizer.from_file(str(tiny.tokenizer / "tokenizer.json"))
    made.decoder = decoder
    odd = saved(made, tmp_path / "odd")
    arguments = ["--set", f"model.tokenizer={odd}", "--out", str(tmp_path / "out")]
    assert main(["sweep", str(tiny.preset), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "build.py" in line]
    assert len(lines) == 1
    assert lines[0].startswith(
        "build.py: odd: the text of its tokens cannot be determined, because the decoder"
    )
    assert complaint in lines[0]
    assert ": set model.tokenizer to" in lines[0]
    assert not (tmp_path / "out/data").exists()


def test_a_vocabulary_without_words_is_refused(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.decoder = decoders.Fuse()
    with pytest.raises(SourceError, match="the text of its tokens cannot be determined"):
        load_tokenizer(str(saved(made, tmp_path)))


def test_a_site_shows_runs_of_spaces(
    tiny: TinyInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a Gemma-like tokenizer: in vocab.json, on pages, in files that pages load, and in exports."""
    FAMILIES["gemma"].write(tmp_path / "gemma")
    (tmp_path / "model").mkdir()
    save_file(model_weights(470), tmp_path / "model/model.safetensors")
    (tmp_path / "model/config.json").write_text(json.dumps(model_config(470)))
    texts = [text.replace("\t", "    ") for text in SENTENCES if text.isascii()]
    (tmp_path / "text.txt").write_text("\n\n".join(texts * 40))
    arguments = {
        "model.name": tmp_path / "model",
        "model.tokenizer": tmp_path / "gemma",
        "corpus.files": tmp_path / "text.txt",
        "autoencoder.accept_poor_fit": "true",
    }
    options = [part for name, value in arguments.items() for part in ("--set", f"{name}={value}")]
    out = tmp_path / "out"
    limits = ["--rows", "40", "--features", "0-9"]
    assert main(["run", str(tiny.preset), "--out", str(out), *limits, *options]) == 0
    assert "check: 0 findings" in capsys.readouterr().err
    assert "    " in read_vocab(out / "data")
    for tool in ("parquet", "neuronpedia", "circuit-tracer"):
        assert main(["export", str(out), "--to", tool]) == 0
    definition = {"tokenizer.json", "tokenizer.js"}  # which write tokens as the tokenizer does
    written = [path for path in out.rglob("*") if path.is_file() and path.name not in definition]
    assert [path.name for path in written if UNDERLINE.encode() in path.read_bytes()] == []
