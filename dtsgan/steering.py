"""A stream that begins with a given picture, or stands on given frames, and is the texture's own afterwards.

A picture at frame 0 says something of every frame around it, and ever less of those further away. The linear
coarse model knows how much: its states are jointly Gaussian, so the stream that a seed names is moved to one
that passes through the picture by the covariance of each frame with frame 0 (Matheron's rule, conditioning by
kriging: Journel & Huijbregts 1978). Above it, each scale's frame 0 is made the picture, and what that took is
carried to the frames around as far as detail lasts. All of it dies away: what follows is the stream itself,
frame by frame, so a prediction is endless, never repeats and has no joint.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan.linear_dynamics import LinearDynamics, companion, stationary_covariance
from dtsgan.networks import (
    HORIZON,
    DetailCarrier,
    FrameEncoder,
    Place,
    PyramidGenerator,
    full_place,
    taper,
)
from dtsgan.pyramid import Size, resize
from dtsgan.sampler import ClipSource, Draw, Guidance, LinearSource, ScaleSource, Source

RAMP = 8  # frames in which the seed's own chance grows from none to all


class Steering(Guidance):
    """What a given picture asks of each scale. Handed to a `Stream`, whose frame 0 it becomes.

    Args:
        pyramid: a trained pyramid.
        picture: `(B, 3, H, W)` in [-1, 1] at the finest scale; B is 1 or the number of seeds.
        encoder: trained on this pyramid, or None: a linear coarse model does without, at some cost in detail.
        lesson: the scale whose carrier is being trained: it is drawn without, and the linear coarse model
            without chance, so that the carrier learns what is to be expected.
    """

    def __init__(
        self, pyramid: PyramidGenerator, picture: Tensor, encoder: FrameEncoder | None,
        lesson: int | None = None,
    ) -> None:  # fmt: skip
        self.pyramid, self.encoder, self.lesson = pyramid, encoder, lesson
        self.given = picture
        clip = picture[:, :, None].to(pyramid.color_mean)
        self.pictures = [pyramid.whiten(resize(clip, size)) for size in pyramid.sizes]  # B 3 1 H W each

    @property
    def lowest(self) -> int:
        """The coarsest scale that the picture reaches: the finest alone in the paper's form."""
        is_paper = self.encoder is not None and self.encoder.config.form == "paper"
        return self.pyramid.num_scales - 1 if is_paper else 0

    def linear(self, model: LinearDynamics, draw: Draw, start: int) -> Source:
        """The linear model of a stream, steered unless the encoder leaves it alone."""
        if self.lowest > 0:
            return super().linear(model, draw, start)
        coarse = resize(self.given[:, :, None].to(self.pyramid.color_mean), model.size)
        return SteeredLinearSource(model, draw, start, coarse[:, :, 0], self.chance)

    def chance(self, draw: Draw, frame: int) -> float:
        """From none at the picture to all of it."""
        if self.lowest > 0:
            return super().chance(draw, frame)
        if self.lesson is not None:
            return 0.0
        return 1 - certainty(draw, frame)

    def rung(self, source: Source, size: Size, draw: Draw, start: int) -> Source:
        """Patches are chosen by the picture itself where it stands, not by what of it a rung below drew."""
        if self.lowest > 0:
            return source
        picture = resize(self.given[:, :, None].to(self.pyramid.color_mean), size)
        return SteeredSource(source, picture, self.decay(0), None, draw, start)

    def transported(self, source: Source, model: LinearDynamics, draw: Draw, start: int) -> Source:
        """Patches keep to what is most likely, as far as it is likely."""
        if self.lowest > 0:
            return source
        picture = resize(self.given[:, :, None].to(self.pyramid.color_mean), model.size)
        likely = SteeredLinearSource(model, draw, start, picture[:, :, 0], lambda draw, frame: 0.0)
        until = math.inf if draw.period else RAMP  # certain of nothing from here on
        small = self.rung(likely, model.size, draw, start)
        return ProjectedSource(source, small, start, lambda t: certainty(draw, t), until)

    def start(self, source: ScaleSource, draw: Draw) -> Source:
        """The coarsest scale generator, whose noise around frame 0 the encoder chooses."""
        if self.lowest > 0:
            return source
        assert self.encoder is not None
        assert self.encoder.noise is not None
        reach = self.encoder.noise.reach
        rows, columns = source.input_place.inside()
        picture = self.pictures[0][:, :, 0, rows][..., columns]
        given = self.encoder.noise(picture)  # B 3 2K+1 H W
        std = float(source.net.noise_std)

        def blended(z: Tensor, frames: Tensor) -> Tensor:
            for k, frame in enumerate(frames.tolist()):
                t = draw.distance_to_start(frame)
                if abs(t) <= reach:
                    share = noise_share(t, source.net.margin, reach)
                    z[:, :, k] = (1 - share**2) ** 0.5 * z[:, :, k] + share * std * given[:, :, t + reach]
            return z

        source.given = blended
        return source

    def steer(self, source: Source, scale: int, place: Place, draw: Draw, start: int) -> Source:
        """A scale of a stream, beginning at frame `start`, so that its frame 0 is the picture."""
        if scale < self.lowest or scale == self.lesson:
            return source
        rows, columns = place.inside()  # a free texture goes on beyond the picture: its border is repeated
        picture = self.pictures[scale][:, :, :, rows][..., columns]
        net = None if self.encoder is None else self.encoder.carrier(scale)
        return SteeredSource(source, picture, self.decay(scale), net, draw, start)

    def decay(self, scale: int) -> Tensor:
        """How much of what the picture shows and the scale does not draw is still there k frames away,
        `(HORIZON + 1,)`, from 1."""
        if self.encoder is not None:
            return self.encoder.decay[scale]
        coarse = self.pyramid.scales[0]
        assert isinstance(coarse, LinearDynamics)
        return coarse.persistence(HORIZON + 1) ** (1 + (scale > 0))


