"""A closed-form model of the coarsest clip: a linear dynamical system under a Gaussian copula.

A dynamic texture as a linear system driven by noise is Doretto et al. 2003 (principal components for the
appearance, autoregression for the dynamics), here with several lags as Hyndman et al. 2007 and others. A
linear system makes Gaussian pixels, and fire is not Gaussian: its pixels are mostly dark. So each pixel's
channels are first turned into normal scores (a Gaussian copula, Sklar 1959, the "nonparanormal" of Liu et al.
2009). What is drawn goes back to colours together, not channel by channel: the colours that the pixel showed
at about these scores, averaged (kernel regression, Nadaraya 1964). Black stays black, and fire never turns
blue.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dtsgan.errors import VideoError

MAX_COLORS = 64  # frames whose colours each pixel remembers
BANDWIDTH = 0.2  # of the kernel, in normal scores
MAX_RADIUS = 0.995  # of the system's poles; at 1 the texture would wander away
NUM_TAPERS = 2  # few: they keep what is slow; many: they see more of the ends
WHITE_NOISE = 1e-4  # in units of the states' variance: keeps the equations well-conditioned
RESOLUTION = 0.004  # radians a frame: fine beside the peak of a pole at MAX_RADIUS
TAIL = 1e-13  # what is left of a shock after `memory` frames: no more than round-off


@dataclass(frozen=True)
class LinearSystem:
    """x_t = sum_k A_k x_(t-k) + L e_t with white e, stable; float64. `states` are the training clip's own."""

    transition: np.ndarray  # lags x n x n
    noise_factor: np.ndarray  # n x n
    states: np.ndarray  # N x n


def fit_linear_system(states: np.ndarray, lags: int, max_radius: float = MAX_RADIUS) -> LinearSystem:
    """The autoregression that has the covariances of the states `(N, n)` up to `lags` frames apart
    (Yule-Walker equations), and their deviation.

    Least squares, with more coefficients than frames, would put poles outside the circle, and pulling them in
    makes a slow drift flicker. The equations' solution is stable whatever the states, and moves as they do
    from frame to frame, if the covariances are those of one sequence that begins and ends in nothing: hence
    the tapers (sine tapers, Riedel & Sidorenko 1995; they blur what is slow far less than ends cut off
    would). Poles beyond `max_radius` are pulled in (each lag k is damped by c^k, scaling every pole by c).
    """
    n = states.shape[1]
    covariances = tapered_covariances(states - states.mean(0), lags)
    unit = np.sqrt(np.maximum(np.diag(covariances[0]), 1e-12))
    covariances = covariances / unit[:, None] / unit
    covariances[0] += WHITE_NOISE * np.eye(n)
    # block i, j: E x_(t-i) x_(t-j)'
    past = np.block([
        [covariances[j - i] if j >= i else covariances[i - j].T for j in range(lags)] for i in range(lags)
    ])  # fmt: skip
    now = np.concatenate(list(covariances[1:]), 1)  # n, lags n
    weights = np.linalg.solve(past, now.T)  # lags n, n
    transition = weights.T.reshape(n, lags, n).transpose(1, 0, 2).copy()  # lags n n
    residual = covariances[0] - now @ weights
    noise_factor = np.linalg.cholesky((residual + residual.T) / 2 + 1e-6 * np.eye(n))
    radius = np.abs(np.linalg.eigvals(companion(transition))).max()
    if radius > max_radius:
        transition *= ((max_radius / radius) ** np.arange(1, lags + 1))[:, None, None]
    deviation = np.sqrt(np.diag(stationary_covariance(transition, noise_factor))[:n])
    # a change of the states' units: x -> g x keeps the poles and scales the deviation
    gain = states.std(0) / np.maximum(deviation, 1e-6)
    transition = gain[:, None] * transition / np.maximum(gain, 1e-9)
    return LinearSystem(transition, gain[:, None] * noise_factor, states)


