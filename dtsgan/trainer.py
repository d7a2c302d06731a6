"""Learning the pyramid, scale by scale, coarse to fine. Prints, draws and saves nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtsgan import losses, noise
from dtsgan.budget import Budget
from dtsgan.config import Config, at_scale
from dtsgan.data_update import window_starts
from dtsgan.errors import ConfigError, TrainingDivergedError, VideoError
from dtsgan.estimate import has_fast_bfloat16, scale_flops
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.networks import PatchDiscriminator, Place, PyramidGenerator, ScaleGenerator, full_place
from dtsgan.patch_transport import SAMPLES, PatchTimes
from dtsgan.pyramid import Size, build_pyramid, resize, scale_sizes, upsample
from dtsgan.sampler import Draw, LinearSource, Stream

POOL_SEED = 2**40  # fakes of the scale below come from seeds that no user's sample shares
COLLAPSE_STEPS = 200  # a discriminator may win or freeze for a while; this long is a collapse


@dataclass(frozen=True)
class Progress:
    """Where training is after one step."""

    scale: int
    num_scales: int
    step: int  # of this scale, from 1
    num_steps: int
    work_done: float  # part of the whole run's arithmetic, 0 to 1
    losses: dict[str, float]
    stage: Literal["texture", "prediction"] = "texture"  # of what: the pyramid, or the encoder on top of it


class Training:
    """Iterating it trains; stopping is no longer iterating. `pyramid` is usable from the first finished scale
    on.

    Args:
        clip: the whole video at the finest scale, `(1, 3, N, H, W)`, float32 in [-1, 1].
        config: the recipe.
        device: where to train.
        budget: seconds that the steps may take. The recipe's counts are scaled to it, once a scale, by timing
            its first steps; from then on only steps count, so a resumed run ends as an unbroken one.

    Raises:
        VideoError: if the clip is shorter than the recipe needs.
    """

    def __init__(
        self, clip: Tensor, config: Config, device: torch.device | str = "cpu", budget: float | None = None
    ) -> None:
        self.device = torch.device(device)
        self.G: ScaleGenerator
        self.D: PatchDiscriminator | None = None
        self.rec_base: Tensor | None = None
        self.pool: Tensor | None = None
        self.optim_g: torch.optim.Adam | None = None
        self.optim_d: torch.optim.Adam | None = None
        check_length(config, clip.shape[2])
        sizes = scale_sizes(config.pyramid, clip.shape[3], clip.shape[4])
        check_size(config, sizes)
        clips = build_pyramid(clip, sizes)
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.train.seed)
            self.pyramid = PyramidGenerator(config.model, sizes, clip.shape[2])
        if config.model.whiten:
            self.pyramid.fit_colors(clip)
        self.coarse_clip = clips[0]
        self.clips = [self.pyramid.whiten(c).to(self.device) for c in clips]  # coarse to fine
        self.pyramid.to(self.device)
        self.scale, self.step = 0, 0
        self.finished_scales = 0
        self.budget = Budget(budget)
        self.steps = [at_scale(config.train.steps, n) for n in range(len(sizes))]
        self._resumed: dict[str, Any] | None = None
        self._idle_steps = 0
        self._warm_d: dict[str, Tensor] | None = None  # the scale below's discriminator, to begin from
        self._work = work = [scale_flops(config, n, size, clip.shape[2]) for n, size in enumerate(sizes)]
        self._work_before = [sum(work[:n]) / max(1, sum(work)) for n in range(len(work) + 1)]

    def __iter__(self) -> Iterator[Progress]:
        for scale in range(self.scale, self.pyramid.num_scales):
            began = time.perf_counter()
            for part in self._begin(scale):
                self.budget.begin(time.perf_counter() - began)
                done = self._work_before[scale + 1] * part
                yield Progress(scale, self.pyramid.num_scales, 0, 0, done, {})
                began = time.perf_counter()
            self.budget.begin(time.perf_counter() - began)
            values: dict[str, float] = {}
            while self.step < self.num_steps(scale):
                began = time.perf_counter()
                self._schedule(self.num_steps(scale))
                values = self._train_step()
                self._check(values)
                self.step += 1
                self._settle(time.perf_counter() - began)
                if self.step < self.num_steps(scale):
                    yield self._progress(values, self.num_steps(scale))
            self._finish(scale)
            self.budget.end()
            self.scale, self.step = scale + 1, 0
            yield self._progress(values, self.num_steps(scale), scale)

    def last_progress(self) -> Progress:
        """What the last step of a finished training said, but for its losses."""
        scale = self.pyramid.num_scales - 1
        return self._progress({}, self.num_steps(scale), scale)

    def num_steps(self, scale: int) -> int:
        """Steps that a scale takes; with a budget the recipe's own until its first steps are timed."""
        return 0 if isinstance(self.pyramid.scales[scale], LinearDynamics) else self.steps[scale]

    def finished_pyramid(self) -> PyramidGenerator:
        """The scales that are finished, as a pyramid of their own."""
        return self.pyramid.truncated(self.finished_scales)

    def _settle(self, seconds: float) -> None:
        """Counts the time of a step and, after the first few of a scale, how many steps the budget allows."""
        share = self._work[self.scale] / sum(self._work[self.scale :])
        allowed = self.budget.step(self.step, seconds, share)
        if allowed is not None:
            self.steps[self.scale] = allowed

    @property
    def is_finished(self) -> bool:
        return self.finished_scales == self.pyramid.num_scales

    # -- one scale ---

    def _begin(self, scale: int) -> Iterator[float]:
        """Everything a scale's steps need; yields how far a closed-form scale is fitted, 0 to 1. A function
        of the seed and the finished scales alone, so that a resumed run begins a scale as the unbroken one
        did."""
        self.scale = scale
        self.pyramid.eval()
        net = self.pyramid.scales[scale]
        self.target = self.clips[scale]  # 1 3 N H W
        if isinstance(net, LinearDynamics):
            yield from fit_coarse_by_rungs(self.pyramid, self.coarse_clip, self.config.train.seed)
            return
        assert isinstance(net, ScaleGenerator)
        train, model = self.config.train, self.config.model
        self.G = net
        self.place = full_place(self.pyramid.sizes[scale], model.anchored, self.device)
        self.context = net.margin  # frames of the base before the clip that it belongs to
        self.rec_base = None if scale == 0 else self._reconstruction_below(scale)
        with torch.no_grad():
            self._initialise(net, scale)
        self.pool = None
        if scale > 0 and train.pool_frames:
            draw = Draw(seeds=[POOL_SEED + scale])
            stream = Stream(self.pyramid, draw, top=scale - 1, dtype=self._dtype())
            chunks = [
                stream.take_raw(min(16, train.pool_frames - k)) for k in range(0, train.pool_frames, 16)
            ]
            self.pool = torch.cat(chunks, 2)
        if self.D is not None:
            self._warm_d = self.D.state_dict()
        self.D = self._discriminator(scale)
        self._warm_d = None
        self.optim_d = self._adam(self.D, train.lr_d) if self.D is not None else None
        self.optim_g = self._adam(net, train.lr_g)
        if self._resumed is not None:
            state, self._resumed = self._resumed, None
            net.load_state_dict(state["generator"])
            self.optim_g.load_state_dict(state["optim_g"])
            if self.D is not None and self.optim_d is not None:
                self.D.load_state_dict(state["discriminator"])
                self.optim_d.load_state_dict(state["optim_d"])
        net.train()

    def _initialise(self, net: ScaleGenerator, scale: int) -> None:
        """What is known in closed form before the first step."""
        train = self.config.train
        below = self.pyramid.scales[scale - 1] if scale else None
        if train.warm_start and isinstance(below, ScaleGenerator):
            copy_matching(below.state_dict(), net)
        if net.position is not None:  # begin with each place's mean and deviation
            maps = torch.cat([self.target.mean(2), self.target.std(2)], 1)[0]
            net.position.copy_(maps)
        if self.rec_base is None:
            net.noise_std.fill_(1)
            return
        frames = slice(self.context, self.rec_base.shape[2] - self.context)
        base = self._enlarge(self.rec_base[:, :, frames], self.place)
        difference = self.target[:, :, self._first_start() :][:, :, : base.shape[2]] - base
        if net.static is not None:
            net.static.copy_(difference.mean(2)[0])
            difference = difference - net.static[None, :, None].float()
        self.detail_std = difference.square().mean().sqrt().clamp(min=1e-3)
        if net.activity is not None:
            power = F.avg_pool2d(difference.square().mean((1, 2)), 5, 1, 2, count_include_pad=False)[0]
            net.activity.copy_((power.sqrt() / self.detail_std).clamp(max=4))
        net.noise_std.copy_(train.noise_weight * self.detail_std)

    def _reconstruction_below(self, scale: int) -> Tensor:
        """What Eq. 4 starts from: the clip one scale below, with `context` frames on both sides of the part
        that is used. Teacher-forced, it is the real one."""
        below = self.clips[scale - 1]
        if self.config.train.teacher_forced:
            return below
        draw = Draw(start_frame=-self.context, diversity=0)
        stream = Stream(self.pyramid, draw, top=scale - 1, dtype=self._dtype())
        return torch.cat([stream.take_raw(1) for _ in range(below.shape[2] + 2 * self.context)], 2)

    def _first_start(self) -> int:
        """First frame that a training clip may start at: teacher-forced, the base needs real frames before
        it."""
        return self.context if self.scale > 0 and self.config.train.teacher_forced else 0

    def _discriminator(self, scale: int) -> PatchDiscriminator | None:
        train, model = self.config.train, self.config.model
        kind = at_scale(train.adversary, scale)
        if kind == "none" or at_scale(train.adversarial_weight, scale) == 0:
            return None
        features = at_scale(train.d_features, scale) or at_scale(model.features, scale)
        extra = 0
        if train.on_detail and scale > 0:
            extra = 3 + (0 if self.G.position is None else len(self.G.position))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(train.seed * 1009 + scale)
            new = PatchDiscriminator(features, model.num_layers, kind == "hinge", extra)
        new = new.to(self.device)
        if train.warm_start and self._warm_d is not None:
            copy_matching(self._warm_d, new)
        return new

    def _adam(self, net: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(net.parameters(), lr=rate, betas=self.config.train.betas)

    def _finish(self, scale: int) -> None:
        """Recalibrates the frozen statistics that sampling uses, and calms the noise (a truncation as that of
        Brock et al. 2019: what the noise is trained to draw is grain more than structure)."""
        self.finished_scales = scale + 1
        net = self.pyramid.scales[scale]
        if not isinstance(net, ScaleGenerator):
            return
        if scale > 0:
            net.noise_std.mul_(self.config.train.noise_kept)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        if norms:
            with torch.no_grad():
                for k in range(8):
                    rng = noise.step_generator(self.config.train.seed, scale, -1 - k)
                    place = self._draw_place(rng)
                    self._fake(rng, [self._first_start()] * self.config.train.batch_size, place)
        net.eval()

    # -- one step ---

    def _train_step(self) -> dict[str, float]:
        train, scale = self.config.train, self.scale
        assert self.optim_g is not None
        rng = noise.step_generator(train.seed, scale, self.step)
        place = self._draw_place(rng)
        first = self._first_start()
        starts = window_starts(
            train.update, self.step, train.update_every, train.update_stride,
            self.target.shape[2] - self.config.pyramid.num_frames + 1 - 2 * first, train.batch_size, rng,
            train.seed, scale,
        )  # fmt: skip
        starts = [first + start for start in starts]
        x = self._real(starts, place)  # B C T H W
        real = self._judged(x, self._real_base(starts, place), place)
        values: dict[str, float] = {}
        kind = at_scale(train.adversary, scale)

        # max_D  E[D(x)] - E[D(G(z))] - lambda * penalty
        if self.D is not None and self.optim_d is not None:
            for _ in range(train.d_steps):
                with torch.no_grad():
                    fake = self._judged(*self._fake(rng, starts, place), place)
                with self._autocast():
                    scores = self.D(real), self.D(fake)
                    if kind == "hinge":
                        loss_d = losses.hinge_discriminator(*scores)
                    else:
                        penalty = losses.gradient_penalty(self.D, real, fake, rng)
                        loss_d = losses.wasserstein_discriminator(*scores) + train.gp_weight * penalty
                self.optim_d.zero_grad(set_to_none=True)
                loss_d.backward()
                self.optim_d.step()
            values["discriminator"] = float(loss_d.detach())

        # min_G  -E[D(G(z))] + eta * |G(z*) - x|^2  (+ the sliced Wasserstein distance of the CPU recipes)
        for _ in range(train.g_steps):
            loss = x.new_zeros(())
            rec_weight, swd_weight = at_scale(train.rec_weight, scale), at_scale(train.swd_weight, scale)
            rebuilt: Tensor | None = None
            if (self.D is not None or swd_weight) and rec_weight:
                fake, base, rebuilt = self._fake_and_rebuilt(rng, starts, place)
            elif self.D is not None or swd_weight:
                fake, base = self._fake(rng, starts, place)
            if self.D is not None:
                self.D.requires_grad_(False)  # its own gradients are not wanted here: a third less work
                with self._autocast():
                    adversarial = losses.adversarial(self.D(self._judged(fake, base, place)))
                values["adversarial"] = float(adversarial.detach())
                loss = loss + at_scale(train.adversarial_weight, scale) * adversarial
            if swd_weight:
                pair = (
                    (fake, x)
                    if base is None or not train.on_detail
                    else (self._detail(fake, base), real[:, :3])
                )
                with self._autocast():
                    swd = losses.sliced_wasserstein(*pair, rng)
                values["swd"] = float(swd.detach())
                loss = loss + swd_weight * swd
            if rec_weight:
                rec = losses.reconstruction(self._rebuilt(starts, place) if rebuilt is None else rebuilt, x)
                if train.on_detail and self.scale > 0:
                    rec = rec / self.detail_std**2
                values["reconstruction"] = float(rec.detach())
                loss = loss + rec_weight * rec
            self.optim_g.zero_grad(set_to_none=True)
            loss.backward()
            if train.grad_clip:  # one crop in a hundred would undo the work of many
                nn.utils.clip_grad_norm_(self.G.parameters(), train.grad_clip)
            self.optim_g.step()
            if self.D is not None:
                self.D.requires_grad_(True)
        values["generator"] = float(loss.detach())
        return values

    def _draw_place(self, rng: torch.Generator | None) -> Place:
        """The crop that a step trains on; without a generator the first one."""
        crop = self.config.train.crop
        canvas = self.place.canvas
        # a free texture has no border, but its video has: keep the context inside
        rim = 0 if self.config.model.anchored or self.scale == 0 else self.context
        sides = []
        for side in canvas:
            inner = side - 2 * rim
            length = min(crop or inner, inner)
            start = rim + (int(torch.randint(inner - length + 1, (), generator=rng)) if rng else 0)
            sides.append(torch.arange(start, start + length, device=self.device))
        return Place(canvas, sides[0], sides[1], self.config.model.anchored)

    def _real(self, starts: list[int], place: Place) -> Tensor:
        length = self.config.pyramid.num_frames
        crop = _cut(self.target, place.rows, place.columns)
        return torch.cat([crop[:, :, s : s + length] for s in starts])

    def _real_base(self, starts: list[int], place: Place) -> Tensor | None:
        """What the scale would have to add its detail to if the scale below were perfect."""
        if self.rec_base is None or not self.config.train.on_detail:
            return None
        length = self.config.pyramid.num_frames
        offset = self.context - self._first_start()
        windows = [self.rec_base[:, :, s + offset : s + offset + length] for s in starts]
        return self._base(windows, place)

    def _judged(self, clip: Tensor, base: Tensor | None, place: Place) -> Tensor:
        """What the discriminator sees: the clip; or, conditional, the detail that the scale adds, what it is
        added to and where, so that a flame's edge is judged beside its flame."""
        if base is None or not self.config.train.on_detail:
            return clip
        parts = [self._detail(clip, base), base]
        if self.G.position is not None:
            maps = _cut(self.G.position.detach(), place.rows, place.columns)
            parts.append(maps[None, :, None].expand(len(clip), -1, clip.shape[2], -1, -1))
        return torch.cat(parts, 1)

    def _detail(self, clip: Tensor, base: Tensor) -> Tensor:
        """What the scale adds, in units of its deviation."""
        return (clip - base) / self.detail_std

    def _fake(self, rng: torch.Generator, starts: list[int], place: Place) -> tuple[Tensor, Tensor | None]:
        """A new clip of this scale at `place`, `(B, 3, T, H, W)`, and the base it was added to."""
        base, z = self._new_inputs(rng, starts, place.grown(self.context))
        return self._generate(base, z, place), self._inner(base)

    def _fake_and_rebuilt(
        self, rng: torch.Generator, starts: list[int], place: Place
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """`_fake` and `_rebuilt`, in one pass of the network: a batch of two keeps the processor busier."""
        if self.config.model.norm == "batch":  # whose statistics must not mix the two
            return *self._fake(rng, starts, place), self._rebuilt(starts, place)
        grown = place.grown(self.context)
        base, z = self._new_inputs(rng, starts, grown)
        known, own = self._known_inputs(starts, grown)
        own = torch.zeros_like(z) if own is None else own
        both = self._generate(torch.cat([base, known]), torch.cat([z, own]), place)
        fake, rebuilt = both.split([len(base), len(known)])
        return fake, self._inner(base), rebuilt

    def _rebuilt(self, starts: list[int], place: Place) -> Tensor:
        """Eq. 4's left side: from z* at the coarsest scale, from the clip below at the others, z_n = 0."""
        return self._generate(*self._known_inputs(starts, place.grown(self.context)), place)

    def _new_inputs(self, rng: torch.Generator, starts: list[int], grown: Place) -> tuple[Tensor, Tensor]:
        """Base and noise of a new clip, `(B, 3, T+2m, H, W)` each at `grown`."""
        train = self.config.train
        length = self.config.pyramid.num_frames + 2 * self.context
        shape = (train.batch_size, 3, length, len(grown.rows), len(grown.columns))
        if self.scale == 0:
            base = torch.zeros(shape, device=self.device)
        elif self.rec_base is not None and float(torch.rand((), generator=rng)) < train.forced_fakes:
            base = self._base(self._rec_windows(starts), grown)
        elif self.pool is not None:
            first = torch.randint(self.pool.shape[2] - length + 1, (shape[0],), generator=rng)
            base = self._base([self.pool[:, :, s : s + length] for s in first.tolist()], grown)
        else:
            seeds = torch.randint(2**40, (shape[0],), generator=rng) + POOL_SEED
            stream = Stream(self.pyramid, Draw(seeds=seeds.tolist()), top=self.scale - 1, dtype=self._dtype())
            base = self._base([stream.take_raw(length).clone()], grown)
        z = torch.randn(shape, generator=rng).to(self.device)
        if grown.anchored:
            rows, columns = grown.inside()
            z = z * ((grown.rows == rows)[:, None] & (grown.columns == columns))
        return base, self.G.scale_noise(z, grown)

    def _known_inputs(self, starts: list[int], grown: Place) -> tuple[Tensor, Tensor | None]:
        """Base and noise from which the training clip is to be rebuilt; no noise means z_n = 0."""
        if self.rec_base is not None:
            return self._base(self._rec_windows(starts), grown), None
        length = self.config.pyramid.num_frames + self.context
        frames = torch.arange(-self.context, length, device=self.device)
        z = torch.cat([grown.noise([noise.REC_SEED], 0, frames + s, (False, False)) for s in starts])
        return torch.zeros_like(z), z

    def _inner(self, base: Tensor) -> Tensor | None:
        """The base without the margin that the convolutions eat; none at the coarsest scale."""
        m = self.context
        return None if self.scale == 0 else base[:, :, m:-m, m:-m, m:-m]

    def _rec_windows(self, starts: list[int]) -> list[Tensor]:
        """The clips below that Eq. 4 starts from, with their context, `(1, 3, T+2m, h, w)` each."""
        assert self.rec_base is not None
        # frame s of the clip is frame s + context of a chain's reconstruction, s of a real one
        first, length = self._first_start(), self.config.pyramid.num_frames + 2 * self.context
        return [self.rec_base[:, :, s - first : s - first + length] for s in starts]

    def _generate(self, base: Tensor, z: Tensor | None, place: Place) -> Tensor:
        with self._autocast():
            position = self.G.position_features(place.grown(self.context))
            base = base.contiguous(memory_format=torch.channels_last_3d)
            return self.G(base, z, position).float()

    def _base(self, windows: list[Tensor], grown: Place) -> Tensor:
        """Windows in time of the scale below, `(1, 3, T, h, w)` each, as this scale's base at `grown`."""
        rows, columns = grown.reading(self.pyramid.sizes[self.scale - 1], clamp=True)
        coarse = torch.cat(windows)[..., rows.start : rows.stop, columns.start : columns.stop]
        return self.G.base(coarse, (rows, columns), grown)

    def _enlarge(self, coarse: Tensor, place: Place) -> Tensor:
        return upsample(coarse, *place.reading(self.pyramid.sizes[self.scale - 1], clamp=True))

    def _schedule(self, num_steps: int) -> None:
        """Rates fall to a tenth for the last part of a scale."""
        train = self.config.train
        factor = 0.1 if self.step >= train.decay_at * num_steps else 1.0
        for optim, rate in ((self.optim_g, train.lr_g), (self.optim_d, train.lr_d)):
            if optim is not None:
                for group in optim.param_groups:
                    group["lr"] = factor * rate

    def _check(self, values: dict[str, float]) -> None:
        """Names what has gone wrong instead of training on it."""
        where = f"at scale {self.scale}, step {self.step}"
        if not all(map(_is_finite, values.values())):
            raise TrainingDivergedError(
                f"training diverged {where}: a loss is no longer a number; start again with another --seed "
                f"or lower rates (--set lr_g={self.config.train.lr_g / 2:g})"
            )
        if "discriminator" in values:
            kind = at_scale(self.config.train.adversary, self.scale)
            loss = values["discriminator"]
            lost = loss < 1e-3 or abs(loss - 2) < 1e-6 if kind == "hinge" else abs(loss) > 1e6
            self._idle_steps = self._idle_steps + 1 if lost else 0
            if self._idle_steps >= COLLAPSE_STEPS:
                raise TrainingDivergedError(
                    f"the discriminator collapsed {where}: its loss has been {loss:.3g} for "
                    f"{COLLAPSE_STEPS} steps and it teaches nothing; lower its rate "
                    f"(--set lr_d={self.config.train.lr_d / 4:g})"
                )

    def _progress(self, values: dict[str, float], num_steps: int, finished: int | None = None) -> Progress:
        """After a step of the current scale, or after the last one of the scale just `finished`."""
        scale = self.scale if finished is None else finished
        step = self.step if finished is None else num_steps
        low, high = self._work_before[scale : scale + 2]
        part = step / num_steps if num_steps else 1.0
        return Progress(scale, self.pyramid.num_scales, step, num_steps, low + (high - low) * part, values)

    # -- precision and state ---

    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if has_fast_bfloat16(self.device) else torch.float32

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device))

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs; tensors and plain values only."""
        state: dict[str, Any] = {
            "scale": self.scale,
            "step": self.step,
            "finished_scales": self.finished_scales,
            "idle_steps": self._idle_steps,
            "steps": list(self.steps),
            **self.budget.state_dict(),
            "pyramid": self.pyramid.state_dict(),
            "config": self.config.to_dict(),
        }
        if not self.is_finished and self.step == 0:
            state["discriminator_below"] = self._warm_d if self.D is None else self.D.state_dict()
        if not self.is_finished and self.step and self.optim_g is not None:
            state["current"] = {
                "generator": self.G.state_dict(),
                "optim_g": self.optim_g.state_dict(),
                "discriminator": self.D.state_dict() if self.D is not None else None,
                "optim_d": self.optim_d.state_dict() if self.optim_d is not None else None,
            }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pyramid.load_state_dict(state["pyramid"])
        self.scale, self.step = state["scale"], state["step"]
        self.finished_scales, self._idle_steps = state["finished_scales"], state["idle_steps"]
        self.steps = state["steps"]
        self.budget.load_state_dict(state)
        self._warm_d = state.get("discriminator_below")
        self._resumed = state.get("current") if self.step else None


def fit_coarse(pyramid: PyramidGenerator, clip: Tensor, seed: int = 0) -> None:
    """`fit_coarse_by_rungs`, to its end."""
    for _ in fit_coarse_by_rungs(pyramid, clip, seed):
        pass


def fit_coarse_by_rungs(pyramid: PyramidGenerator, clip: Tensor, seed: int = 0) -> Iterator[float]:
    """Fits the closed-form coarsest scale to the clip of its size, `(1, 3, N, h, w)` in [-1, 1]: in plain
    colours, whose copula is the simpler one. Yields now and then the part that is done. `seed` names the
    draws on which the transport is found.

    Raises:
        VideoError: if no pixel of the clip ever changes.
    """
    model, transport = pyramid.scales[0], pyramid.transport
    assert isinstance(model, LinearDynamics)
    model.fit(resize(clip, model.size))
    if transport is not None:
        count, length = SAMPLES
        draw = Draw(seeds=[POOL_SEED + (seed * count + k) % 2**40 for k in range(count)])
        samples = LinearSource(model, draw, 0).take(length + 2 * transport.margin)
        yield from transport.fit(clip.to(samples.device), samples, pyramid.color_matrix)


def check_length(config: Config, num_frames: int) -> None:
    """
    Raises:
        VideoError: if the recipe cannot learn from so few frames.
    """
    forced = config.train.teacher_forced and config.pyramid.num_scales > 1
    needed = config.pyramid.num_frames + (2 * config.model.margin if forced else 0)
    if config.model.patch_transport:
        needed = max(needed, 2 * PatchTimes(config.model.patch_stride).reach + 1)
    if num_frames < needed:
        raise VideoError(
            f"the video has {num_frames} frames and the {config.preset} preset needs {needed}: "
            "use a longer part, or a smaller num_frames"
        )


def check_size(config: Config, sizes: list[Size]) -> None:
    """
    Raises:
        ConfigError: if a scale is too small for its networks.
    """
    train, model = config.train, config.model
    for scale, size in enumerate(sizes):
        if scale == 0 and model.coarse == "linear":
            continue
        rim = 0 if model.anchored or scale == 0 else 2 * model.margin
        sides = [min(train.crop or side - rim, side - rim) for side in size]
        has_adversary = at_scale(train.adversary, scale) != "none"
        patch = 2 * model.num_layers + 1 if has_adversary else 8 if at_scale(train.swd_weight, scale) else 1
        if min(sides) < patch or (has_adversary and config.pyramid.num_frames < patch):
            raise ConfigError(
                f"scale {scale} learns from {sides[1]}x{sides[0]} pixels and {config.pyramid.num_frames} "
                f"frames, and its networks need {patch} of each: raise min_size or num_frames, or lower "
                "num_layers"
            )
        if at_scale(train.swd_weight, scale) and config.pyramid.num_frames < 3:
            raise ConfigError("the sliced Wasserstein distance needs num_frames of at least 3")


def copy_matching(known: dict[str, Tensor], target: nn.Module) -> None:
    """Copies the parameters of equal name and shape: the warm start of SinGAN."""
    own = target.state_dict()
    skipped = ("static", "activity", "position", "noise_std")
    for name, value in own.items():
        if name not in skipped and name in known and known[name].shape == value.shape:
            own[name] = known[name]
    target.load_state_dict(own)


def _cut(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return x[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _is_finite(value: float) -> bool:
    return value - value == 0