class SteeredSource:
    """A scale whose frame 0 is the picture; on both sides its detail is carried on and dies away."""

    def __init__(
        self, source: Source, picture: Tensor, decay: Tensor, net: DetailCarrier | None, draw: Draw,
        start: int,
    ) -> None:  # fmt: skip
        """
        Args:
            picture: `(B, 3, 1, H, W)`, of the source's size and colours.
            decay: see `Steering.decay`.
            net: says what becomes of the detail; without one it fades in place.
        """
        self.source, self.picture, self.net, self.draw, self.next = source, picture, net, draw, start
        self.decay = decay.to(picture)
        # what the picture shows and the scale does not draw is known once frame 0 is drawn
        self.early = source.take(1 - start)
        self.detail = self.picture - self.early[:, :, -1:]

    def take(self, count: int) -> Tensor:
        have = min(count, self.early.shape[2])
        drawn, self.early = self.early[:, :, :have], self.early[:, :, have:]
        if count > have:
            drawn = torch.cat([drawn, self.source.take(count - have)], 2)
        frames = range(self.next, self.next + count)
        distance = torch.tensor([self.draw.distance_to_start(t) for t in frames])
        self.next += count
        near = distance.abs() <= HORIZON
        if not near.any():
            return drawn
        drawn = drawn.clone()
        drawn[:, :, near] += self._carried(drawn[:, :, near], distance[near])
        return drawn

    def _carried(self, drawn: Tensor, distance: Tensor) -> Tensor:
        """What the picture adds to the frames at these distances, `(B, 3, T, H, W)`."""
        if self.net is not None:
            return self.net(self.detail, self.picture, drawn, distance, self.decay)
        weight = self.decay[distance.abs()] * taper(distance).to(drawn)
        return self.detail * weight.view(-1, 1, 1)


class ProjectedSource:
    """A video that, made small, is another where that is wanted: back-projection (Irani & Peleg 1991).

    Patches are chosen by what is to be expected and still cannot show all of it: each is some other frame's.
    What they miss is smooth, and is added.
    """

    def __init__(
        self, source: Source, small: Source, start: int, weight: Callable[[int], float],
        until: float = math.inf,
    ) -> None:  # fmt: skip
        """
        Args:
            weight: how much of what is missing is added, by frame.
            until: the frame after which there is none.
        """
        self.source, self.next, self.weight, self.until = source, start, weight, until
        self.small: Source | None = small

    def take(self, count: int) -> Tensor:
        drawn = self.source.take(count)
        weights = [self.weight(t) for t in range(self.next, self.next + count)]
        self.next += count
        if self.small is None:
            return drawn
        small = self.small.take(count).to(drawn)
        if self.next > self.until:
            self.small = None
        missing = resize(
            small - resize(drawn, (small.shape[3], small.shape[4])), (drawn.shape[3], drawn.shape[4])
        )
        return drawn + torch.tensor(weights).to(drawn).view(-1, 1, 1) * missing