def tapered_covariances(states: np.ndarray, lags: int) -> np.ndarray:
    """E x_(t+k) x_t' for k = 0 to `lags`, `(lags + 1, n, n)`: those of the tapered states `(N, n)`, averaged
    over the tapers."""
    length = len(states)
    order = np.arange(1, NUM_TAPERS + 1)[:, None]
    tapers = np.sin(np.pi * order * np.arange(1, length + 1) / (length + 1)) * np.sqrt(2 / (length + 1))
    tapered = tapers[:, :, None] * states  # K N n
    return np.stack([
        np.einsum("kti,ktj->ij", tapered[:, lag:], tapered[:, : length - lag]) / NUM_TAPERS
        for lag in range(lags + 1)
    ])  # fmt: skip


def companion(transition: np.ndarray) -> np.ndarray:
    """The first-order matrix of an autoregression with several lags, acting on stacked states."""
    lags, n, _ = transition.shape
    matrix = np.zeros((lags * n, lags * n))
    matrix[:n] = np.concatenate(list(transition), 1)
    matrix[n:, :-n] = np.eye((lags - 1) * n)
    return matrix


def stationary_covariance(transition: np.ndarray, noise_factor: np.ndarray) -> np.ndarray:
    """Solves P = M P M' + Q for the companion form, by doubling."""
    n = noise_factor.shape[0]
    step = companion(transition)
    total = np.zeros_like(step)
    total[:n, :n] = noise_factor @ noise_factor.T
    for _ in range(40):
        grown = total + step @ total @ step.T
        if np.allclose(grown, total, rtol=1e-9, atol=1e-12):
            break
        total, step = grown, step @ step
    return grown


