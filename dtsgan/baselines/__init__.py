"""Other methods of dynamic texture synthesis, to compare with: one method a file, `BASELINES` names them all.

    from dtsgan.baselines import BASELINES
    method = BASELINES["lds"].create()
    method.fit(clip)                                   # (1, 3, T, H, W) in [-1, 1]
    method.sample(16, torch.Generator().manual_seed(7))    # (1, 3, 16, h, w)

Each is written from its paper, with the settings of the paper as defaults; where it had to deviate,
`Method.deviations` says how. No method knows the model or the metrics that judge it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OnProgress = Callable[[float, str], None]  # part done, 0 to 1, and what is being done


class Baseline(Protocol):
    """A method that learns one clip and draws new video of it. Its settings are the keyword arguments of its
    constructor, its paper's being the defaults."""

    def fit(
        self, clip: "Tensor", on_progress: OnProgress | None = None, seconds: float | None = None
    ) -> None:
        """Learns `(1, 3, T, H, W)`, float32 in [-1, 1], at the method's own size.

        Args:
            on_progress: told of what is done, often enough for a progress bar.
            seconds: about how long it may take; a method that iterates then stops, one that does not ignores
                it. None: as long as its settings say.

        Raises:
            ValueError: a clip that the method cannot learn from; the sentence says what it needs.
        """

    def sample(
        self,
        num_frames: int,
        generator: "torch.Generator",
        on_progress: OnProgress | None = None,
        seconds: float | None = None,
    ) -> "Tensor":
        """New video `(1, 3, num_frames, H, W)`, float32 in [-1, 1], of the size it was fitted at: a function
        of the fitted method, its settings and `generator`'s state alone (where `seconds` is None).

        Raises:
            ValueError: a length that the method cannot draw.
        """


@dataclass(frozen=True)
class Method:
    """A baseline by its address; it is imported when it is created, so that listing the names costs no
    torch."""

    module: str  # of this package; of another one by its full name, with a dot in it
    name: str  # of the class
    title: str  # as tables call it
    citation: str  # authors, title, venue, year
    settings: Mapping[str, Any] = field(default_factory=dict)  # what makes this variant, beyond the defaults
    quick: Mapping[str, Any] = field(default_factory=dict)  # settings that take a minute or so on two cores
    size: int | None = None  # shorter side in pixels that the paper works at; None: any
    quick_size: int | None = None  # shorter side for the `quick` settings; None: `size`
    num_frames: int | None = None  # length of the clips that the paper learns from; None: any
    deviations: str = ""  # from its paper, in sentences
    network: str = ""  # pretrained weights it looks through, a file name of the folder handed in as `weights`

    def create(self, quick: bool = False, **settings: Any) -> Baseline:
        """The method, ready to be fitted.

        Args:
            quick: with the settings that take a minute.
            settings: overrule those of the paper and of `quick`; a method with a `network` takes `weights`,
                the folder that holds it.
        """
        address = self.module if "." in self.module else f"{__name__}.{self.module}"
        made = getattr(import_module(address), self.name)
        return made(**{**self.settings, **(self.quick if quick else {}), **settings})


