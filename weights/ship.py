"""Makes a bundled texture, `weights/NAME`, of a finished run: weights, card and previews.

python weights/ship.py runs/ocean ocean --licence cc0-1.0
python weights/ship.py runs/ocean ocean --licence cc0-1.0 --scores scores.json   # shown on the card
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from dtsgan.card import draw_previews, write_card
from dtsgan.errors import DTSGANError, ModelFileError
from dtsgan.folder import WEIGHTS
from dtsgan.model import DTSGAN
from dtsgan.rundir import RunDir, write_text
from dtsgan.video import read_clip

HOME = Path(__file__).resolve().parent
BUDGET = 40 * 2**20  # bytes, of all textures together
MARKS = re.compile(r"(<!-- textures -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", metavar="RUN", help="a finished run, or a model folder")
    p.add_argument("name", metavar="NAME", help="what the texture will be called")
    p.add_argument("--licence", metavar="NAME", default="cc0-1.0", help="default: %(default)s")
    p.add_argument("--scores", metavar="FILE", type=Path, help="scores.json to show on the card")
    p.add_argument("--home", metavar="DIR", type=Path, default=HOME, help=argparse.SUPPRESS)
    arguments = p.parse_args()
    try:
        print(ship(arguments.run, arguments.name, arguments.licence, arguments.scores, arguments.home))
    except (DTSGANError, OSError) as error:
        print(f"ship: {error}", file=sys.stderr)
        return 1
    return 0


def ship(run: str, name: str, licence: str, scores: Path | None = None, home: Path = HOME) -> Path:
    """Writes `home/name`, whole or not at all, in place of the one that is there, and the table."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name):
        raise ModelFileError(f'a texture is named in small letters, digits and underscores, got "{name}"')
    folder = RunDir(Path(run))
    state = folder.read_status().get("state")
    if state not in (None, "done"):
        raise ModelFileError(f"{run} is {state}: ship what is finished")
    model = DTSGAN.from_pretrained(run)
    model.record = {**model.record, "licence": licence}
    source = folder.source if folder.source.exists() else None
    if source is not None:
        model.folder = None  # previews are drawn anew, beside the whole source
    partial = home / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        if scores is not None:
            found = json.loads(scores.read_text())
            found["reference"] = Path(str(found.get("reference", ""))).name  # its folder concerns nobody
            write_text(partial / "scores.json", json.dumps(found) + "\n")
        draw_previews(partial, model, source=None if source is None else read_clip(source)[0])
        write_card(partial, model, name)
        shutil.rmtree(home / name, ignore_errors=True)
        partial.replace(home / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    write_table(home)
    total = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    if total > BUDGET:
        print(f"note: all textures together have {total / 2**20:.1f} MB, more than 40", file=sys.stderr)
    return home / name


def write_table(home: Path) -> None:
    """The table in README.md, from the folders that are there."""
    lines = [
        "| texture | size | layout | preset | weights | whole folder |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for config in sorted(home.glob("*/config.json")):
        folder = config.parent
        values, record = json.loads(config.read_text()), json.loads((folder / "training.json").read_text())
        height, width = values["sizes"][-1]
        preset = record.get("config", {}).get("preset", "")
        whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        lines.append(
            f"| [{folder.name}]({folder.name}) | {width}x{height} | {values['model']['layout']} | {preset} "
            f"| {(folder / WEIGHTS).stat().st_size / 2**20:.1f} MB | {whole / 2**20:.1f} MB |"
        )
    readme = home / "README.md"
    table = "\n".join(lines)
    text = MARKS.sub(lambda marks: f"{marks[1]}\n{table}\n\n{marks[2]}", readme.read_text())
    write_text(readme, text)


if __name__ == "__main__":
    sys.exit(main())
