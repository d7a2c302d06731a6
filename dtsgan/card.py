"""The model card: what a stranger should know of a texture, and how to use it. Written from what is known."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtsgan.config import PRESETS, Config
from dtsgan.config import preset as find_preset
from dtsgan.errors import ConfigError
from dtsgan.rundir import write_text

if TYPE_CHECKING:
    from torch import Tensor

    from dtsgan.model import DTSGAN

LOOP_FRAMES = 48  # of the picture on the card: two seconds that repeat without a seam
FUTURE_FRAMES = 36  # of the picture's futures on the card
PREVIEW_SECONDS = 8.0
SEAL = re.compile(r"\n<!-- written by dtsgan [0-9a-f]{16}; .* -->\n\Z")
UNLISTED = {"seed", "threads", "layout"}  # settings that have an option of their own, or change nothing


def model_card(
    model: "DTSGAN",
    repo: str | None = None,
    *,
    scores: Mapping[str, Any] | None = None,
    previews: bool = True,
    futures: bool = False,
) -> str:
    """The text of README.md.

    Args:
        model: its training record says where it comes from; what is not known is left out.
        repo: what to load it by, `"user/name"` on the Hub or the name of a bundled texture.
        scores: `{"scores": {name: value}, "floors": {floor: {name: value}}}`; left out when not given.
        previews: whether `preview.webp` and `preview.mp4` lie beside it.
        futures: whether `prediction.webp` does.
    """
    record = model.record
    name = _name(model, repo)
    where = repo or "path/to/this/folder"
    sections = [_front_matter(model), f"# {name}", _introduction(model)]
    if previews:
        sections.append(
            "![A loop of new video, drawn by the model](preview.webp)\n\n"
            "*A loop drawn by the model. [preview.mp4](preview.mp4): the source, and beside "
            "it new video.*"
        )
    sections += [_use(model, where, name), _continue(model, where, name, futures), _facts(model)]
    table = _scores(scores)
    if table:
        sections.append(table)
    command = training_command(record)
    if command:
        sections.append(f"## Train it again\n\n```sh\n{command}\n```")
    sections += [_limits(model), _files()]
    return "\n\n".join(sections) + "\n"


def write_card(folder: Path, model: "DTSGAN", repo: str | None = None) -> None:
    """Writes the README.md of a model folder. One that somebody has changed by hand is left as it is."""
    path = folder / "README.md"
    if path.exists() and not _is_own(path):
        return
    previews = (folder / "preview.webp").exists()
    futures = (folder / "prediction.webp").exists()
    text = model_card(model, repo, scores=read_scores(folder), previews=previews, futures=futures)
    note = "change anything above, and it is yours: it will not be written over"
    write_text(path, f"{text}\n<!-- written by dtsgan {_digest(text)}; {note} -->\n")


def draw_previews(
    folder: Path, model: "DTSGAN", *, source: "Tensor | None" = None, loop_only: bool = False
) -> None:
    """Draws what is missing of `preview.webp`, a loop, `preview.mp4`, the source beside new video, and, where
    prediction was trained, `prediction.webp`, a picture beside two of its futures.

    Args:
        source: the real clip, `(1, 3, T, H, W)`; where there is none, as the model remembers it.
        loop_only: leave `preview.mp4` to the caller.
    """
    from dtsgan.pyramid import resize
    from dtsgan.video import side_by_side, write_clip

    if not (folder / "preview.webp").exists():
        write_clip(folder / "preview.webp", model.sample(LOOP_FRAMES, loop=True), min(model.fps, 50.0))
    if model.encoder is not None and not (folder / "prediction.webp").exists():
        seen = model.sample(1, diversity=0) if source is None else resize(source, model.size)
        picture = seen[0, :, seen.shape[2] // 2]
        still = picture[None, :, None].expand(-1, -1, FUTURE_FRAMES, -1, -1)
        futures = [model.predict(picture, FUTURE_FRAMES, seed=seed) for seed in range(2)]
        write_clip(folder / "prediction.webp", side_by_side(still, *futures), min(model.fps, 50.0))
    if not loop_only and not (folder / "preview.mp4").exists():
        count = max(2, round(PREVIEW_SECONDS * model.fps))
        if source is None:
            real = model.sample(count, diversity=0)
        else:
            real = resize(source[:, :, :count], model.size)
        write_clip(folder / "preview.mp4", side_by_side(real, model.sample(real.shape[2])), model.fps)


def read_scores(folder: Path) -> dict[str, Any] | None:
    """`scores.json` of a model folder, if there is one that can be read."""
    try:
        values = json.loads((folder / "scores.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def training_command(record: Mapping[str, Any]) -> str | None:
    """The command that trains the same texture again, as far as the record tells."""
    try:
        config = Config.from_dict(record["config"])
        layout = config.model.layout
        command = ["dtsgan", "train", str(record["video"]), "--out", "runs/again", "--preset", config.preset]
        usual = find_preset(config.preset, layout)
        if config.pyramid.max_size != usual.pyramid.max_size:
            # a size that the preset's ladder cannot have is a setting among others
            with suppress(ConfigError):
                usual = replace(usual, pyramid=usual.pyramid.resized(config.pyramid.max_size))
                command += ["--size", str(config.pyramid.max_size)]
        command += ["--layout", layout, "--seed", str(config.train.seed)]
        for key in ("start", "end", "budget"):
            if isinstance(record.get(key), int | float):
                command += [f"--{key}", f"{record[key]:g}"]
        for part in ("pyramid", "model", "train"):
            for key, value in config.to_dict()[part].items():
                if value != usual.to_dict()[part][key] and key not in UNLISTED:
                    shown = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
                    command += ["--set", f"{key}={shown}"]
    except (KeyError, TypeError, ValueError, ConfigError):
        return None
    return _plain(shlex.join(command), 4000)


# -- the sections ---


def _front_matter(model: "DTSGAN") -> str:
    """Metadata by which the Hub's search finds it."""
    tags = ["dtsgan", "dynamic-texture", "video-synthesis", "video-texture", "single-video", model.layout]
    preset = model.record.get("config", {})
    preset = preset.get("preset") if isinstance(preset, dict) else None
    if preset in PRESETS:
        tags.append(f"preset-{preset}")
    lines = ["---", "library_name: dtsgan", "pipeline_tag: unconditional-image-generation"]
    licence = str(model.record.get("licence") or "")
    if re.fullmatch(r"[A-Za-z0-9.+-]{1,40}", licence):
        lines.append(f"license: {licence.lower()}")
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _name(model: "DTSGAN", repo: str | None) -> str:
    stem = repo.rpartition("/")[2] if repo else Path(str(model.record.get("video") or "")).stem
    return _plain(stem) or "A dynamic texture"