class SteeredLinearSource(LinearSource):
    """The linear model's states given the one of frame 0 that the picture shows.

    With s the stream of the seed, G(t) the covariance of frames t apart, x the state inferred from the
    picture and W how much of a state its picture tells, the states given the picture are
    s_t + G(t) G(0)^-1 (x - W s_0): a draw from the model's own process that agrees with the picture in all
    that it tells. `chance` says how much of the seed's part of it a frame has; a prediction begins with what
    is most likely.
    """

    def __init__(
        self, model: LinearDynamics, draw: Draw, start: int, picture: Tensor,
        chance: Callable[[Draw, int], float],
    ) -> None:  # fmt: skip
        super().__init__(model, draw, start)
        self.chance = chance
        self.early = super().states(1 - start)  # B T n, the last is frame 0
        self.next = start
        state, told = self.model.infer(picture)  # B n, n n
        self.step = torch.from_numpy(companion(self.transition.cpu().numpy())).to(state)  # lags n, lags n
        covariance = stationary_covariance(*(m.cpu().numpy() for m in (self.transition, self.noise_factor)))
        n = state.shape[1]
        spread = torch.from_numpy(covariance[:, :n].copy()).to(state)  # Cov(stacked states, x_0)
        if draw.period:  # summed over all periods: sum_j M^(jP) = (1 - M^P)^-1
            whole = torch.linalg.matrix_power(self.step, draw.period)
            one = torch.eye(len(whole)).to(whole)
            spread = torch.linalg.solve(one - whole, spread)
            at_zero = spread[:n] + (whole @ spread)[:n].T
        else:
            at_zero = spread[:n]
        # G(0)^-1 times what is wanted at frame 0 and what the stream has there
        pair = torch.cat([state, self.early[:, -1] @ told.T])
        weights = torch.linalg.solve(at_zero, pair.T)  # n 2B
        self.size = n
        self.ahead: Tensor | None = spread @ weights  # lags n, 2B: of frame `time`
        self.time, self.reach = 0, self.model.memory()
        behind = torch.zeros(len(self.step), weights.shape[1]).to(state)
        behind[:n] = weights
        self.behind = []  # [k]: of frame -k
        for _ in range(draw.period or 1 - start):
            self.behind.append(spread.T @ behind)  # n 2B
            behind = self.step.T @ behind
        self.behind.append(spread.T @ behind)
        if draw.period:
            self.table: list[Tensor] = []  # of every frame of the loop
            forward = spread @ weights
            for t in range(draw.period):
                self.table.append(forward[:n] + self.behind[draw.period - t])
                forward = self.step @ forward

    def states(self, count: int) -> Tensor:
        have = min(count, self.early.shape[1])
        states, self.early = self.early[:, :have], self.early[:, have:]
        first = self.next
        self.next += have
        if count > have:
            states = torch.cat([states, super().states(count - have)], 1)
        moved = [
            self._moved(now, t) for now, t in zip(states.unbind(1), range(first, first + count), strict=True)
        ]
        return torch.stack(moved, 1)

    def _moved(self, state: Tensor, t: int) -> Tensor:
        """The stream's state at frame t, moved as the picture asks."""
        if self.draw.period:
            pull: Tensor | None = self.table[t % self.draw.period]
        else:
            pull = self.behind[-t] if t < 0 else self._forward(t)
        if pull is None:
            return state
        wanted, own = pull.T.chunk(2)
        return self.chance(self.draw, t) * (state - own) + wanted

    def _forward(self, t: int) -> Tensor | None:
        """What frames t from 0 on are pulled by, in order; None when the picture is forgotten."""
        while self.ahead is not None and self.time < t:
            self.ahead, self.time = self.step @ self.ahead, self.time + 1
            if self.time > self.reach:
                self.ahead = None
        return None if self.ahead is None else self.ahead[: self.size]


class Inferred(Guidance):
    """The linear model's video is given instead of drawn. Handed to a `Stream`.

    Args:
        clip: at the linear model's size, in plain colours, `(1, 3, T, h, w)`; before and after it is played
            back and forth.
    """

    def __init__(self, clip: Tensor) -> None:
        self.clip = clip

    def linear(self, model: LinearDynamics, draw: Draw, start: int) -> Source:
        return ClipSource(self.clip, full_place(model.size, True, self.clip.device), start)


