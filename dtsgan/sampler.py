"""Drawing video from a pyramid, frame after frame: streamed, from any frame on, looped, tiled.

There is one way to draw: a `Stream`. Each scale pulls the frames it needs from the scale below and keeps, for
each convolution, the last two frames of its input; a new frame costs one frame of work and memory is
constant. A whole video, a chunk, a loop and a window of a huge canvas are all read from streams, which is why
they agree.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from dtsgan import noise
from dtsgan.linear_dynamics import LinearDynamics, companion, loop_gain
from dtsgan.networks import SLOPE, Place, PyramidGenerator, ScaleGenerator, full_place
from dtsgan.patch_transport import PatchTimes, Plan, Rung, enlarge, on_grid
from dtsgan.pyramid import Size

CHUNK = 8  # frames drawn at a time: enough to keep the convolutions busy, few enough to stay in cache


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What to draw. Every field changes the video; how it is chunked or batched does not."""

    seeds: Sequence[int] = (0,)  # one a video
    start_frame: int = 0
    period: int = 0  # frames of a perfect loop; 0: endless
    tile: tuple[bool, bool] = (False, False)  # periodic along (height, width)
    speed: float = 1.0  # frames of the texture's own time between two frames drawn
    diversity: float = 1.0  # 0: the source's own coarse motion, 1: all new, above: wilder

    def frames(self, start: int, count: int, device: torch.device) -> Tensor:
        """The addresses of `count` frames from `start` on."""
        frames = torch.arange(start, start + count, device=device)
        return frames % self.period if self.period else frames

    def source_frames(self, frames: Tensor, num_frames: int) -> Tensor:
        """Which frames of the source stand at these: there and back again, for ever."""
        if self.period:
            frames = torch.minimum(frames % self.period, -frames % self.period)
        return there_and_back(frames, num_frames)

    def distance_to_start(self, frame: int) -> int:
        """Frames from frame 0, negative before it; in a loop from the nearest one that frame 0 is."""
        if not self.period:
            return frame
        return (frame + self.period // 2) % self.period - self.period // 2

    @property
    def blend(self) -> tuple[float, float]:
        """Weights of the source's own noise and of new noise; their squares sum to 1 up to diversity 1."""
        return max(0.0, 1 - self.diversity**2) ** 0.5, self.diversity


class Source(Protocol):
    """Anything that frames can be taken from, in order."""

    def take(self, count: int) -> Tensor:
        """The next `count` frames, `(B, 3, count, H, W)`, in the pyramid's colours unless said otherwise."""


class Guidance:
    """What is asked of a stream beyond its seed: here nothing; more in `steering.py`."""

    def linear(self, model: LinearDynamics, draw: Draw, start: int) -> Source:
        """The linear model's video from frame `start` on, in plain colours."""
        return LinearSource(model, draw, start)

    def chance(self, draw: Draw, frame: int) -> float:
        """How much of the linear model's video is the seed's own chance at a frame, 0 to 1."""
        return 1.0

    def rung(self, source: Source, size: Size, draw: Draw, start: int) -> Source:
        """What patches are chosen by: the video below a rung of the transport, of `size`, from frame `start`
        on, in plain colours."""
        return source

    def transported(self, source: Source, model: LinearDynamics, draw: Draw, start: int) -> Source:
        """What the transport made of the linear model's video, from frame `start` on, in plain colours."""
        return source

    def start(self, source: "ScaleSource", draw: Draw) -> Source:
        """The coarsest scale generator, its noise chosen."""
        return source

    def steer(self, source: Source, scale: int, place: Place, draw: Draw, start: int) -> Source:
        """The scale that `source` draws from frame `start` on, as it is asked to be."""
        return source


class ClipSource:
    """A scale that is given, as a clip of its whole canvas; before its first frame and after its last it goes
    back and forth, and beyond its borders they are repeated."""

    def __init__(self, clip: Tensor, place: Place, start: int) -> None:
        rows, columns = place.inside()
        self.clip, self.next = clip[..., rows, :][..., columns], start

    def take(self, count: int) -> Tensor:
        frames = torch.arange(self.next, self.next + count, device=self.clip.device)
        self.next += count
        return self.clip[:, :, there_and_back(frames, self.clip.shape[2])]


class LinearSource:
    """The linear model's video, in plain colours: a recursion that starts so long before the first frame
    wanted that nothing of its start is left."""

    def __init__(self, model: LinearDynamics, draw: Draw, start: int) -> None:
        self.model, self.draw, self.next = model, draw, start
        self.transition = model.transition.double()
        self.noise_factor = model.noise_factor.double()
        lags, n, _ = self.transition.shape
        self.past = self.transition.new_zeros(lags, len(draw.seeds), n)  # newest first
        self.loop: Tensor | None = None
        if draw.diversity > 0:
            if draw.period:
                self.loop = self._steady_loop()
            else:
                memory = model.memory()
                self._run(start - memory, memory)

    def take(self, count: int) -> Tensor:
        return self.model.to_clip(self.states(count))

    def states(self, count: int) -> Tensor:
        """The next `count` states, `(B, count, n)`, float64."""
        frames = self.draw.frames(self.next, count, self.transition.device)
        old, new = self.draw.blend
        states = self.transition.new_zeros(len(self.draw.seeds), count, self.transition.shape[1])
        if new:
            states += new * (self.loop[:, frames] if self.loop is not None else self._run(self.next, count))
        if old:
            states += old * self.model.states[self.draw.source_frames(frames, len(self.model.states))]
        self.next += count
        return states

    def _run(self, start: int, count: int) -> Tensor:
        """`(B, count, n)` states; moves `past` on."""
        device = self.transition.device
        n = self.transition.shape[1]
        one = torch.zeros(1, dtype=torch.long, device=device)
        frames = self.draw.frames(start, count, device)
        z = noise.gaussian(self.draw.seeds, 0, frames, n, one, one)[..., 0, 0]  # B n T
        shocks = (self.noise_factor @ z.double()).movedim(2, 0)  # T B n
        states = torch.empty_like(shocks)
        matrix = self.transition.transpose(1, 2).flatten(0, 1)  # lags n, n
        for t in range(count):
            now = torch.addmm(shocks[t], self.past.transpose(0, 1).flatten(1), matrix)
            self.past = torch.cat([now[None], self.past[:-1]])
            states[t] = now
        return states.transpose(0, 1)

    def _steady_loop(self) -> Tensor:
        """`(B, P, n)`: the states that periodic noise leads to. With s_P = M^P s_0 + b, it is s_0 = s_P."""
        step = torch.from_numpy(companion(self.transition.cpu().numpy())).to(self.transition.device)
        self._run(0, self.draw.period)
        response = self.past.transpose(0, 1).flatten(1)  # B, lags n
        whole = torch.eye(len(step), dtype=step.dtype, device=step.device)
        whole = whole - torch.linalg.matrix_power(step, self.draw.period)
        steady = torch.linalg.solve(whole, response.T).T
        self.past = steady.unflatten(1, self.past.shape[::2]).transpose(0, 1).contiguous()
        states = self._run(0, self.draw.period)  # B P n
        gain = loop_gain(self.transition.cpu().numpy(), self.noise_factor.cpu().numpy(), self.draw.period)
        bins = torch.fft.rfft(states, dim=1) * torch.from_numpy(gain).to(states)
        return torch.fft.irfft(bins, self.draw.period, dim=1)


class PatchSource:
    """One rung of the patch transport from frame `start` on, with the frames and choices that the next ones
    need; `below` begins `rung.margin` frames earlier."""

    def __init__(
        self, rung: Rung, times: PatchTimes, below: Source, draw: Draw, start: int, guidance: Guidance
    ) -> None:
        self.rung, self.below, self.draw, self.guidance = rung, below, draw, guidance
        self.times = replace(times, period=draw.period)
        self.new = min(1.0, draw.blend[1])
        self.next = start
        self.frames: Tensor | None = None  # of the video below, those before `next` that are needed again
        # by the number of the anchor: what patches cost there and what is taken first, until a choice is made
        self.costs: dict[int, Tensor] = {}  # P B n
        self.first: dict[int, Tensor] = {}  # P B
        self.chosen: dict[int, Tensor] = {}  # B P

    def take(self, count: int) -> Tensor:
        margin = self.rung.margin
        fresh = self.below.take(count if self.frames is not None else count + 2 * margin)
        fresh = enlarge(on_grid(fresh), self.rung.size)
        frames = fresh if self.frames is None else torch.cat([self.frames, fresh], 2)
        self.frames = frames[:, :, count:].clone()
        plan = Plan.of(self.times, self.next, count, fresh.device)
        missing = [number for number in plan.numbers if number not in self.chosen]
        if missing:
            around = self.rung.around(missing)
            self._compare(frames, [number for number in around if number not in self.first])
            first = torch.stack([self.first[number] for number in around], 2)  # P B A
            if self.rung.agrees:
                costs = torch.stack([self.costs[number] for number in missing], 2)
                chosen = self.rung.agreed(costs, first, [self.times.anchor(number) for number in around])
            else:
                chosen = first.permute(1, 2, 0)
            self.chosen |= zip(missing, chosen.unbind(1), strict=True)
            # the last two are neighbours of the next one
            self.first = {number: self.first[number] for number in around[-2:]}
            self.costs = {around[-1]: self.costs[around[-1]]}
        self.chosen = {number: self.chosen[number] for number in plan.numbers}
        self.next += count
        shown = frames[:, :, margin : margin + count]
        return self.rung.vote(torch.stack(list(self.chosen.values()), 1), plan, shown, self.new)

    def _compare(self, frames: Tensor, numbers: list[int]) -> None:
        """Finds what patches cost at these anchors. `frames` begin `margin` before `next`."""
        # potentials make up for what is noisy in the video below: where it is not, the nearest patch is right
        for new, group in groupby(numbers, self._new_at):
            here = list(group)
            at = [self.times.anchor(number) - self.next + self.rung.margin for number in here]
            costs = self.rung.costs(self.rung.features(frames, at), new)  # P B A n
            self.costs |= zip(here, costs.unbind(2), strict=True)
            self.first |= zip(here, self.rung.first(costs).unbind(2), strict=True)

    def _new_at(self, number: int) -> float:
        return self.new * self.guidance.chance(self.draw, self.times.anchor(number))


class CoarseSource:
    """The closed-form coarsest scale: the linear model and, where there is one, the transport above it."""

    def __init__(
        self, pyramid: PyramidGenerator, place: Place, draw: Draw, start: int,
        guidance: Guidance,
    ) -> None:  # fmt: skip
        model, transport = pyramid.scales[0], pyramid.transport
        assert isinstance(model, LinearDynamics)
        self.pyramid, self.place = pyramid, place
        margin = transport.margin if transport else 0
        first = start - margin
        self.source: Source = guidance.linear(model, draw, first)
        if transport is not None:
            size = model.size
            for rung in transport.prepared():
                below = guidance.rung(self.source, size, draw, first)
                first, size = first + rung.margin, rung.size
                self.source = PatchSource(rung, transport.times, below, draw, first, guidance)
            self.source = guidance.transported(self.source, model, draw, start)

    def take(self, count: int) -> Tensor:
        clip = self.pyramid.whiten(self.source.take(count).float())
        rows, columns = self.place.rows, self.place.columns
        return clip[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class ScaleSource:
    """One scale generator with, for each convolution, the last two frames of what it was given."""

    def __init__(
        self, net: ScaleGenerator, scale: int, below: Source | None, place: Place, coarse: Size | None,
        draw: Draw, start: int, dtype: torch.dtype, num_frames: int,
    ) -> None:  # fmt: skip
        self.net, self.scale, self.below, self.draw = net, scale, below, draw
        self.input_place = place.grown(net.margin)
        self.reading = self.input_place.reading(coarse) if coarse else None
        self.next = start - net.margin
        self.num_frames = num_frames
        self.dtype = dtype
        layers = net.folded()
        self.weights = [w.to(dtype).contiguous(memory_format=torch.channels_last_3d) for w, _, _ in layers]
        self.biases = [b.to(dtype) for _, b, _ in layers]
        position = net.position_features(self.input_place)
        if position is not None:
            factor = layers[0][2]
            position = position if factor is None else position * factor[:, None, None, None]
            position = position.to(dtype)
        self.position = position
        self.tails: list[Tensor | None] = [None] * len(layers)
        self.delayed: Tensor | None = None
        self.given: Callable[[Tensor, Tensor], Tensor] | None = None  # what a guidance makes of the noise

    def take(self, count: int) -> Tensor:
        m = self.net.margin
        needed = count if self.delayed is not None else count + 2 * m
        z = self._noise(needed)
        if self.below is not None and self.reading is not None:
            base = self.net.base(self.below.take(needed), self.reading, self.input_place)
            x = base if z is None else base + z
        else:
            base = torch.zeros(len(self.draw.seeds), 3, needed, *self._shape(), device=self._device())
            x = base if z is None else z
        self.next += needed
        x = self._layers(x.to(self.dtype, memory_format=torch.channels_last_3d)).float()
        kept = base[..., m:-m, m:-m]
        kept = kept[:, :, m:] if self.delayed is None else torch.cat([self.delayed, kept], 2)
        self.delayed = kept[:, :, count:].clone()
        return kept[:, :, :count] + x

    def _layers(self, x: Tensor) -> Tensor:
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tail = self.tails[i]
            if tail is not None:
                x = torch.cat([tail, x], 2)
            self.tails[i] = x[:, :, -2:].clone(memory_format=torch.preserve_format)
            x = _conv3d(x, weight, bias)
            if i == 0 and self.position is not None:
                x += self.position
            if i < last:
                x = F.leaky_relu_(x, SLOPE)
        return x.tanh_() if self.net.is_bounded else x

    def _noise(self, count: int) -> Tensor | None:
        """sigma z for the next `count` frames; the coarsest scale blends in the source's own noise z*."""
        frames = self.draw.frames(self.next, count, self._device())
        old, new = self.draw.blend if self.scale == 0 else (0.0, self.draw.diversity)
        std = self.net.noise_std
        z: Tensor | None = None
        if new and bool(std > 0):
            z = self.input_place.noise(self.draw.seeds, self.scale, frames, self.draw.tile).mul_(new * std)
        if old:
            own = self.draw.source_frames(frames, self.num_frames)
            z_star = self.input_place.noise([noise.REC_SEED], self.scale, own, self.draw.tile).mul_(old * std)
            z = z_star.expand(len(self.draw.seeds), -1, -1, -1, -1) if z is None else z + z_star
        z = None if z is None else self.net.scale_noise(z, self.input_place)
        if self.given is not None and z is not None:
            z = self.given(z, torch.arange(self.next, self.next + count))
        return z

    def _shape(self) -> Size:
        return len(self.input_place.rows), len(self.input_place.columns)

    def _device(self) -> torch.device:
        return self.input_place.rows.device


class Retimed:
    """The coarsest video at another speed: frame i is read at time i x speed, between frames by a cubic.

    The scales above add their detail to the slowed or hastened video, so slow motion is new video, not
    blending.
    """

    def __init__(self, source: Source, first: int, start: int, speed: float) -> None:
        self.source, self.speed, self.next = source, speed, start
        self.first = first  # frame number of `held`'s first frame
        self.held: Tensor | None = None

    @staticmethod
    def first_frame(start: int, speed: float) -> int:
        """The first frame that the cubic at `start` reads."""
        return int((start * speed) // 1) - 1

    def take(self, count: int) -> Tensor:
        times = torch.arange(self.next, self.next + count, dtype=torch.float64) * self.speed
        low = times.floor().long()
        stop = int(low[-1]) + 3
        have = 0 if self.held is None else self.held.shape[2]
        missing = stop - (self.first + have)
        if missing > 0:
            fresh = self.source.take(missing)
            self.held = fresh if self.held is None else torch.cat([self.held, fresh], 2)
        assert self.held is not None
        f = (times - low).to(self.held).view(-1, 1, 1)
        at = (low - self.first).to(self.held.device)
        a, b, c, d = (self.held[:, :, at + k] for k in (-1, 0, 1, 2))
        self.next += count
        drop = int((self.next * self.speed) // 1) - 1 - self.first
        if drop > 0:
            self.held, self.first = self.held[:, :, drop:].clone(), self.first + drop
        # Catmull-Rom
        return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a)))


class Stream:
    """An endless video of one or more seeds. `take(n)` gives the next n frames.

    Args:
        pyramid: a trained pyramid.
        draw: what to draw.
        canvas: `(height, width)` at the finest scale; free pyramids take any.
        window: `((top, bottom), (left, right))` of the canvas; the whole of it when not given.
        top: the last scale drawn; the finest when not given.
        dtype: precision of the convolutions.
        guidance: a picture that frame 0 is to be, or a clip that is kept outside a mask (`steering.py`).
        below: `(scale, clip)`: that scale is given, `(B, 3, T, h, w)` in the pyramid's own colours from frame
            0 on, instead of drawn; beyond its ends it goes back and forth.
    """

    def __init__(
        self,
        pyramid: PyramidGenerator,
        draw: Draw,
        canvas: Size | None = None,
        window: tuple[tuple[int, int], tuple[int, int]] | None = None,
        top: int | None = None,
        dtype: torch.dtype = torch.float32,
        guidance: Guidance | None = None,
        below: tuple[int, Tensor] | None = None,
    ) -> None:
        device = pyramid.color_mean.device
        sizes = pyramid.canvas(*(canvas or pyramid.sizes[-1]))
        top = pyramid.num_scales - 1 if top is None else top
        place = full_place(sizes[top], pyramid.config.anchored, device)
        if window is not None:
            rows, columns = (torch.arange(a, b, device=device) for a, b in window)
            place = Place(place.canvas, rows, columns, place.anchored)
        self.pyramid, self.guidance, self.below = pyramid, guidance or Guidance(), below
        with torch.inference_mode():
            self.source = self._build(top, place, sizes, draw, draw.start_frame, dtype)

    def _build(
        self, scale: int, place: Place, sizes: list[Size], draw: Draw, start: int, dtype: torch.dtype
    ) -> Source:
        if self.below is not None and scale == self.below[0]:
            return ClipSource(self.below[1], place, start)
        source = self._scale(scale, place, sizes, draw, start, dtype)
        return self.guidance.steer(source, scale, place, draw, start)

    def _scale(
        self, scale: int, place: Place, sizes: list[Size], draw: Draw, start: int, dtype: torch.dtype
    ) -> Source:
        net = self.pyramid.scales[scale]
        frames = self.pyramid.num_frames
        if scale == 0:
            own = _at_own_speed(draw)
            first = start if draw.speed == 1 else Retimed.first_frame(start, own.speed)
            if isinstance(net, ScaleGenerator):
                lowest = ScaleSource(net, 0, None, place, None, own, first, dtype, frames)
                source: Source = self.guidance.start(lowest, own)
            else:
                source = CoarseSource(self.pyramid, place, own, first, self.guidance)
            return source if draw.speed == 1 else Retimed(source, first, start, own.speed)
        assert isinstance(net, ScaleGenerator)
        grown = place.grown(net.margin)
        rows, columns = grown.reading(sizes[scale - 1])
        below_place = Place(
            sizes[scale - 1],
            torch.arange(rows.start, rows.stop, device=place.rows.device),
            torch.arange(columns.start, columns.stop, device=place.rows.device),
            place.anchored,
        )
        below = self._build(scale - 1, below_place, sizes, draw, start - net.margin, dtype)
        return ScaleSource(net, scale, below, place, sizes[scale - 1], draw, start, dtype, frames)

    @torch.inference_mode()
    def take_raw(self, count: int) -> Tensor:
        """The next `count` frames in the pyramid's own colours."""
        return self.source.take(count)

    @torch.inference_mode()
    def take(self, count: int) -> Tensor:
        """The next `count` frames, `(B, 3, count, H, W)` in [-1, 1]."""
        return self.pyramid.unwhiten(self.source.take(count))

    def chunks(self, num_frames: int | None, chunk: int = CHUNK) -> Iterator[Tensor]:
        """`num_frames` frames (endless when None), at most `chunk` at a time."""
        done = 0
        while num_frames is None or done < num_frames:
            count = chunk if num_frames is None else min(chunk, num_frames - done)
            yield self.take(count)
            done += count


class Held:
    """Frames that are drawn already, handed out in the portions in which they were drawn."""

    def __init__(self, chunks: Sequence[Tensor]) -> None:
        self.chunks = iter(chunks)

    def take(self, count: int) -> Tensor:
        chunk = next(self.chunks)
        assert chunk.shape[2] == count
        return chunk


@torch.inference_mode()
def coarse_to_fine(
    pyramid: PyramidGenerator, draw: Draw, canvas: Size, num_frames: int, dtype: torch.dtype = torch.float32
) -> Iterator[Tensor]:
    """The video at each scale, coarse to fine, `(B, 3, num_frames, h, w)` in [-1, 1].

    Every scale is asked for the same portions as when a `Stream` draws all of them at once, so the last video
    is the stream's, bit for bit.
    """
    top = Stream(pyramid, draw, canvas, dtype=dtype).source
    sources = [top]
    while isinstance(sources[-1], ScaleSource) and sources[-1].below is not None:
        sources.append(sources[-1].below)
    counts = [min(CHUNK, num_frames - begin) for begin in range(0, num_frames, CHUNK)]
    plans = []  # what each scale is asked for, and how many frames come before the first one wanted
    early = 0
    for source in sources:
        plans.append((counts, early))
        if isinstance(source, ScaleSource):
            m = source.net.margin
            counts, early = [counts[0] + 2 * m, *counts[1:]], early + m
    chunks: list[Tensor] = []
    for source, (counts, early) in zip(reversed(sources), reversed(plans), strict=True):
        if isinstance(source, ScaleSource) and source.below is not None:
            source.below = Held(chunks)
        chunks = [source.take(count) for count in counts]
        clip = torch.cat(chunks, 2)[:, :, early : early + num_frames]
        net_source = source.source if isinstance(source, Retimed) else source
        if isinstance(net_source, ScaleSource):
            clip = _within_canvas(clip, net_source)
        yield pyramid.unwhiten(clip)


def _within_canvas(clip: Tensor, source: ScaleSource) -> Tensor:
    """Without the margin that the scale above reads beyond the canvas."""
    m, place = source.net.margin, source.input_place
    rows, columns = (
        ((at >= 0) & (at < side))[m : len(at) - m]
        for at, side in zip((place.rows, place.columns), place.canvas, strict=True)
    )
    return clip[..., rows, :][..., columns]


def tiled_chunks(
    pyramid: PyramidGenerator, draw: Draw, canvas: Size, num_frames: int, tile: int, chunk: int = CHUNK,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:  # fmt: skip
    """The same frames as a `Stream` of the whole canvas gives, drawn tile by tile: what is held at one time
    is one tile's networks and one chunk of the canvas."""
    for begin in range(0, num_frames, chunk):
        count = min(chunk, num_frames - begin)
        now = replace(draw, start_frame=draw.start_frame + begin)
        frames = torch.empty(len(draw.seeds), 3, count, *canvas)
        for top in range(0, canvas[0], tile):
            for left in range(0, canvas[1], tile):
                bottom, right = min(top + tile, canvas[0]), min(left + tile, canvas[1])
                stream = Stream(pyramid, now, canvas, ((top, bottom), (left, right)), dtype=dtype)
                frames[..., top:bottom, left:right] = stream.take(count)
        yield frames


def there_and_back(frames: Tensor, num_frames: int) -> Tensor:
    """Frame numbers of any size to those of a clip that is played forwards and backwards for ever."""
    turn = max(1, 2 * (num_frames - 1))
    frames = frames % turn
    return torch.minimum(frames, turn - frames)


def _conv3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """An unpadded convolution. For one small float32 clip torch leaves oneDNN for a path ten times slower;
    asking for oneDNN by name keeps it."""
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return torch.mkldnn_convolution(x, weight, bias, (0, 0, 0), (1, 1, 1), (1, 1, 1), 1)
    return F.conv3d(x, weight, bias)


def _at_own_speed(draw: Draw) -> Draw:
    """The draw of the coarsest scale: a loop of P frames at speed v is one of about P v frames of its own
    time."""
    if not draw.period or draw.speed == 1:
        return draw
    period = max(2, round(draw.period * draw.speed))
    return replace(draw, period=period, speed=period / draw.period)
