"""The command line: options to a configuration, stages in order, errors to exit codes. Only this module prints."""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sitegen.config import Config, is_number, load_config, parse_features, preset_names
from sitegen.errors import SitegenError, UsageError
from sitegen.finished import note_checked, summary_if_checked
from sitegen.labels import given_labels, require_known
from sitegen.lock import locked
from sitegen.options import NO_LABELS, make_parser
from sitegen.output import OutputFolder, finished_output, writing_to
from sitegen.progress import announce, computing_stages, end_stage, plan_stages, tell
from sitegen.records import PublishedNumber
from sitegen.space import existing_folder
from sitegen.verify.source import published_presets

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sitegen.check import Report
    from sitegen.publish.branch import Publication
    from sitegen.publish.space import SpacePublication
    from sitegen.sweep.driver import Engine

DONE, FOUND_WANTING, WRONG_USAGE = 0, 1, 2


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 findings or missed numbers, 2 wrong usage or input."""
    options = make_parser().parse_args(argv)
    try:
        return COMMANDS[options.command](options)
    except SitegenError as error:
        _say(f"build.py: {error}")
    except OSError as error:
        _say(f"build.py: {_os_error_line(error)}")
    except KeyboardInterrupt:
        _say("build.py: stopped; run the same command again to resume")
    finally:
        end_stage()
    return WRONG_USAGE


def _config(options: argparse.Namespace) -> Config:
    overrides: dict[str, Any] = {}
    for assignment in options.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(
                f"--set {assignment}: give section.field=value, such as contexts.n_top=10"
            )
        overrides[key] = value
    named = {
        "corpus.n_rows": options.rows,
        "corpus.n_documents": options.documents,
        "sweep.features": options.features,
        "sweep.device": options.device,
        "sweep.precision": options.precision,
    }
    overrides |= {key: value for key, value in named.items() if value is not None}
    for name in ("rows", "documents"):
        given = getattr(options, name)
        if given is not None and not (is_number(given) and int(given) > 0):
            raise UsageError(f"--{name} {given}: give a number of {name} above 0")
    return load_config(options.preset, overrides)


def _run(options: argparse.Namespace) -> int:
    config = _config(options)
    with writing_to(options.out or Path("out") / config.preset) as output:
        if options.labels not in (None, NO_LABELS):
            # Before the sweep, so that a wrong file is not refused after hours
            _require_labels(Path(options.labels), config)
        plan_stages(*_computing(config), "render", "check")
        _compute(config, output, _engine(options))
        _render_site(output, options.labels)
        announce("hashes", only_if_long=True)
        summary = summary_if_checked(output)
        if summary is not None:
            _say(f"{summary} (unchanged since the last check)")
            return DONE
        report = _checked(output)
        if not report.findings:
            announce("hashes", only_if_long=True)
            note_checked(output, report.summary)
        return FOUND_WANTING if report.findings else DONE


def _computing(config: Config) -> list[str]:
    return computing_stages(has_published=config.preset in published_presets())


def _require_labels(path: Path, config: Config) -> None:
    """Raise UsageError if a file's labels cannot be shown, as far as that is known before the sweep."""
    labels, ranges = given_labels(path), parse_features(config.sweep.features)
    if ranges is not None:
        given = {label.feature for label in labels}
        require_known(labels, {one for one in given if any(one in part for part in ranges)}, path)


def _sweep(options: argparse.Namespace) -> int:
    config, is_slice = _config(options), options.shard is not None
    with writing_to(options.out, shared=is_slice) as output:
        engine = _engine(options)
        if not is_slice:
            plan_stages(*_computing(config))
            _compute(config, output, engine)
        elif options.engine != "process":
            raise UsageError("--shard sweeps in one process: leave --engine out")
        else:
            _sweep_slice(config, output, options.shard)
    return DONE


def _sweep_slice(config: Config, output: OutputFolder, text: str) -> None:
    from sitegen.compute import compute_slice
    from sitegen.sweep.driver import JobSlice

    job_slice = JobSlice.parse(text)
    plan_stages("sources", "fit", "sweep")
    n_shards = compute_slice(config, output, job_slice)
    _say(
        f"wrote {output.sweep}: {n_shards:,} shards of job slice {text}; combine all slices with build.py merge"
    )


