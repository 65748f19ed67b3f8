"""All the parts of a training run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.optim import AdamW

from snowmelt._version import __version__
from snowmelt.build.data import FILES_SIZE, make_evaluation_batches, worker_count
from snowmelt.build.identity import data_digest, identity_of, later_defaults
from snowmelt.build.networks import BuiltNetwork, make_input, make_network, output_channels
from snowmelt.build.plan import TERMS, make_schedules, scheduled_weights
from snowmelt.build.teaching import BuiltTeaching
from snowmelt.config import ExperimentConfig
from snowmelt.data import (
    IGNORE_INDEX,
    UNLABELLED,
    AugmentedDataset,
    BatchLoader,
    JoinedSource,
    Source,
    Splits,
    StepSampler,
    build_transform,
    training_loader,
)
from snowmelt.errors import SnowmeltError
from snowmelt.losses import Objective
from snowmelt.models import Normalisation, Thaw, calibrate_norms
from snowmelt.teachers import Teaching
from snowmelt.training import (
    Announcer,
    BlockWarmup,
    Checkpoints,
    DistillationFade,
    Engine,
    FeatureMatching,
    LoopOptions,
    Scorer,
    ThawGuard,
    TrainingRun,
)


def make_objective(config: ExperimentConfig, classes: tuple[str, ...], features: bool = True) -> Objective:
    """The losses with their weights.

    Args:
        features: ``False`` leaves feature matching out, where its projections are no longer there.
    """
    weights = config.task.class_weights
    if weights is not None and len(weights) != len(classes):
        raise SnowmeltError(
            f"task.class_weights has {len(weights)} numbers, but the data has {len(classes)} classes "
            f"({', '.join(classes)}); give one weight per class",
            code="class-weights",
        )
    distillation, left_out = config.distillation, set() if features else {"feature"}
    objective = Objective(
        alpha=distillation.alpha,
        ce_weight=config.task.ce_weight,
        dice_weight=config.task.dice_weight,
        distillation_weights={
            term: getattr(distillation, name) for name, term in TERMS.items() if term not in left_out
        },
        class_weights=weights,
        ignore_index=IGNORE_INDEX,
        standardise=distillation.logit_standardisation,
        unlabelled_index=UNLABELLED,
        scheduled=scheduled_weights(config).keys() - left_out,
    )
    if config.distills:
        objective.require(output_channels(classes))
    return objective


def make_engine(config: ExperimentConfig) -> Engine:
    """Device, precision and processes."""
    training = config.training
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    return Engine(training.device, training.precision, training.compile)


def make_run(
    config: ExperimentConfig,
    splits: Splits,
    engine: Engine,
    checkpoints: Path,
    *,
    teaching: BuiltTeaching | None = None,
    announcer: Announcer | None = None,
    patience: int | None = None,
    resumes: bool = False,
    notices: tuple[str, ...] = (),
) -> TrainingRun:
    """All parts of a run, ready for ``snowmelt.training.fit``.

    Args:
        config: settled (see ``settle``).
        teaching: how the teacher's answers reach the run; ``None`` without a teacher.
        patience: epochs without a better score after which it ends, in place of the settings'.
        resumes: a checkpoint follows, so no encoder weights need to be found.
        notices: more to say at the start and in the summary.
    """
    channels = output_channels(splits.train.classes)
    built = make_network(config.student, channels, config.seed, with_weights=not resumes)
    encoder: nn.Module = built.network.encoder  # type: ignore[assignment]
    thaw = Thaw(built.network, lr_scale=config.thaw.lr_scale, norm_eval=config.thaw.norm_eval)
    features = match_features(config, built.network, teaching)
    sampler = make_sampler(config, splits.train, engine)
    return TrainingRun(
        name=config.name,
        engine=engine,
        network=built.network,
        thaw=thaw,
        normalise=make_input(built.normalisation),
        teacher=None if teaching is None else teaching.train,
        examiner=None if teaching is None else teaching.examine,
        features=features,
        objective=make_objective(config, splits.train.classes),
        schedules=make_schedules(config, thaw.blocks),
        optimizer=make_optimizer(config, thaw, features, engine),
        classes=splits.train.classes,
        sampler=sampler,
        train_batches=make_training_batches(config, splits.train, sampler, engine, teaching),
        val_batches=make_evaluation_batches(config, splits.val, engine),
        options=make_options(config, patience, calibrate=not (resumes or built.weights.pretrained)),
        checkpoints=make_checkpoints(config, checkpoints, built, splits, sampler.steps_per_epoch, teaching),
        announcer=announcer or Announcer(),
        calibrate=lambda inputs: calibrate_norms(encoder, inputs),
        notices=(*notices_of(config, built), *notices),
        teacher_name="the teacher" if teaching is None else teaching.name,
        name_of=splits.train.name,
    )


def make_optimizer(config: ExperimentConfig, thaw: Thaw, features: FeatureMatching | None, engine: Engine) -> AdamW:
    """Over all groups from the first step to the last; projections of features learn with the decoder."""
    groups = thaw.param_groups(lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay)
    return AdamW(
        groups if features is None else features.join(groups),
        fused=engine.device.type in ("cpu", "cuda"),
    )


def make_sampler(config: ExperimentConfig, source: Source, engine: Engine) -> StepSampler:
    """Which images make up which step, labelled ones spread evenly where some are not."""
    return StepSampler(
        len(source),
        config.training.batch_size,
        config.seed,
        accumulate=config.training.accumulate,
        rank=engine.rank,
        world_size=engine.world_size,
        labelled=source.labelled if isinstance(source, JoinedSource) else None,
    )


def make_training_batches(
    config: ExperimentConfig, source: Source, sampler: StepSampler, engine: Engine, teaching: BuiltTeaching | None
) -> BatchLoader:
    """Augmented batches, a step each, with what the teacher has stored about their images."""
    transform = build_transform(config.data.augmentation, config.data.image_size or FILES_SIZE)
    dataset = AugmentedDataset(source, transform, config.seed, None if teaching is None else teaching.maps)
    on_gpu = engine.device.type == "cuda"
    return training_loader(dataset, sampler, worker_count(config), pin=on_gpu, device=engine.device)


def match_features(
    config: ExperimentConfig, student: nn.Module, teaching: BuiltTeaching | None
) -> FeatureMatching | None:
    """Feature matching, where the settings ask for it and a teacher is asked live."""
    distillation = config.distillation
    if teaching is None or not distillation.matches_features:
        return None
    if teaching.network is None:
        raise SnowmeltError(
            "distillation.feature_weight: features need the teacher's network; use teacher.mode=live",
            code="teacher-mode",
        )
    return FeatureMatching(student, teaching.network, distillation.feature_layers, seed=config.seed)


def make_options(config: ExperimentConfig, patience: int | None, calibrate: bool) -> LoopOptions:
    """The loop's numbers out of the settings."""
    training = config.training
    return LoopOptions(
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        max_steps=training.max_steps,
        clip_norm=config.optimizer.clip_norm,
        log_every=training.log_every,
        checkpoint_every=training.checkpoint_every,
        max_skipped=training.max_skipped,
        rollbacks=training.rollbacks,
        rollback_scale=training.rollback_scale,
        patience=training.patience if patience is None else patience,
        seed=config.seed,
        fade=DistillationFade(config.distillation.adaptive, config.distillation.adaptive_epochs),
        guard=ThawGuard(config.reactions.thaw_guard and config.thaw.progressive, config.reactions.guard_patience),
        warmup=BlockWarmup(config.reactions.block_warmup),
        average=training.average,
        calibration_batches=training.calibration_batches if calibrate else 0,
        goes_on=training.on_write_failure == "go_on",
        memory=config.reactions.memory,
        memory_limit=None if config.reactions.memory_limit is None else config.reactions.memory_limit << 20,
    )


