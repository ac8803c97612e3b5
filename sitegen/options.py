"""The command line's commands and options, as a parser; `cli.py` runs the command that it finds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sitegen.config import SweepConfig, preset_names
from sitegen.exports import EXPORTS

# Given instead of a labels file: forget the labels that are shown
NO_LABELS = "none"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; the command's name is in `command` of what it parses."""
    parser = argparse.ArgumentParser(
        prog="build.py", description="Build a static dashboard of a sparse autoencoder's features."
    )
    commands = parser.add_subparsers(
        dest="command", title="commands", required=True, metavar="COMMAND"
    )
    computing = _computing_options()
    _add_run(commands, computing)
    _add_sweep(commands, computing)
    _add_merge(commands, computing)
    _add_render(commands)
    _add_check(commands)
    _add_export(commands)
    _add_archive(commands)
    _add_publish(commands)
    _add_serve(commands)
    commands.add_parser(
        "verify",
        parents=[computing],
        help="compute the published numbers again; exit code 1 if one is missed",
    )
    commands.add_parser("presets", help="list the built-in presets")
    _add_inspect(commands)
    return parser


def _add_run(commands: Any, computing: argparse.ArgumentParser) -> None:
    run = commands.add_parser(
        "run", parents=[computing], help="sweep, render and check; resumes an interrupted run"
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: out/PRESET)")
    _add_engine(run)
    _add_labels(run)


def _add_sweep(commands: Any, computing: argparse.ArgumentParser) -> None:
    sweep = commands.add_parser(
        "sweep", parents=[computing], help="compute DIR/data from model, autoencoder and text"
    )
    sweep.add_argument("--out", type=Path, metavar="DIR", required=True, help="output folder")
    sweep.add_argument(
        "--shard",
        metavar="I/N",
        help="sweep only every N-th shard, starting with the I-th, as one of N jobs; `merge` puts them together",
    )
    _add_engine(sweep)


def _add_merge(commands: Any, computing: argparse.ArgumentParser) -> None:
    merge = commands.add_parser(
        "merge",
        parents=[computing],
        help="compute DIR/data from the shards that `sweep --shard` saved",
    )
    merge.add_argument("--out", type=Path, metavar="DIR", required=True, help="output folder")
    merge.add_argument(
        "--from",
        dest="others",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="other output folders to take shards from",
    )


def _add_render(commands: Any) -> None:
    render = commands.add_parser("render", help="make DIR/site from DIR/data; needs no torch")
    render.add_argument("out", type=Path, metavar="DIR", help="output folder of a sweep")
    _add_labels(render)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check", help="check links, schema, sizes, budgets and checksums; exit code 1 with findings"
    )
    check.add_argument("out", type=Path, metavar="DIR", help="folder with data and site")


def _add_export(commands: Any) -> None:
    *described, last = (one.description for one in EXPORTS.values())
    export = commands.add_parser("export", help="write DIR/data to DIR/export for other tools")
    export.add_argument("out", type=Path, metavar="DIR", help="output folder of a sweep")
    export.add_argument(
        "--to",
        choices=list(EXPORTS),
        required=True,
        help=f"{', '.join(described)}, or {last}",
    )


def _add_archive(commands: Any) -> None:
    archive = commands.add_parser(
        "archive", help="check DIR, then pack DIR/site into DIR/site.zip, with a checksum beside it"
    )
    archive.add_argument("out", type=Path, metavar="DIR", help="folder with data and site")


def _add_publish(commands: Any) -> None:
    publish = commands.add_parser(
        "publish", help="check DIR, show what will be sent where, and send DIR/site there"
    )
    publish.add_argument("out", type=Path, metavar="DIR", help="folder with data and site")
    publish.add_argument(
        "--to",
        choices=["gh-pages", "space"],
        required=True,
        help="a branch for GitHub Pages, or a static Space of the Hugging Face Hub",
    )
    publish.add_argument("--space", metavar="OWNER/NAME", help="name of the Space")
    publish.add_argument(
        "--remote",
        default="origin",
        metavar="URL",
        help="git repository, or name of a remote (default: origin)",
    )
    publish.add_argument(
        "--branch",
        default="gh-pages",
        metavar="NAME",
        help="branch to send the site to (default: gh-pages)",
    )
    publish.add_argument("--yes", action="store_true", help="send without asking")


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="show DIR/site on this machine's loopback address")
    serve.add_argument("out", type=Path, metavar="DIR", help="folder with a site")
    serve.add_argument(
        "--port", type=int, default=8000, metavar="P", help="port (default: 8000; 0: any free port)"
    )


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect", help="say what an autoencoder's files are, and print the preset for its site"
    )
    inspect.add_argument(
        "what", metavar="WHAT", help="repository of the Hub, or a file or folder of this machine"
    )
    inspect.add_argument(
        "source",
        nargs="?",
        default="",
        metavar="SOURCE",
        help="file or folder in it; without one, what it holds is listed",
    )


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=["process", "ray"],
        default="process",
        help="sweep in this process, or with the workers of a Ray cluster (default: process)",
    )
    command.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="address of a running Ray cluster (default: a cluster of this machine)",
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="workers of a Ray cluster of this machine (default: one a core)",
    )


def _add_labels(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--labels",
        metavar="FILE",
        help="JSON, JSON lines or CSV with feature, label, author, score, or a folder of delphi's or Neuronpedia's; "
        f"kept for later renders ({NO_LABELS}: forget the labels)",
    )


def _computing_options() -> argparse.ArgumentParser:
    """The options of every command that computes."""
    defaults = SweepConfig()
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "preset", metavar="PRESET", help=f"{', '.join(preset_names())}, or a TOML file"
    )
    options.add_argument("--rows", metavar="N", help="read only the first N rows of the whole text")
    options.add_argument(
        "--documents",
        metavar="N",
        help="read only the first N documents: a quick trial of a large text, with other rows",
    )
    options.add_argument("--features", metavar="A-B,C", help="sweep only these features")
    options.add_argument(
        "--device",
        metavar="auto|cpu|cuda",
        help=f"where to compute (default: {defaults.device}, or as the preset says)",
    )
    options.add_argument(
        "--precision",
        metavar="fp32|bf16",
        help="precision of the search for active tokens; bf16 is faster and gives the same results "
        f"(default: {defaults.precision}, or as the preset says)",
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a field of the configuration, such as contexts.n_top=10; may be repeated",
    )
    return options
