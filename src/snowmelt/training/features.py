"""Feature matching in training: the student's maps, projected to the teacher's channels, next to the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.losses import FeatureProjection
from snowmelt.models import FeatureTap


class FeatureMatching:
    """Which layers of student and teacher are compared, and the projections that learn to make them comparable.

    The projections learn from the first step on, with the decoder's rate, also while the encoder is frozen. They
    are saved to go on from and are no part of the student: whoever loads its weights never meets them.

    Args:
        student: the plain network, before anything is wrapped around it.
        teacher: the network of a teacher that is asked live.
        layers: names as ``snowmelt.models.available_features`` gives them.
        teacher_layers: the teacher's, one for each of ``layers``; ``None``: those of the same names.
        seed: of the projections' first weights.

    Raises:
        SnowmeltError: a layer that student or teacher does not have, with those that it has.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        layers: Sequence[str],
        teacher_layers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self._ours = ours = FeatureTap(student, layers)
        self._theirs = FeatureTap(teacher, layers if teacher_layers is None else teacher_layers)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            pairs = zip(ours.channels, self._theirs.channels, strict=True)
            projections = [FeatureProjection(given, wanted) for given, wanted in pairs]
        self.module = StudentWithFeatures(student, ours, projections)
        """What has to be wrapped for training, so that the projections' gradients are synchronised too."""

    @property
    def projections(self) -> nn.Module:
        """The projections alone; their state is what a checkpoint keeps."""
        return self.module.projections

    def join(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``groups`` of ``Thaw.param_groups`` with the projections in the decoder's, behind its own parameters."""
        decoder = next(group for group in groups if group["name"] == "decoder")
        decoder["params"] = [*decoder["params"], *self.projections.parameters()]
        return groups

    def project(self) -> tuple[Tensor, ...]:
        """The projected maps of the student's last forward pass, when the network ran without what is wrapped."""
        return self.module.project()

    def forget(self) -> None:
        """Let go of all maps that were not read, after a pass that broke off."""
        self.module.forget()
        self._theirs.forget()

    def close(self) -> None:
        """Let go of student and teacher: a teacher that goes on to the next run would keep the maps of this one."""
        self._ours.close()
        self._theirs.close()

    def read_teacher(self) -> tuple[Tensor, ...]:
        """The maps of the teacher's last forward pass, each (B, C, h, w)."""
        return self._theirs.read()


class StudentWithFeatures(nn.Module):
    """The student, giving its logits and its projected maps: one forward pass, as gradient synchronisers need it."""

    def __init__(self, network: nn.Module, tap: FeatureTap, projections: Sequence[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.projections = nn.ModuleList(projections)
        self._tap = tap

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, 3, H, W) -> logits (B, K, H, W), and a map (B, C, h, w) with the teacher's channels for each layer."""
        logits = self.network(images)
        return logits, self.project()

    def forget(self) -> None:
        self._tap.forget()

    def project(self) -> tuple[Tensor, ...]:
        return tuple(project(map_) for project, map_ in zip(self.projections, self._tap.read(), strict=True))