def _introduction(model: "DTSGAN") -> str:
    kind = (
        "a scene: what stands where is part of it, and it is drawn at its own size"
        if model.layout == "anchored"
        else "a texture without places: it is drawn at any size, also as seamless tiles"
    )
    video = _plain(str(model.record.get("video") or ""))
    source = f"one short video (`{video}`)" if video else "one short video"
    return (
        f"A **dynamic texture** learned from {source} with DTSGAN, a spatiotemporal pyramid GAN: it draws "
        f"new video of the same kind, of any length, in real time on a laptop. This one is {kind}."
    )


def _use(model: "DTSGAN", where: str, name: str) -> str:
    file = _file(name)
    if "/" in where:
        loading = f"""from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("{where}", trust_remote_code=True)"""
        caution = """ `trust_remote_code=True` runs the two files `pipeline.py` and
`pyramid/modeling_dtsgan.py` of this repository, of one import each; look at them before you do.
`DTSGANPipeline.from_pretrained` of `dtsgan.diffusers_pipeline` needs neither them nor the flag."""
    else:
        loading = f"""from dtsgan.diffusers_pipeline import DTSGANPipeline

pipe = DTSGANPipeline.from_pretrained("{where}")"""
        caution = ""
    return f"""## Use it

With the Python package `dtsgan`, from the command line:

```sh
dtsgan sample {where} --out {file} --seconds 20 --seed 7
```

From Python, which reads JSON and safetensors only and runs no code of this repository:

```python
import dtsgan

model = dtsgan.DTSGAN.from_pretrained("{where}")
video = model.sample(num_frames=128, seed=7)  # (1, 3, 128, {model.size[0]}, {model.size[1]}), in [-1, 1]
for frame in model.stream(seed=7):  # endless, in constant memory
    ...
```

With diffusers:

```python
import torch
{loading}
frames = pipe(num_frames=128, generator=torch.Generator().manual_seed(7)).frames[0]  # PIL images
```

One seed names one video: all three draw the same.{caution}"""