def _merge(options: argparse.Namespace) -> int:
    from sitegen.sweep.driver import merge_engine

    config = _config(options)
    others = [OutputFolder(folder).sweep for folder in options.others]
    with writing_to(options.out) as output:
        for folder in others:
            if not folder.is_dir():
                raise UsageError(f"--from {folder.parent}: there is no {folder}")
        plan_stages(*_computing(config))
        _compute(config, output, merge_engine(others))
    return DONE


def _engine(options: argparse.Namespace) -> Engine:
    """The engine that the options name, before torch is loaded.

    raises  UsageError
    """
    if options.engine == "process":
        if options.address is not None or options.workers is not None:
            raise UsageError("--address and --workers belong to a Ray cluster: give --engine ray")
        from sitegen.sweep.driver import sweep

        return sweep
    if options.address is not None and options.workers is not None:
        raise UsageError(
            "--workers starts a cluster on this machine, --address uses another one: give only one of them"
        )
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: give 1 or more")
    from sitegen.sweep.cluster import ray_engine

    return ray_engine(options.address, options.workers)


def _compute(config: Config, output: OutputFolder, engine: Engine) -> None:
    # Imported here, since torch and transformer_lens take seconds to import
    announce("libraries", only_if_long=True)
    from sitegen.compute import compute_data

    started = time.monotonic()
    computed = compute_data(config, output, engine)
    for remark in computed.remarks:
        _say(remark)
    seconds = time.monotonic() - started
    if computed.is_kept:
        _say(
            f"kept {output.data}, which an earlier run computed from the same inputs ({seconds:.0f} s)"
        )
    else:
        _say(f"wrote {output.data}: {computed.n_features:,} features in {seconds:.0f} s")


def _render(options: argparse.Namespace) -> int:
    with writing_to(finished_output(options.out).root) as output:
        _render_site(output, options.labels)
    return DONE


def _render_site(output: OutputFolder, labels: str | None) -> None:
    from sitegen.render.site import keep_labels, render_site

    started = time.monotonic()
    announce("render", only_if_long=True)
    if labels == NO_LABELS:
        output.labels.unlink(missing_ok=True)
    elif labels is not None:
        keep_labels(Path(labels), output)
    rendered = render_site(output)
    _say(
        f"wrote {output.site}: {rendered.n_pages:,} pages, {rendered.n_written:,} files new or changed, "
        f"in {time.monotonic() - started:.0f} s; open {output.site}/index.html"
    )


def _check(options: argparse.Namespace) -> int:
    return FOUND_WANTING if _checked(finished_output(options.out)).findings else DONE


def _checked(output: OutputFolder, of_archive: bool = True) -> Report:
    from sitegen.check import check_output

    announce("check", only_if_long=True)
    report = check_output(output, of_archive)
    end_stage()
    for finding in report.findings:
        print(finding)
    _say(report.summary)
    return report


def _archive(options: argparse.Namespace) -> int:
    from sitegen.publish.archive import write_archive

    output = finished_output(options.out)
    with locked(output.root):
        if _checked(output, of_archive=False).findings:
            _say("no archive was written: correct the findings first")
            return FOUND_WANTING
        announce("archive", only_if_long=True)
        archive = write_archive(output)
    _say(
        f"wrote {output.archive}: {archive.n_files:,} files, {archive.n_bytes / 1e6:,.1f} MB, "
        f"SHA-256 {archive.sha256}"
    )
    return DONE


def _export(options: argparse.Namespace) -> int:
    from sitegen.export.write import export

    with writing_to(finished_output(options.out).root) as output:
        exported = export(output, options.to)
    _say(f"wrote {exported.folder}: {exported.n_files:,} files, {exported.n_bytes / 1e6:,.1f} MB")
    return DONE


