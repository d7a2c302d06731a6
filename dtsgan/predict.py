"""From one picture to its future: training the encoder on a finished pyramid, and how far a picture is from a
texture.

The paper attaches an encoder to the finest scale and pulls the first generated frame to the given one (after
Vondrick et al. 2016); that is `form="paper"`. A layout cannot be moved from there, so by default every scale
is conditioned: a linear coarse model in closed form (`steering.py`), an adversarial one by noise that is
encoded from the picture, and each scale by a network that is asked what of the picture's detail is to be seen
in the frames around it. The pyramid itself stays as it is, and so does every video drawn without a picture.
"""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dtsgan import noise
from dtsgan.budget import Budget
from dtsgan.config import EncoderConfig
from dtsgan.errors import ConfigError, TrainingDivergedError
from dtsgan.estimate import has_fast_bfloat16
from dtsgan.linear_dynamics import LinearDynamics
from dtsgan.metrics.patches import sliced_wasserstein
from dtsgan.model import DTSGAN, check_image
from dtsgan.networks import (
    HORIZON,
    DetailCarrier,
    FrameEncoder,
    NoiseEncoder,
    PyramidGenerator,
    ScaleGenerator,
    full_place,
)
from dtsgan.pyramid import build_pyramid, fit_picture, resize
from dtsgan.sampler import Draw, Stream
from dtsgan.steering import Steering, noise_share
from dtsgan.trainer import POOL_SEED, Progress

FAR = 4.0  # times the distance of frames from each other: what `how_far` says of a picture unlike the texture
MIN_SIDE = 14  # pixels of a frame whose patches can be compared
TIME_SHARE = 1 / 3  # of what the pyramid took, at most
NUM_PASSES = 2  # times that a scale draws its detail on the real clip below, each with other noise
NUM_EPISODES = 24  # predictions that a scale is seen to make, where no real clip can stand below it
RIM = 8  # pixels that a carrier sees on each side
NOISE_FRAMES = 2  # frames on each side of the picture that the encoded noise must draw rightly, too


class Episode(NamedTuple):
    """What a scale drew around a picture, by itself."""

    drawn: Tensor  # 1 3 T h w
    first: int  # the frame of the video that its first one stands for
    start: int  # the frame of the video that is the picture