def spectrum(transition: np.ndarray, noise_factor: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Power of each state, `(F, n)`, at `frequencies` in radians a frame; its mean over the circle is the
    state's variance."""
    n = noise_factor.shape[0]
    poles, vectors = np.linalg.eig(companion(transition))
    shocks = np.linalg.solve(vectors, np.eye(len(vectors))[:, :n] @ noise_factor)  # lags n, n
    response = 1 / (1 - np.exp(-1j * frequencies)[:, None] * poles)  # F, lags n
    return np.stack([(np.abs(vectors[:n] * r @ shocks) ** 2).sum(1) for r in response])


def loop_gain(transition: np.ndarray, noise_factor: np.ndarray, period: int) -> np.ndarray:
    """What to scale each state's frequencies by, `(period // 2 + 1, n)`, where the noise has a period.

    Such noise holds the multiples of 2 pi / period alone, and where a slow pole stands on one of them (0
    always is one) its power is far above that of the band around it: a short loop would come out glaring.
    With the gain each frequency has the mean power of its band.
    """
    points = max(8, round(2 * np.pi / period / RESOLUTION))
    offsets = (np.arange(points) + 0.5) / points - 0.5
    centres = np.arange(period // 2 + 1)
    around = spectrum(transition, noise_factor, (2 * np.pi / period * (centres[:, None] + offsets)).ravel())
    at = spectrum(transition, noise_factor, 2 * np.pi / period * centres)
    return np.sqrt(around.reshape(len(centres), points, -1).mean(1) / at)


class LinearDynamics(nn.Module):
    """The coarsest scale in closed form: draws states, turns them into pixels. Holds buffers only.

    Shapes: n states, P = h w pixels, D = 3 P values, N source frames, Q of them remembered.
    """

    components: Tensor  # D n, normal scores per unit of state, per-value deviation 1
    colors: Tensor  # P Q 3, what each pixel showed in Q frames spread over the source
    transition: Tensor  # lags n n
    noise_factor: Tensor  # n n
    states: Tensor  # N n, the source's own

    def __init__(self, size: tuple[int, int], num_states: int, num_lags: int, num_frames: int) -> None:
        super().__init__()
        self.size = size
        self._scores: Tensor | None = None  # those of `colors`, computed when first needed
        self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "_scores", None))
        values = 3 * size[0] * size[1]
        # half precision is all that pixels need, and most of a model's size
        self.register_buffer("components", torch.zeros(values, num_states, dtype=torch.float16))
        remembered = (size[0] * size[1], min(num_frames, MAX_COLORS), 3)
        self.register_buffer("colors", torch.zeros(remembered, dtype=torch.float16))
        self.register_buffer("transition", torch.zeros(num_lags, num_states, num_states))
        self.register_buffer("noise_factor", torch.zeros(num_states, num_states))
        self.register_buffer("states", torch.zeros(num_frames, num_states))

    @staticmethod
    def num_states(num_frames: int, num_components: int) -> int:
        """Components that a clip of `num_frames` can carry: at most half of its frames."""
        return max(1, min(num_components, num_frames // 2))

    def fit(self, clip: Tensor) -> None:
        """Fits the system to `(1, C, N, h, w)`, in tenths of a second.

        Raises:
            VideoError: if no pixel of the clip ever changes.
        """
        values = clip[0].transpose(0, 1).flatten(1).double().cpu().numpy()  # N D
        length, n = len(values), self.states.shape[1]
        deviation = values.std(0)
        if deviation.max() < 2 / 255:
            raise VideoError("the clip does not move: no pixel changes over time; choose a part with motion")
        scores = normal_scores(values)  # N D
        # weighting by the deviation keeps the noise of still pixels out of the components
        u, s, vt = np.linalg.svd(scores * deviation, full_matrices=False)
        states = u[:, :n] * np.sqrt(length)
        system = fit_linear_system(states, len(self.transition))
        components = (vt[:n] * s[:n, None]).T / np.sqrt(length)  # D n, deviation-weighted scores per state
        # what the components leave out would lower the contrast: each pixel's scores get their deviation back
        spread = np.sqrt((components**2).sum(1))
        components /= np.maximum(spread, 0.5 * deviation + 1e-9)[:, None]
        kept = np.linspace(0, length - 1, self.colors.shape[1]).round().astype(int)
        for name, value in (
            ("components", components),
            ("colors", by_pixel(values[kept])),
            ("transition", system.transition),
            ("noise_factor", system.noise_factor),
            ("states", system.states),
        ):
            getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))
        self._scores = None

    def memory(self) -> int:
        """Frames after which a shock has died away to `TAIL`: the length of the finite response."""
        matrix = companion(self.transition.double().cpu().numpy())
        frames, power = 1, matrix
        while np.linalg.norm(power, 2) > TAIL and frames < 2**20:
            power, frames = power @ power, 2 * frames
        return frames

    def infer(self, picture: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The most likely state `(B, n)` of a frame `(B, 3, h, w)` in [-1, 1], one of any scene, and how far
        a state can be told from its frame: `(n, n)`, what would be inferred of each state's own frame.

        The frame becomes normal scores by what each pixel showed in the source, beyond which there is nothing
        more extreme. The states are those of the smallest error in the scores (each weighted by how much it
        moves, as the components were) plus the energy that they would have by chance: an unlike picture has
        small states.

        Args:
            known: `(h, w)`, the pixels to go by; all of them when not given.
        """
        shown = self.colors.double().cpu().numpy().transpose(1, 2, 0)  # Q 3 P
        shown = np.ascontiguousarray(shown.reshape(len(shown), -1))  # Q D
        scores = torch.from_numpy(np.sort(normal_scores(shown), 0).T.copy())  # D Q
        values = torch.from_numpy(np.sort(shown, 0).T.copy())
        weight = torch.from_numpy(shown.var(0))[:, None]  # D 1
        seen = picture.detach().double().cpu().flatten(1).T.contiguous()  # D B
        high = torch.searchsorted(values, seen).clamp(1, values.shape[1] - 1)
        (v0, v1), (s0, s1) = ([x.gather(1, high - 1), x.gather(1, high)] for x in (values, scores))
        part = ((seen - v0) / (v1 - v0).clamp(min=1e-9)).clamp(0, 1)
        components = self.components.double().cpu()
        mean_energy = (components.square() * weight).sum() / components.shape[1]
        if known is not None:
            weight = weight * known.cpu().flatten().repeat(3)[:, None]
        weighted = weight * (s0 + part * (s1 - s0))  # D B
        energy = components.T @ (weight * components)
        prior = torch.linalg.inv(self.covariance(1)[0])
        # n, B + n
        solved = torch.linalg.solve(
            energy + mean_energy * prior, torch.cat([components.T @ weighted, energy], 1)
        )
        states, told = solved[:, : len(picture)].T, solved[:, len(picture) :]
        return states.to(self.states.device), told.to(self.states.device)

    def covariance(self, count: int) -> Tensor:
        """Cov(x_t, x_0) for t = 0 to count - 1, `(count, n, n)`, float64 on the CPU."""
        transition = self.transition.double().cpu().numpy()
        n, step = transition.shape[1], companion(transition)
        now = stationary_covariance(transition, self.noise_factor.double().cpu().numpy())[:, :n]
        all_now = []
        for _ in range(count):
            all_now.append(now[:n])
            now = step @ now
        return torch.from_numpy(np.stack(all_now))

    def persistence(self, count: int) -> Tensor:
        """How much of a frame is still there k frames on, `(count,)` from 1: the autocorrelation of its
        scores, never below 0 and never rising again."""
        colors = self.colors.double().cpu()  # P Q 3
        weight = colors.var(1).T.flatten()  # D
        components = self.components.double().cpu()
        energy = components.T @ (weight[:, None] * components)
        kept = (self.covariance(count) * energy).sum((1, 2))
        return (kept / kept[0]).clamp(min=0).cummin(0).values.float()

    def to_clip(self, states: Tensor) -> Tensor:
        """States `(B, T, n)` to frames `(B, 3, T, h, w)` in [-1, 1], float64."""
        batch, length = states.shape[:2]
        drawn = states.double() @ self.components.double().T  # B T D
        drawn = drawn.unflatten(2, (3, -1)).permute(3, 0, 1, 2).flatten(1, 2)  # P BT 3
        # softmax of -|drawn - score|^2 / 2h^2 over the remembered frames; |drawn|^2 cancels
        if self._scores is None or self._scores.device != drawn.device:
            known = self.colors.double().cpu().numpy().transpose(1, 0, 2)  # Q P 3
            self._scores = torch.from_numpy(normal_scores(known).transpose(1, 0, 2)).to(drawn)
        scores = self._scores  # P Q 3
        colors, lengths = self.colors.double(), scores.square().sum(2)[:, None] / 2
        parts = []
        for part in drawn.split(64, 1):  # the same in less memory
            logits = part @ scores.transpose(1, 2) - lengths
            parts.append((logits / BANDWIDTH**2).softmax(2) @ colors)
        clip = torch.cat(parts, 1)  # P BT 3
        clip = clip.unflatten(1, (batch, length)).permute(1, 3, 2, 0)  # B 3 T P
        return clip.unflatten(3, self.size).contiguous()


def by_pixel(values: np.ndarray) -> np.ndarray:
    """Frames `(Q, D)`, channels first, to `(P, Q, 3)`."""
    return values.reshape(len(values), 3, -1).transpose(2, 0, 1)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Along the first axis, rank r of N becomes the normal quantile of (r + 1/2) / N; equal values share
    their score."""
    length = len(values)
    order = values.argsort(0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    ranks = np.arange(length, dtype=float).reshape(-1, *[1] * (values.ndim - 1))
    # first and last rank of each run of equal values, by scanning from both ends
    edge = np.ones((1, *values.shape[1:]), bool)
    new = np.concatenate([edge, ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(new, ranks, 0), 0)
    end = np.concatenate([new[1:], edge])
    last = np.minimum.accumulate(np.where(end, ranks, length)[::-1], 0)[::-1]
    scores = torch.special.ndtri(torch.from_numpy(((first + last) / 2 + 0.5) / length)).numpy()
    result = np.empty_like(values)
    np.put_along_axis(result, order, scores, 0)
    return result
