"""The dynamic generator model of Xie, Gao, Zheng, Zhu & Wu, "Learning Dynamic Generator Model by Alternating
Back-Propagation Through Time", AAAI 2019: Doretto's linear system with networks in place of its matrices.

    s_t = F(s_t-1, xi_t)        the transition: a small network, driven by white noise xi_t
    x_t = G(s_t) + sigma e_t    the emission: a network of transposed convolutions, frame by frame

The noise that made the training clip is not known. It is inferred by Langevin dynamics through time, the
networks are then moved towards the clip, and so on by turns; there is no encoder and no discriminator.
"""

import math
import time

import torch
from torch import Tensor, nn

from dtsgan.baselines import OnProgress
from dtsgan.baselines.checks import check_clip, check_length

CELL = 32  # pixels that one cell of the first grid grows to
WEIGHT_STD = 0.02  # of the emission's weights at the start
TRANSITION_STD = 0.001  # of the transition's: the state hardly moves at first


class Transition(nn.Module):
    """s_t = tanh(s_t-1 + r(s_t-1, xi_t)) with a network r of three layers."""

    def __init__(self, state_size: int, noise_size: int, hidden: int) -> None:
        super().__init__()
        self.step = nn.Sequential(
            nn.Linear(state_size + noise_size, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, state_size),
        )  # fmt: skip

    def forward(self, state: Tensor, noise: Tensor) -> Tensor:
        """The states `(T, d)` after `state` `(d)` under `noise` `(T, n)`."""
        states = []
        for xi in noise:
            state = torch.tanh(state + self.step(torch.cat([xi, state])))
            states.append(state)
        return torch.stack(states)