BASELINES: dict[str, Method] = {
    # -- closed-form methods ---
    "lds": Method(
        module="lds",
        name="LDS",
        title="LDS",
        citation="Doretto, Chiuso, Wu, Soatto: Dynamic Textures. IJCV 51(2), 2003",
        deviations="A clip of N frames carries at most N - 1 states.",
    ),
    "closed_loop_lds": Method(
        module="closed_loop_lds",
        name="ClosedLoopLDS",
        title="Closed-loop LDS",
        citation="Yuan, Wen, Liu, Shum: Synthesizing Dynamic Texture with Closed-Loop Linear Dynamic System. "
        "ECCV 2004",
        deviations=(
            "Written after the paper's abstract: feedback of the difference between the state and a "
            "reference made of succeeding states of the clip. The gain is one number, large enough for "
            "stability, not a matrix by least squares, and one pass takes the place of the iteration. The "
            "reference is chained as in a video texture (Schödl et al. 2000)."
        ),
    ),
    # -- patches ---
    "vgpnn": Method(
        module="vgpnn",
        name="VGPNN",
        title="VGPNN",
        citation="Haim, Feinstein, Granot, Shocher, Bagon, Dekel, Irani: Diverse Generation from a Single "
        "Video Made Possible. ECCV 2022",
        quick={"em_steps": (2, 1), "iterations": 3},
        size=144,
        num_frames=15,
        deviations=(
            "PatchMatch compares patches by 32 principal components and starts from the matches of the rung "
            "below; small rungs are searched exhaustively. Patches are replaced 5 times at coarse rungs, "
            "falling to 2 at the finest; overlapping ones are averaged, not reduced to their median. Noise "
            "has deviation 2, the low end of the paper's range. Fewer frames than the clip has are drawn "
            "from a random window at the coarsest rung."
        ),
    ),
    "gpdm": Method(
        module="gpdm",
        name="GPDM",
        title="GPDM in 3D",
        citation="Elnekave, Weiss: Generating Natural Images with Direct Patch Distributions Matching. "
        "ECCV 2022",
        quick={"num_steps": (300, 10), "num_directions": 16, "space_factor": 0.75, "learning_rate": 0.02},
        deviations=(
            "A method for pictures carried to video: patches of 3 frames and 7 pixels, time shrunk by 0.87 a "
            "rung, one more frame drawn at either end and cut. Of a longer clip as many patches as the video "
            "has are drawn at each step, whole frames of them. It begins with grey noise of deviation 0.75; "
            "a budget of seconds is shared among the rungs by the square root of their work."
        ),
    ),
    # -- neural methods ---
    "two_stream": Method(
        "two_stream",
        "TwoStream",
        "Two-Stream",
        "Tesfaldet, Brubaker, Derpanis: Two-Stream Convolutional Networks for Dynamic Texture Synthesis, "
        "CVPR 2018",
        quick={"iterations": 40, "window": 16},
        size=256,
        quick_size=64,
        num_frames=12,
        deviations="torchvision's VGG-19, each layer scaled to a mean activation of 1 over the clip, in "
        "place of Gatys' network, whose filters are scaled so over ImageNet.",
        network="msoenet.safetensors",
    ),
    "two_stream_lite": Method(
        "two_stream",
        "TwoStream",
        "Two-Stream (small networks)",
        "Tesfaldet, Brubaker, Derpanis: Two-Stream Convolutional Networks for Dynamic Texture Synthesis, "
        "CVPR 2018",
        settings={"appearance": "lite"},
        quick={"iterations": 80, "window": 16},
        size=128,
        quick_size=64,
        num_frames=12,
        deviations="The appearance is that of VGG-16 up to pool2 (detail) and SqueezeNet 1.1 up to pool8 "
        "(what is larger: it sees 79 pixels, VGG-19's pool4 about 100) in place of VGG-19, each layer scaled "
        "to a mean activation of 1 over the clip. 128 pixels instead of 256.",
        network="msoenet.safetensors",
    ),
    "dynamic_generator": Method(
        "dynamic_generator",
        "DynamicGenerator",
        "Dynamic generator",
        "Xie, Gao, Zheng, Zhu, Wu: Learning Dynamic Generator Model by Alternating Back-Propagation Through "
        "Time, AAAI 2019",
        quick={"epochs": 150, "features": 16, "langevin_steps": 3, "chunk": 15, "learning_rate": 0.005},
        size=64,
        num_frames=60,
        deviations="A draw begins at the inferred state of a frame of the clip chosen at random, not of its "
        "first. The error of a chunk is summed over its frames, as in the paper's equations; the authors' "
        "code averages it.",
    ),
    "cgcnn_gram": Method(
        "cgcnn",
        "CgCNN",
        "cgCNN-Gram",
        "Wang, Li, Xia: Conditional Generative ConvNets for Exemplar-based Texture Synthesis, IEEE TIP 2021",
        settings={"statistics": "gram"},
        quick={"iterations": 60, "features": 16, "learning_rate": 0.008},
        size=128,
        quick_size=64,
        num_frames=12,
        deviations="As in the authors' code the descent is RMSprop's, without Langevin's noise; a sample "
        "begins as Gaussian noise, so that samples differ. No batch norm: in their code it keeps its first "
        "statistics, 0 and 1. A longer or larger sample is synthesised directly; the paper trains a network "
        "for it.",
    ),
    "cgcnn_mean": Method(
        "cgcnn",
        "CgCNN",
        "cgCNN-Mean",
        "Wang, Li, Xia: Conditional Generative ConvNets for Exemplar-based Texture Synthesis, IEEE TIP 2021",
        settings={"statistics": "mean"},
        quick={"iterations": 60, "features": 16, "learning_rate": 0.005},
        size=128,
        quick_size=64,
        num_frames=12,
        deviations="As cgCNN-Gram's.",
    ),
    # -- controls ---
    "another_part": Method(
        module="controls",
        name="AnotherPart",
        title="Another real part",
        citation="A control (2026): a random window of the clip",
    ),
    "copy": Method(
        module="controls",
        name="Copy",
        title="Copy",
        citation="A control (2026): the first frames of the clip, whatever the seed",
    ),
    "shuffled_frames": Method(
        module="controls",
        name="ShuffledFrames",
        title="Shuffled frames",
        citation="A control (2026): a random window of the clip, its frames in no order",
    ),
}
