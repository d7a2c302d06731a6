"""Who is compared: every baseline, and this package's model under its recipes, each under one name.

`lds`, `gpdm`, ... are the names of `BASELINES`; `dtsgan_fast` is a preset, `dtsgan_fast_single` the same with
another data update (the paper's Table 3).
"""

import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dtsgan.baselines import BASELINES, Method
from dtsgan.config import PRESETS, TrainConfig
from dtsgan.errors import ConfigError, nearest

OWN = "dtsgan"
STANDARD = ("preview", "fast", "quality")  # presets that "all" means; with quick the first alone
UPDATES: tuple[str, ...] = typing.get_args(typing.get_type_hints(TrainConfig)["update"])
DTSGAN_CITATION = (
    "X. Li, X. Wang, Z. Qi, H. Cao, Z. Zhang, A. Xiang, DTSGAN: Learning Dynamic Textures via "
    "Spatiotemporal Generative Adversarial Network, 2024"
)


@dataclass(frozen=True)
class Contestant:
    """A baseline, or a recipe of DTSGAN."""

    name: str
    title: str
    baseline: Method | None = None
    preset: str = ""  # of DTSGAN
    update: str = ""  # the data update that DTSGAN learns with

    def facts(self) -> dict[str, Any]:
        """What its lines of the results say of it."""
        one = self.baseline
        return {
            "title": self.title,
            "citation": one.citation if one else DTSGAN_CITATION,
            "deviations": one.deviations if one else "",
            "is_control": one is not None and one.module == "controls",  # known to be good or bad: no rival
        }

    def missing_network(self, weights: Path | None) -> str:
        """Why the method has not the pretrained network that it looks through; "" where it needs none."""
        file = self.baseline.network if self.baseline else ""
        if not file or (weights is not None and (weights / file).is_file()):
            return ""
        return f"it looks through {file}: name a folder that holds it with --metric-weights"


def contestant(name: str) -> Contestant:
    """
    Raises:
        ConfigError: a name that no method has; the nearest one is suggested.
    """
    if name in BASELINES:
        return Contestant(name, BASELINES[name].title, BASELINES[name])
    if name.startswith(f"{OWN}_"):
        preset, _, update = name.removeprefix(f"{OWN}_").partition("_")
        if preset in PRESETS and update in ("", *UPDATES):
            usual = PRESETS[preset].train.update
            if update in ("", usual):  # the preset as it is, under one name
                return Contestant(f"{OWN}_{preset}", f"DTSGAN {preset}", preset=preset, update=usual)
            return Contestant(name, f"DTSGAN {preset}, {update} clip", preset=preset, update=update)
    known = [*BASELINES, *(f"{OWN}_{preset}" for preset in PRESETS)]
    raise ConfigError(
        f'there is no method "{name}"{nearest(name, known)}: choose all, or some of {", ".join(known)} (with '
        f"_{', _'.join(UPDATES)} after those of {OWN} for another data update)"
    )


def find_contestants(
    names: Sequence[str], updates: Iterable[str] = (), quick: bool = False
) -> list[Contestant]:
    """The methods that `names` mean, each once, in their order.

    Args:
        names: "all" means every baseline and the presets preview, fast and quality (with `quick`, preview).
        updates: data updates with which every preset of DTSGAN among them is learned, too.

    Raises:
        ConfigError: a name or an update that there is not.
    """
    if unknown := [update for update in updates if update not in UPDATES]:
        raise ConfigError(f'there is no data update "{unknown[0]}": choose {", ".join(UPDATES)}')
    every = [*BASELINES, *(f"{OWN}_{preset}" for preset in (STANDARD[:1] if quick else STANDARD))]
    found: dict[str, Contestant] = {}
    for name in names:
        for one in map(contestant, every if name == "all" else [name]):
            found.setdefault(one.name, one)
    learning = [one for one in found.values() if one.preset and any(PRESETS[one.preset].train.steps)]
    for one in learning:
        for update in updates:
            variant = contestant(f"{OWN}_{one.preset}_{update}")
            found.setdefault(variant.name, variant)
    if not found:
        raise ConfigError("no method is named: choose all, or some of them")
    return list(found.values())


def import_methods(modules: Iterable[str]) -> None:
    """Imports modules that add methods of their own to `BASELINES`.

    Raises:
        ConfigError: one that cannot be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError(
                f"{module} cannot be imported ({error}): install it, or put its folder on PYTHONPATH"
            ) from error