class Emission(nn.Module):
    """Six transposed convolutions from a state to a frame, each doubling the size but the first, which lays
    out the grid: 2 x 2 for the paper's 64 pixels.

    The frames of one call are normalised together, in learning and in drawing alike, as in the authors' code:
    the chunks of a clip differ too much for statistics that would hold for all of them.
    """

    def __init__(self, state_size: int, size: tuple[int, int], features: int) -> None:
        super().__init__()
        self.size = size
        grid = (math.ceil(size[0] / CELL), math.ceil(size[1] / CELL))
        widths = [8 * features, 8 * features, 4 * features, 2 * features, features]
        layers: list[nn.Module] = [nn.ConvTranspose2d(state_size, widths[0], grid)]
        for wide, narrow in zip(widths, [*widths[1:], 3], strict=True):
            layers += [nn.BatchNorm2d(wide, eps=1e-3, track_running_stats=False), nn.ReLU()]
            layers += [nn.ConvTranspose2d(wide, narrow, kernel_size=4, stride=2, padding=1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, states: Tensor) -> Tensor:
        """Frames `(T, 3, H, W)` of states `(T, d)`."""
        frames = self.layers(states[:, :, None, None])  # T 3 CELL·h CELL·w
        return frames[:, :, : self.size[0], : self.size[1]]


class DynamicGenerator:
    """Learns by alternating back-propagation through time; draws by running the transition on new noise.

    Args:
        epochs: passes over the clip, each with `langevin_steps` of inference and one of learning a chunk.
        chunk: frames through which is back-propagated at once.
        state_size, noise_size, hidden: of s_t, of xi_t, of the transition's inner layers.
        features: channels before the last layer of the emission; the first has eight times as many.
        langevin_steps, step_size, sigma: of the inference: l, delta and the deviation of the error e_t.
        learning_rate, beta1: of Adam.
        seed: of the weights and of the inference.
    """

    def __init__(
        self,
        epochs: int = 3000,
        chunk: int = 30,
        state_size: int = 100,
        noise_size: int = 100,
        hidden: int = 20,
        features: int = 64,
        langevin_steps: int = 15,
        step_size: float = 0.03,
        sigma: float = 1.0,
        learning_rate: float = 0.002,
        beta1: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.epochs = epochs
        self.chunk = chunk
        self.state_size = state_size
        self.noise_size = noise_size
        self.hidden = hidden
        self.features = features
        self.langevin_steps = langevin_steps
        self.step_size = step_size
        self.sigma = sigma
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.seed = seed
        self.losses: list[float] = []  # mean squared error of each epoch

    def fit(self, clip: Tensor, on_progress: OnProgress | None = None, seconds: float | None = None) -> None:
        check_clip(clip, "the dynamic generator", num_frames=2)
        until = math.inf if seconds is None else time.monotonic() + seconds
        rng = torch.Generator().manual_seed(self.seed)
        frames = clip[0].transpose(0, 1).float()  # T 3 H W
        self._build((frames.shape[2], frames.shape[3]), rng)
        params = [*self.transition.parameters(), *self.emission.parameters()]
        adam = torch.optim.Adam(params, self.learning_rate, betas=(self.beta1, 0.999))

        # chunks of nearly one length: batch norm dislikes a last one of a single frame
        chunks = frames.tensor_split(max(1, round(len(frames) / self.chunk)))
        noise = [torch.randn(len(x), self.noise_size, generator=rng) for x in chunks]  # xi
        first = torch.randn(self.state_size, generator=rng)  # s_0
        self.losses = []
        for epoch in range(self.epochs):
            state, error = first, 0.0
            for k, x in enumerate(chunks):
                # infer xi, and s_0 with the first chunk
                begin, noise[k] = self._infer(x, state, noise[k], rng)
                if k == 0:
                    first = begin
                    state = begin
                # learn
                states = self.transition(state, noise[k])
                loss = (x - self.emission(states)).square().sum() / (2 * self.sigma**2)
                adam.zero_grad(set_to_none=True)
                loss.backward()
                adam.step()
                state = states[-1].detach()
                error += 2 * self.sigma**2 * loss.item() / frames.numel()
            self.losses.append(error)
            is_last = epoch == self.epochs - 1 or time.monotonic() > until
            if on_progress:
                done = f"epoch {epoch + 1} of {self.epochs}, squared error {error:.4f}"
                on_progress(1.0 if is_last else (epoch + 1) / self.epochs, done)
            if is_last:
                break

        with torch.no_grad():
            self._states, state = [], first
            for xi in noise:
                self._states.append(self.transition(state, xi))
                state = self._states[-1][-1]

    @torch.no_grad()
    def reconstruct(self) -> Tensor:
        """The training clip as the inferred noise makes it, `(1, 3, T, H, W)`."""
        return torch.cat([self.emission(states) for states in self._states]).transpose(0, 1)[None]

    @torch.no_grad()
    def sample(
        self,
        num_frames: int,
        generator: torch.Generator,
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        check_length(num_frames)
        known = torch.cat(self._states)
        state = known[int(torch.randint(len(known), (1,), generator=generator))]
        frames = []
        chunk = len(self._states[0])
        for start in range(0, num_frames, chunk):  # whole chunks, which are normalised as those of the clip
            states = self.transition(state, torch.randn(chunk, self.noise_size, generator=generator))
            frames.append(self.emission(states))
            state = states[-1]
            if on_progress:
                done = min(start + chunk, num_frames)
                on_progress(done / num_frames, f"frame {done} of {num_frames}")
        return torch.cat(frames)[:num_frames].transpose(0, 1)[None]

    def _build(self, size: tuple[int, int], rng: torch.Generator) -> None:
        with torch.random.fork_rng(devices=[]):  # torch's own start, of which nothing stays
            self.transition = Transition(self.state_size, self.noise_size, self.hidden)
            self.emission = Emission(self.state_size, size, self.features)
        for module, std in ((self.transition, TRANSITION_STD), (self.emission, WEIGHT_STD)):
            for name, weight in module.named_parameters():
                if weight.ndim > 1:
                    nn.init.normal_(weight, 0, std, generator=rng)
                elif name.endswith("bias"):
                    nn.init.zeros_(weight)

    def _infer(self, x: Tensor, state: Tensor, noise: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Langevin steps on log p(xi, s | x) from where the last ones ended."""
        params = [*self.transition.parameters(), *self.emission.parameters()]
        for weight in params:
            weight.requires_grad_(False)
        for _ in range(self.langevin_steps):
            noise.requires_grad_(True)
            state.requires_grad_(True)
            recon = self.emission(self.transition(state, noise))
            energy = (x - recon).square().sum() / (2 * self.sigma**2)
            slopes = torch.autograd.grad(energy, [state, noise])
            half = self.step_size**2 / 2
            with torch.no_grad():
                state, noise = (
                    z - half * (z + slope) + self.step_size * torch.randn(z.shape, generator=rng)
                    for z, slope in zip((state, noise), slopes, strict=True)
                )
        for weight in params:
            weight.requires_grad_(True)
        return state.detach(), noise.detach()