def _publication(
    options: argparse.Namespace, output: OutputFolder
) -> AbstractContextManager[Publication | SpacePublication]:
    if options.to == "gh-pages":
        from sitegen.publish.branch import publication

        return publication(output, options.remote, options.branch)
    if not options.space:
        raise UsageError("--to space: give --space OWNER/NAME")
    from sitegen.publish.space import space_publication
    from sitegen.store import read_manifest

    title = read_manifest(output.data).config.site.title
    return space_publication(output, options.space, title)


def _publish(options: argparse.Namespace) -> int:
    output = finished_output(options.out)
    # The lock holds from the check to the push, so that exactly the checked files are sent
    with locked(output.root), _publication(options, output) as prepared:
        if _checked(output).findings:
            _say("nothing was sent: correct the findings first")
            return FOUND_WANTING
        _say(f"to be sent: {prepared}")
        if not options.yes and not _confirm():
            _say("nothing was sent")
            return DONE
        prepared.push()
    _say("sent")
    return DONE


def _confirm() -> bool:
    """Ask the user whether to send.

    raises  UsageError if standard input is no terminal
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "cannot ask whether to send it, since standard input is no terminal: give --yes"
        )
    print("Send it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _serve(options: argparse.Namespace) -> int:
    from sitegen.serve import serve_site

    serve_site(finished_output(options.out), options.port, _say)
    return DONE


def _verify(options: argparse.Namespace) -> int:
    config = _config(options)
    from sitegen.compute import verify_published

    plan_stages("sources", "fit", "published")
    numbers = verify_published(config)
    for line in _table([_VERIFY_HEADINGS, *map(_verify_cells, numbers)]):
        print(line)
    n_missed = sum(not number.holds for number in numbers)
    _say(f"verify: {len(numbers) - n_missed} of {len(numbers)} numbers hold, {n_missed} missed")
    return FOUND_WANTING if n_missed else DONE


_VERIFY_HEADINGS = ["number", "published", "computed", "difference", "allowed", "verdict"]


def _verify_cells(number: PublishedNumber) -> list[str]:
    verdict = "holds" if number.holds else "MISSES"
    return [
        number.name,
        number.published,
        number.computed,
        number.difference,
        number.tolerance,
        verdict,
    ]


def _table(rows: list[list[str]]) -> list[str]:
    """Format rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _presets(options: argparse.Namespace) -> int:
    for name in preset_names():
        print(f"{name:<14} {load_config(name).site.description}")
    return DONE


def _inspect(options: argparse.Namespace) -> int:
    from sitegen.inspection import inspect

    found = inspect(options.what, options.source)
    print("\n".join(found.lines))
    if found.toml:
        print(f"\n{found.toml}")
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "sweep": _sweep,
    "merge": _merge,
    "render": _render,
    "check": _check,
    "export": _export,
    "archive": _archive,
    "publish": _publish,
    "serve": _serve,
    "verify": _verify,
    "presets": _presets,
    "inspect": _inspect,
}


def _say(line: str) -> None:
    """Print a line on the result of the present stage, which ends it."""
    end_stage()
    tell(line)


def _os_error_line(error: OSError) -> str:
    what = f"{error.filename}: " if error.filename else ""
    if error.filename and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full_disk_line(error)
    remedies = {
        errno.ENOSPC: "free space on the disk that was written to, then run the same command again",
        errno.EFBIG: "write to a disk that takes larger files",
        errno.EACCES: "give a folder that you may write to, or change its permissions",
        errno.EROFS: "give a folder on a disk that can be written to",
    }
    remedy = remedies.get(error.errno or 0, "see to that, then run the same command again")
    return f"{what}{(error.strerror or str(error)).lower()}; {remedy}"


def _full_disk_line(error: OSError) -> str:
    """The message for a full disk, with the folder on it and the free space."""
    folder = existing_folder(Path(error.filename))
    free = shutil.disk_usage(folder).free / 1e6
    is_quota = error.errno == errno.EDQUOT
    reason = "your quota is used up" if is_quota else "no space left on its disk"
    return f"{folder}: {reason} ({free:,.1f} MB free): free space there, then run the same command again"
