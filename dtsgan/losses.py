"""The terms of the objective, one function an equation."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gradient_penalty(
    discriminator: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Mean squared distance of the discriminator's slope from 1 (Gulrajani et al. 2017, Eq. 3; last term of
    Eq. 3 of the paper), with the gradient taken at the interpolate.

    Args:
        discriminator: maps `(B, C, T, H, W)` to a map of scores.
        real, fake: clips of one shape, `(B, C, T, H, W)`.
        generator: draws where between the two the slope is taken.

    Returns:
        A scalar; its gradient reaches the discriminator only.

    Raises:
        ValueError: if the two clips differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real and fake must have one shape, got {[*real.shape]} and {[*fake.shape]}")
    eps = torch.rand(len(real), 1, 1, 1, 1, generator=generator).to(real)
    x_hat = real.lerp(fake, eps).detach().requires_grad_(True)  # B C T H W
    (grad,) = torch.autograd.grad(discriminator(x_hat).float().sum(), x_hat, create_graph=True)
    # per voxel, as in SinGAN: a patch discriminator has many slopes
    return ((grad.float().square().sum(1) + 1e-12).sqrt() - 1).square().mean()


def wasserstein_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[D(x~)] - E[D(x)] (Eq. 3 as it is minimised)."""
    return fake_scores.float().mean() - real_scores.float().mean()


def hinge_discriminator(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[(1 - D(x))+] + E[(1 + D(x~))+] (Lim & Ye 2017). 2 when it knows nothing, 0 when it has won."""
    return F.relu(1 - real_scores.float()).mean() + F.relu(1 + fake_scores.float()).mean()


def adversarial(fake_scores: Tensor) -> Tensor:
    """-E[D(x~)], the generator's part of Eq. 3 and of the hinge loss."""
    return -fake_scores.float().mean()


def reconstruction(rebuilt: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference (Eq. 4)."""
    return F.mse_loss(rebuilt.float(), target)


def sliced_wasserstein(
    fake: Tensor, real: Tensor, generator: torch.Generator, projections: int = 32, stride: int = 2
) -> Tensor:
    """Sliced Wasserstein distance between the space-time patches of two clips of one shape.

    Patches of 3 frames by 7x7 pixels, of the clips or of their halves, are projected on random directions (a
    convolution with random filters) and the sorted projections compared (Rabin et al. 2012; patches as in
    GPDM, Elnekave & Weiss 2022). Random directions and the place of the sampling grid come from `generator`.
    """
    if torch.rand((), generator=generator) < 0.5 and min(fake.shape[-2:]) >= 16:
        fake, real, stride = F.avg_pool3d(fake, (1, 2, 2)), F.avg_pool3d(real, (1, 2, 2)), 1
    filters = torch.randn(projections, fake.shape[1], 3, 7, 7, generator=generator).to(fake)
    filters = filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    top, left = (int(torch.randint(stride, (), generator=generator)) for _ in range(2))
    total = []
    for clip in (fake, real):
        responses = F.conv3d(clip[..., top:, left:], filters, stride=(1, stride, stride))
        total.append(_sorted(responses.float().transpose(0, 1).flatten(1)))  # K, BTHW
    return (total[0] - total[1]).square().mean()


def _sorted(values: Tensor) -> Tensor:
    """Each row in rising order. On a processor numpy sorts with vector instructions, five to fifteen times as
    fast as torch."""
    if values.device.type != "cpu":
        return values.sort(1).values
    if not values.requires_grad:
        return torch.from_numpy(np.sort(values.numpy(), 1))
    return values.gather(1, torch.from_numpy(np.argsort(values.detach().numpy(), 1)))