class EncoderTraining:
    """Iterating it trains; stopping is no longer iterating. `encoder` is usable when it is finished.

    Args:
        pyramid: trained; it is not changed.
        clip: the video that it was trained on, `(1, 3, N, H, W)` in [-1, 1].
        config: of the encoder.
        device: where to train.
        budget: seconds that it may take. Step counts are lowered to it, once a stage, by timing the first
            steps; from then on only steps count, so a resumed training ends as an unbroken one.
    """

    def __init__(
        self, pyramid: PyramidGenerator, clip: Tensor, config: EncoderConfig,
        device: torch.device | str = "cpu", budget: float | None = None,
    ) -> None:  # fmt: skip
        self.device = torch.device(device)
        self.pyramid = pyramid.to(self.device).eval().requires_grad_(False)
        self.config, self.budget = config, Budget(budget)
        if clip.shape[2] < 3:
            raise ConfigError(f"prediction is learned from 3 frames or more, got {clip.shape[2]}")
        self.plain = clip
        self.clips = [pyramid.whiten(c.to(self.device)) for c in build_pyramid(clip, pyramid.sizes)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = FrameEncoder(config, pyramid.config, pyramid.num_scales).to(self.device)
        coarse = pyramid.scales[0]
        if isinstance(coarse, LinearDynamics):
            self.encoder.decay[0] = coarse.persistence(HORIZON + 1).to(self.device)
        self.stages: list[int | None] = [None] if self.encoder.noise is not None else []  # None: the noise
        self.stages += sorted(int(scale) for scale in self.encoder.carriers)
        self.steps = [config.steps] * len(self.stages)
        self.stage, self.step = 0, 0
        self._resumed: dict[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        return self.stage == len(self.stages)

    def __iter__(self) -> Iterator[Progress]:
        if not self.stages:  # one scale in closed form predicts without a network
            yield self.last_progress()
        while not self.is_finished:
            began = time.perf_counter()
            self._begin()
            self.budget.begin(time.perf_counter() - began)
            values: dict[str, float] = {}
            while self.step < self.steps[self.stage]:
                began = time.perf_counter()
                values = self._train_step()
                self.step += 1
                self._settle(time.perf_counter() - began)
                if self.step < self.steps[self.stage]:
                    yield self._progress(self.stage, self.step, values)
            done = self.stage
            self.budget.end()
            self.stage, self.step = done + 1, 0
            yield self._progress(done, self.steps[done], values)

    def last_progress(self) -> Progress:
        """What the last step of a finished training said, but for its losses."""
        if not self.stages:
            return Progress(0, 1, 0, 0, 1.0, {}, "prediction")
        return self._progress(len(self.stages) - 1, self.steps[-1], {})

    # -- one stage ---

    def _begin(self) -> None:
        """Everything a stage's steps need: a function of the pyramid and the finished stages alone."""
        scale = self.stages[self.stage]
        net = self._net()
        if scale is not None:
            self.real = self.clips[scale]
            with torch.no_grad():
                self.episodes = self._episodes(scale)
            self._fit_decay(scale)
        else:
            self.real = self.clips[0]
        self.optim = torch.optim.Adam(net.parameters(), lr=self.config.lr, betas=(0.9, 0.99))
        if self._resumed is not None:
            self.optim.load_state_dict(self._resumed)
            self._resumed = None
        net.train()

    def _net(self) -> DetailCarrier | NoiseEncoder:
        scale = self.stages[self.stage]
        net = self.encoder.noise if scale is None else self.encoder.carrier(scale)
        assert net is not None
        return net

    def _episodes(self, scale: int) -> list[Episode]:
        """What the scale draws by itself around pictures that are frames of the video."""
        num_frames = self.real.shape[2]
        if scale > 0 and self.config.form == "every":  # detail, on the real clip below as Eq. 4 teaches it
            below = (scale - 1, self.clips[scale - 1])
            passes = [
                self._take(
                    Stream(self.pyramid, Draw(seeds=[POOL_SEED + k]), top=scale, below=below), num_frames
                )
                for k in range(NUM_PASSES)
            ]
            return [Episode(drawn, 0, start) for start in range(num_frames) for drawn in passes]
        starts = torch.linspace(0, num_frames - 1, min(NUM_EPISODES, num_frames)).round().long().tolist()
        episodes = []
        for k, start in enumerate(starts):
            draw = Draw(seeds=[POOL_SEED + k], start_frame=-HORIZON)
            steering = None
            if self.config.form == "every":
                picture = self.plain[:, :, start].to(self.device)
                steering = Steering(self.pyramid, picture, self.encoder, lesson=scale)
            stream = Stream(self.pyramid, draw, top=scale, guidance=steering)
            episodes.append(Episode(self._take(stream, 2 * HORIZON + 1), start - HORIZON, start))
        return episodes

    def _take(self, stream: Stream, count: int) -> Tensor:
        return torch.cat([stream.take_raw(min(8, count - k)).clone() for k in range(0, count, 8)], 2)

    @torch.no_grad()
    def _fit_decay(self, scale: int) -> None:
        """How long what the scale does not draw lasts: the regression of the detail k frames from a picture
        on the picture's own, never below 0 and never rising again."""
        carrier, length = self.encoder.carrier(scale), self.real.shape[2]
        assert carrier is not None
        products = torch.zeros(HORIZON + 1, 2, dtype=torch.float64)
        total, num_frames = torch.zeros((), dtype=torch.float64), 0
        for drawn, first, start in self.episodes:
            own = self.real[:, :, start] - drawn[:, :, start - first]
            last = min(start + HORIZON, length - 1, first + drawn.shape[2] - 1)
            for frame in range(start, last + 1):
                other = self.real[:, :, frame] - drawn[:, :, frame - first]
                products[frame - start] += (
                    torch.stack([(own * other).sum(), own.square().sum()]).double().cpu()
                )
                total, num_frames = total + other.square().mean().double().cpu(), num_frames + 1
        slope = products[:, 0] / products[:, 1].clamp(min=1e-9)
        self.encoder.decay[scale] = slope.clamp(0, 1).cummin(0).values.float()
        carrier.unit.copy_((total / num_frames).sqrt().clamp(min=1e-3))

    # -- one step ---

    def _train_step(self) -> dict[str, float]:
        scale = self.stages[self.stage]
        rng = noise.step_generator(self.config.seed, 1000 + self.stage, self.step)
        late = self.step >= 0.7 * self.steps[self.stage]
        for group in self.optim.param_groups:
            group["lr"] = self.config.lr * (0.1 if late else 1.0)
        first, around = self._noise_losses(rng) if scale is None else self._carrier_losses(scale, rng)
        loss = self.config.first_frame_weight * first + around
        value = float(loss.detach())
        if value - value != 0:
            raise TrainingDivergedError(
                f"the encoder's training diverged at step {self.step}: its loss is no longer a number; lower "
                f"its rate (--set lr={self.config.lr / 4:g})"
            )
        self.optim.zero_grad(set_to_none=True)
        loss.backward()
        self.optim.step()
        return {"first_frame": float(first.detach()), "future": float(around.detach())}

    def _carrier_losses(self, scale: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean squared error of the first frame and of those around it, in deviations of the detail."""
        carrier, length = self.encoder.carrier(scale), self.real.shape[2]
        assert carrier is not None
        drawn, first, start = self.episodes[_below(len(self.episodes), rng)]
        low, high = max(-HORIZON, -start), min(HORIZON, length - 1 - start)
        distance = torch.randint(low, high + 1, (self.config.batch_size,), generator=rng)
        distance[0] = 0
        distance[1] = min(1, high)  # the step that would be seen as a jump
        rows, columns = (self._window(side, rng) for side in self.pyramid.sizes[scale])
        real = self.real[..., rows, columns]
        drawn = drawn[..., rows, columns]
        picture = real[:, :, start, None]
        detail = picture - drawn[:, :, start - first, None]
        seen, wanted = drawn[:, :, start - first + distance], real[:, :, start + distance]
        with self._autocast():
            added = carrier(detail, picture, seen, distance, self.encoder.decay[scale])
        error = ((seen + added.float() - wanted) / carrier.unit).square()
        rim_y, rim_x = (RIM if r.stop - r.start > 4 * RIM else 0 for r in (rows, columns))
        error = error[..., rim_y : error.shape[3] - rim_y, rim_x : error.shape[4] - rim_x]
        return error[:, :, 0].mean(), error[:, :, 1:].mean()

    def _noise_losses(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean squared error of what the coarsest generator draws from the encoded noise: of the first frame,
        and of those around it; and how far the noise is from the deviation that the generator knows."""
        net, encoder = self.pyramid.scales[0], self.encoder.noise
        assert isinstance(net, ScaleGenerator) and encoder is not None
        near = min(NOISE_FRAMES, (self.real.shape[2] - 1) // 2)
        start = near + _below(self.real.shape[2] - 2 * near, rng)
        place = full_place(self.pyramid.sizes[0], self.pyramid.config.anchored, self.device).grown(net.margin)
        rows, columns = place.inside()
        given = encoder(self.real[:, :, start, rows][..., columns])  # 1 3 2K+1 H W
        frames = range(-near - net.margin, near + net.margin + 1)
        z = torch.randn(1, 3, len(frames), len(rows), len(columns), generator=rng).to(self.device)
        share = torch.tensor([noise_share(t, net.margin, encoder.reach) for t in frames]).to(z)
        share = share.view(-1, 1, 1)
        z = (1 - share.square()).sqrt() * z + share * given[:, :, [t + encoder.reach for t in frames]]
        if place.anchored:
            z = z * ((place.rows == rows)[:, None] & (place.columns == columns))
        with self._autocast():
            drawn = net(torch.zeros_like(z), z, net.position_features(place)).float()
        error = (drawn - self.real[:, :, start - near : start + near + 1]).square().mean((0, 1, 3, 4))
        error = error / self.real.var()
        around = error[torch.arange(len(error)) != near]
        typical = (given.square().mean() - 1).square()
        return error[near], around.sum() / max(1, len(around)) + typical

    def _window(self, side: int, rng: torch.Generator) -> slice:
        length = min(self.config.crop or side, side)
        start = _below(side - length + 1, rng)
        return slice(start, start + length)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bfloat16(self.device))

    # -- time and state ---

    def _settle(self, seconds: float) -> None:
        """Counts the time of a step; after the first few of a stage, lowers its steps to what the budget
        allows."""
        allowed = self.budget.step(self.step, seconds, 1 / (len(self.stages) - self.stage))
        if allowed is not None:
            self.steps[self.stage] = min(self.steps[self.stage], allowed)

    def _progress(self, stage: int, step: int, values: dict[str, float]) -> Progress:
        num_steps = self.steps[stage]
        done = (stage + (step / num_steps if num_steps else 1)) / len(self.stages)
        return Progress(stage, len(self.stages), step, num_steps, done, values, "prediction")

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs; tensors and plain values only."""
        return {
            "stage": self.stage,
            "step": self.step,
            "steps": list(self.steps),
            **self.budget.state_dict(),
            "encoder": self.encoder.state_dict(),
            "optim": self.optim.state_dict() if self.step else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.stage, self.step, self.steps = state["stage"], state["step"], state["steps"]
        self.budget.load_state_dict(state)
        self._resumed = state["optim"]


def how_far(model: DTSGAN, image: Tensor) -> float:
    """How far a picture is from a texture, as a multiple of how far the texture's frames are from each other.

    A scene is compared place by place with the frames that its coarse model remembers, a texture of no places
    by its patches with frames that it draws.

    Args:
        image: `(3, H, W)`, values in [-1, 1], any size.

    Returns:
        About 1 for a frame of the texture's own video, 2 or 3 for later footage of the same scene, much more
        for another texture.
    """
    picture = fit_picture(check_image(image)[:1], model.size)
    coarse = model.pyramid.scales[0]
    if isinstance(coarse, LinearDynamics):
        known = coarse.colors.float().cpu().transpose(0, 1).flatten(1)  # Q P3
        seen = resize(picture[:, :, None].cpu(), coarse.size).permute(0, 3, 4, 1, 2).flatten(1)  # 1 P3
        others = torch.cdist(known, known).fill_diagonal_(torch.inf).min(1).values
        return float(torch.cdist(seen, known).min() / others.median().clamp(min=1e-6))
    wide = [n for n, size in enumerate(model.pyramid.sizes) if min(size) >= MIN_SIDE]
    lowest = wide[0] if wide else model.pyramid.num_scales - 1  # of a size that has patches
    frames = DTSGAN(model.pyramid.truncated(lowest + 1)).sample(32)[:, :, ::4].cpu()
    seen = resize(picture[:, :, None].cpu(), model.pyramid.sizes[lowest])
    options: dict[str, Any] = {"patch_size": (1, 7, 7), "num_levels": 1, "num_patches": 2048}
    inner = [
        sliced_wasserstein(frames[:, :, k, None], frames[:, :, torch.arange(frames.shape[2]) != k], **options)
        for k in range(frames.shape[2])
    ]
    return sliced_wasserstein(seen, frames, **options) / max(1e-6, sorted(inner)[len(inner) // 2])


def _below(stop: int, rng: torch.Generator) -> int:
    return int(torch.randint(stop, (), generator=rng))


__all__ = ["EncoderTraining", "how_far"]