def make_checkpoints(
    config: ExperimentConfig,
    folder: Path,
    built: BuiltNetwork,
    splits: Splits,
    steps_per_epoch: int,
    teaching: BuiltTeaching | None,
) -> Checkpoints:
    """Where the run saves, what it must have in common to go on, and what its weights say about themselves."""
    return Checkpoints(
        folder,
        identity={
            **identity_of(config),
            "steps_per_epoch": steps_per_epoch,
            "digest of the data's names": data_digest(splits),
            "digest of the teacher": None if teaching is None else teaching.digest,
        },
        metadata={
            "snowmelt": __version__,
            "run": config.name,
            "network": dict(built.description),
            "classes": list(splits.classes),
            "image_size": config.data.image_size,
            "mean": list(built.normalisation.mean),
            "std": list(built.normalisation.std),
        },
        assumed=later_defaults(),
    )


def notices_of(config: ExperimentConfig, built: BuiltNetwork) -> list[str]:
    """What a person should know about this student before and after the run."""
    notices = []
    if built.weights.warning:
        notices.append(f"student: {built.weights.warning}")
    if config.student.weights == "none" and config.thaw.progressive:
        notices.append(
            "the student's encoder is random; thawing is meant for pretrained encoders "
            "(--set student.weights=imagenet or a file), a frozen random encoder has little to offer"
        )
    if config.student.weights == "none" and config.thaw.norm_eval:
        notices.append(
            "the student's encoder is random, so its norms keep the statistics of random weights while those learn; "
            "thaw.norm_eval is meant for pretrained encoders"
        )
    return notices


def make_scorer(
    config: ExperimentConfig,
    source: Source,
    engine: Engine,
    normalisation: Normalisation,
    teacher: Teaching | None = None,
) -> Scorer:
    """Scores networks of this experiment on ``source``."""
    return Scorer(
        engine,
        make_evaluation_batches(config, source, engine),
        source.classes,
        make_input(normalisation),
        make_objective(config, source.classes, features=False),
        teacher,
    )