class Harmony(Guidance):
    """Keeps a given clip at every size but inside a mask, where each scale and each rung of the transport
    draws. Handed to a `Stream` whose frames stand for the clip's.

    Args:
        pyramid: whose scales these are.
        clips: the clip in plain colours, `(1, 3, T, h, w)`, by its size: that of the entry and all above it.
        masks: how much of each is drawn anew, `(1, 1, T or 1, h, w)`, 0 to 1, by size.
        entry: the size whose clip is given whole; those above draw on it.
    """

    def __init__(
        self, pyramid: PyramidGenerator, clips: dict[Size, Tensor], masks: dict[Size, Tensor], entry: Size
    ) -> None:
        self.pyramid, self.clips, self.masks, self.entry = pyramid, clips, masks, entry

    def chance(self, draw: Draw, frame: int) -> float:
        """None: what is given is no linear model's, and the nearest patch is right."""
        return 0.0

    def rung(self, source: Source, size: Size, draw: Draw, start: int) -> Source:
        """Patches are chosen by what is given, and inside the mask by what the rungs since then drew."""
        if size not in self.clips:
            return source  # of which nothing will be asked
        return self._kept(source, self.clips[size], full_place(size, True, self._device), start)

    def transported(self, source: Source, model: LinearDynamics, draw: Draw, start: int) -> Source:
        """What no patch of a place ever showed, such as paint, stays as coarse as it was given."""
        given = ClipSource(self.clips[self.entry], full_place(self.entry, True, self._device), start)
        return ProjectedSource(source, given, start, lambda t: 1.0)

    def steer(self, source: Source, scale: int, place: Place, draw: Draw, start: int) -> Source:
        return self._kept(source, self.pyramid.whiten(self.clips[place.canvas]), place, start)

    def _kept(self, source: Source, clip: Tensor, place: Place, start: int) -> Source:
        given = ClipSource(clip, place, start)
        if place.canvas == self.entry:
            return given
        return HarmonySource(source, given, ClipSource(self.masks[place.canvas], place, start))

    @property
    def _device(self) -> torch.device:
        return self.pyramid.color_mean.device


class HarmonySource:
    """A scale that draws inside a mask and is given all around it."""

    def __init__(self, source: Source, given: Source, mask: Source) -> None:
        self.source, self.given, self.mask = source, given, mask

    def take(self, count: int) -> Tensor:
        drawn = self.source.take(count)
        return torch.lerp(self.given.take(count).to(drawn), drawn, self.mask.take(count).to(drawn))


def feathered(mask: Tensor, width: int) -> Tensor:
    """`(1, 1, T, H, W)` of 0 and 1 with a rim of `width` pixels around it, in which it falls evenly to 0."""
    total = grown = mask
    for _ in range(width):
        grown = F.max_pool3d(grown, (1, 3, 3), stride=1, padding=(0, 1, 1))
        total = total + grown
    return total / (width + 1)


def joined(clip: Tensor, mask: Tensor, reach: float = 1.5) -> Tensor:
    """A clip `(1, C, T, h, w)` whose colours inside a mask `(1, 1, T, h, w)` of 0 and 1 meet those outside.

    The colours outside are continued inwards, and what is inside is faded in over them within about `reach`
    pixels of the border. Unlike Poisson blending, a flame stays as bright as it is before a dark wall, and no
    colour appears that neither side has.
    """
    inside, known, continued = mask > 0, mask == 0, clip
    share = torch.zeros_like(mask)
    for k in range(math.ceil(3 * reach) + 1):
        fresh = (F.max_pool3d(known.to(clip), (1, 3, 3), stride=1, padding=(0, 1, 1)) > 0) & inside & ~known
        continued = torch.where(fresh, _near_mean(continued, known), continued)
        share = torch.where(fresh, math.exp(-(k**2) / (2 * reach**2)), share)
        known = known | fresh
    return torch.lerp(clip, continued, share)


def _near_mean(clip: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the 3x3 pixels around each of those that are chosen, 0 where there are none."""
    weight = chosen.to(clip)
    total, count = (F.avg_pool3d(x, (1, 3, 3), stride=1, padding=(0, 1, 1)) for x in (clip * weight, weight))
    return total / count.clamp(min=1e-6)


def certainty(draw: Draw, frame: int) -> float:
    """How much of a frame is what its picture lets expect, from 1 at the picture to 0, `RAMP` frames away."""
    return math.cos(math.pi / 2 * min(1, abs(draw.distance_to_start(frame)) / RAMP)) ** 2


def noise_share(distance: int, margin: int, reach: int) -> float:
    """How much of the noise at this distance from the picture is the encoder's: almost all where frame 0 sees
    it, then less and less."""
    beyond = max(0, abs(distance) - margin) / (reach + 1 - margin)
    return 0.98 * math.cos(math.pi / 2 * beyond)