def _continue(model: "DTSGAN", where: str, name: str, futures: bool) -> str:
    """How to predict and to edit with it, as far as it can."""
    picture = (
        "![A picture, and two of its futures](prediction.webp)\n\n"
        "*A picture, and two futures: each begins with the picture and is new video.*\n\n"
    )
    predicting = f"dtsgan predict {where} photo.jpg --out future.mp4 --seconds 10 --seed 3\n"
    height, width = model.size
    box = f"[{width // 4}, {height // 4}, {width // 4}, {height // 4}]"
    edit = f'{{"op": "copy", "box": {box}, "to": [{width // 2}, {height // 2}], "delay": 6}}'
    return (
        ("## Continue a picture, edit the video\n\n" if model.can_predict else "## Edit the video\n\n")
        + (picture if futures else "")
        + "```sh\n"
        + (predicting if model.can_predict else "")
        + f"dtsgan edit {where} --clip {_file(name)} --edit '{edit}' --out edited.mp4\n```\n\n"
        + "An edit, such as this copy of a patch to another place, moves with the texture; around it the "
        "video stays as it is."
    )


def _facts(model: "DTSGAN") -> str:
    record, pyramid = model.record, model.pyramid
    height, width = model.size
    parameters = sum(t.numel() for t in pyramid.state_dict().values())
    rows = [
        ("size", f"{width} x {height} pixels" + ("" if pyramid.config.anchored else ", or any other")),
        ("frame rate", f"{model.fps:g} frames a second"),
        ("learned from", f"{pyramid.num_frames} frames, {pyramid.num_frames / model.fps:.1f} seconds"),
        ("scales", " · ".join(f"{w}x{h}" for h, w in pyramid.sizes)),
        (
            "coarsest scale",
            {"linear": "a closed-form linear model", "adversarial": "adversarial, from noise"},
        ),
        ("numbers in the model", f"{parameters:,}"),
    ]
    config = record.get("config")
    if isinstance(config, dict) and isinstance(config.get("preset"), str):
        rows.append(("preset", f"`{_plain(config['preset'])}`"))
    seconds = record.get("wall_seconds")
    if isinstance(seconds, int | float) and seconds > 0:
        machine = _plain(str(record.get("machine") or ""))
        rows.append(("trained in", f"{seconds / 60:.1f} minutes" + (f" ({machine})" if machine else "")))
    if isinstance(record.get("dtsgan"), str):
        rows.append(("dtsgan", _plain(record["dtsgan"])))
    lines = ["## What it is", "", "| | |", "| --- | --- |"]
    for key, value in rows:
        lines.append(f"| {key} | {value[pyramid.config.coarse] if isinstance(value, dict) else value} |")
    return "\n".join(lines)


def _scores(scores: Mapping[str, Any] | None) -> str | None:
    """A table of scores, each beside its floors: a score alone says nothing."""
    own = scores.get("scores") if scores else None
    if not isinstance(own, dict) or not own or scores is None:
        return None
    floors = scores.get("floors")
    columns = {"this model": own, **(floors if isinstance(floors, dict) else {})}
    columns = {_plain(str(name)): column for name, column in columns.items() if isinstance(column, dict)}
    lines = [
        "## Scores",
        "",
        "Each beside its floors: what real video and broken video score in its place.",
        "",
        "| | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name in own:
        cells = [_number(column.get(name)) for column in columns.values()]
        lines.append(f"| {_plain(str(name))} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: Any) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return f"{value:.3f}" if good else "–"


def _limits(model: "DTSGAN") -> str:
    lines = [
        "## Limits",
        "",
        "- It knows one short video and nothing else: no prompts, no other subjects.",
        "- It is a texture in time: what happened once in the source may happen at any time, and no story "
        "is told.",
    ]
    if model.layout == "anchored":
        lines.append(
            "- The camera stood still, and so does the scene: other sizes need a training at that size."
        )
    if model.pyramid.transport is not None:
        count, (height, width) = len(model.pyramid.transport.kept), model.pyramid.sizes[0]
        lines.append(
            f"- It holds {count} frames of its source at {width}x{height} pixels, whose patches it draws "
            "with: publish it only if you may publish those."
        )
    if not model.record.get("licence"):
        lines.append("- No licence is stated: ask whoever published it before you use it.")
    return "\n".join(lines)


def _files() -> str:
    return (
        "## Files\n\n"
        "`config.json` and `pyramid/` hold the model (JSON and safetensors), `training.json` how it was "
        "made; `model_index.json`, `pipeline.py` and `pyramid/modeling_dtsgan.py` are for diffusers."
    )


# -- text ---


def _plain(text: str, longest: int = 120) -> str:
    """One line that is no markup: a record may come from anyone."""
    return re.sub(r"[`<>|\[\]\x00-\x1f\x7f]", "", text).strip()[:longest]


def _file(name: str) -> str:
    """What a video of the texture is called in the examples."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.mp4"


def _is_own(path: Path) -> bool:
    """Whether a card is as we wrote it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    seal = SEAL.search(text)
    return seal is not None and _digest(text[: seal.start()]) in seal.group()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
