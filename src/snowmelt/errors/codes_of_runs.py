"""Codes of what is made from it: networks and weights, teachers, runs, comparisons and exports."""

from __future__ import annotations

from snowmelt.errors.advice import Advice

NETWORKS_AND_RUNS: dict[str, Advice] = {
    # Networks and weights
    "architecture-unknown": Advice("No architecture has this name", "Take the name that the message proposes"),
    "encoder-unknown": Advice("No encoder has this name", "Take the name that the message proposes"),
    "network-impossible": Advice(
        "An architecture cannot be built with this encoder, depth or decoder",
        "Change one of the three, as the message says",
    ),
    "network-foreign": Advice(
        "A network has no encoder as those of segmentation-models-pytorch have", "Give a network of that library"
    ),
    "network-classes": Advice(
        "A network was trained on other classes than those of the data",
        "Give data with its classes, in its order, or another network",
    ),
    "encoder-blocks": Advice(
        "An encoder cannot be cut into blocks to thaw",
        "Choose another encoder, or describe its family as CONTRIBUTING.md shows",
    ),
    "feature-layer": Advice("A network has no feature layer of this name", "Take one of the names in the message"),
    "picture-size": Advice("A network cannot take pictures of this size", "Take the size that the message proposes"),
    "pretrained-unknown": Advice(
        "There are no such pretrained weights", "Give `imagenet`, `none` or a file of weights"
    ),
    "hub-unreachable": Advice(
        "A model is neither in the local cache nor can it be fetched", "Go online, or give a file or a folder"
    ),
    "weights-unreadable": Advice(
        "A file of weights is damaged or of another kind", "Give another copy, or save it anew"
    ),
    "weights-unsafe": Advice(
        "Reading a file would run code that came with it", "Save the plain tensors alone, or export the model to ONNX"
    ),
    "weights-keys": Advice(
        "The tensors of a file do not fit the network", "Give a complete file of the network that the settings name"
    ),
    "weights-broken": Advice(
        "Pretrained weights are NaN or infinite, or tell nothing from anything", "Take a sound copy of the file"
    ),
    "weights-ambiguous": Advice("A file holds several networks", "Save the one that is meant in a file of its own"),
    "weights-unidentified": Advice(
        "The tensors of a file tell no known network",
        "Name it with `teacher.network.architecture` and `teacher.network.encoder`",
    ),
    "weights-foreign": Advice(
        "A file of weights was not written by Snowmelt's training", "Give a run folder, or a file of its `checkpoints/`"
    ),
    # Teacher
    "teacher-none": Advice(
        "The experiment has no teacher where one is needed",
        "Set `teacher.source`, and leave `distillation.enabled` and `alpha` on",
    ),
    "teacher-source": Advice(
        "What is given as a teacher is none",
        "Give a run, a file of weights, a Hugging Face folder, an ONNX file or `maps:DIR`; see docs/teachers.md",
    ),
    "teacher-mode": Advice(
        "This teacher cannot be asked in this way",
        "Set `teacher.mode` to what the message names, or give a teacher that is a network",
    ),
    "teacher-size": Advice("A teacher cannot take pictures of this size", "Mend `teacher.image_size`, or leave it out"),
    "teacher-classes": Advice(
        "A teacher's classes are not those of the data", "Map them with `teacher.class_map`; see docs/teachers.md"
    ),
    "teacher-outputs": Advice(
        "`teacher.outputs` does not say what the teacher gives", "Set it to what the message names, or to auto"
    ),
    "teacher-answer": Advice(
        "A teacher gives labels, or something that is no map of logits",
        "Export the logits before argmax, one channel for each class",
    ),
    "teacher-output-name": Advice(
        "An ONNX file has no output of this name, or it is not plain which is meant", "Name one as onnx:FILE#OUTPUT"
    ),
    "teacher-normalisation": Advice(
        "A teacher's mean and deviation cannot be used",
        "Set `teacher.mean` and `teacher.std`, or leave them out, as the message says",
    ),
    "teacher-unreadable": Advice("A teacher's files are incomplete or damaged", "Fetch or export it anew"),
    "teacher-unsuitable": Advice(
        "A model is for another task, or takes another input than pictures in RGB",
        "Give a model for semantic segmentation with one input of three channels",
    ),
    "teacher-maps-missing": Advice(
        "Images have no precomputed map", "Compute the missing ones too, or remove the images"
    ),
    "teacher-maps-folder": Advice(
        "A folder of maps has none, or more than one for a picture", "Leave one NPY or PNG file for each picture there"
    ),
    "teacher-map": Advice(
        "A precomputed map is damaged, unlike the others or of another shape than its picture", "Compute it again"
    ),
    "cache-format": Advice(
        "Answers cannot be stored in this precision and stride",
        "Set `teacher.cache_precision` and `teacher.cache_stride` to auto, or `teacher.mode` to live",
    ),
    "cache-other": Advice(
        "A cache holds the answers of another teacher, or in another format",
        "Remove it, or set `teacher.cache_folder` to another place",
    ),
    "cache-damaged": Advice("The description of a cache is damaged", "Remove the folder that the message names"),
    "cache-incomplete": Advice("Pictures have no stored answer", "Run `snowmelt cache` first"),
    "store-changed": Advice(
        "Stored pictures, answers or an index were changed or removed while they were in use", "Start again"
    ),
    # Runs
    "run-name": Advice("The name of a run can be no folder's", "Choose another with `--run-name`"),
    "run-exists": Advice(
        "A run of this name is there already", "Give `--resume` or `--overwrite`, or choose another `--run-name`"
    ),
    "run-missing": Advice("No run lies there", "Take the name that the message proposes, or train one first"),
    "run-unfinished": Advice(
        "A run has no weights or no epoch yet", "Train it first, or wait until its first epoch is over"
    ),
    "run-needed": Advice(
        "A file of weights alone does not tell what data it is for", "Give the run folder, or name the data or pictures"
    ),
    "run-other-settings": Advice(
        "A run cannot go on with other settings or data than it began with",
        "Give the same settings, or start anew with `--overwrite` or `--run-name`",
    ),
    "run-damaged": Advice("The settings of a run folder cannot be read", "Mend or remove its `config.yaml`"),
    "run-busy": Advice("Another process trains this run", "Wait for it"),
    "checkpoint-damaged": Advice("A checkpoint is damaged or is none", "Start anew with `--overwrite`"),
    "checkpoint-version": Advice(
        "A checkpoint is of another version of Snowmelt", "Start anew with `--overwrite`, or go on with that version"
    ),
    "device-unavailable": Advice("This machine has no such device", "Give `--device cpu` or `--device auto`"),
    "precision-unavailable": Advice(
        "The device does not compute in this precision", "Give the `--precision` that the message names"
    ),
    "not-deterministic": Advice(
        "The same bits from every run were asked for, and something here cannot give them",
        "Do what the message says, or leave `--deterministic` off",
    ),
    "processes-unconnected": Advice(
        "Several processes were started that know nothing of each other",
        "Start them with `torchrun`; see docs/scale.md",
    ),
    "processes-restart": Advice(
        "Processes of several machines would not find each other after a restart by torchrun",
        "Export `TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1` before `torchrun`, or leave `--max-restarts` out",
    ),
    "memory-does-not-fit": Advice(
        "A run would need more memory than there is",
        "Change the settings that the message lists; see docs/how-to/memory.md",
    ),
    "memory-exhausted": Advice(
        "Memory ran out in a step", "Go on or start anew as the message says; see docs/how-to/memory.md"
    ),
    "numbers-not-finite": Advice(
        "Losses, gradients or answers are NaN or infinite",
        "Lower `optimizer.lr`, use `--precision 32`, or check the weights and pictures that the message names",
    ),
    # Comparisons and exports
    "arms-too-few": Advice("A comparison has fewer than two arms", "Give at least two, such as `plain,kd`"),
    "arm-spelling": Advice(
        "An arm is not written as it should be, or its name cannot be used",
        "Write `NAME: WORD...` with a name of its own",
    ),
    "arm-ingredient": Advice(
        "An arm asks for something that is not known, or that does not go with the rest",
        "Take words that the message lists, and keep one of those that exclude each other",
    ),
    "arm-settings": Advice(
        "A setting of an arm has to be another one",
        "Change it as the message says, for this arm or for the whole comparison",
    ),
    "arm-equal": Advice("Two arms have the same settings", "Leave one of them out"),
    "comparison-failed": Advice(
        "Runs of a comparison did not come to their end",
        "Mend what the message gives as the reason, and give the same command again",
    ),
    "export-refused": Advice(
        "A network cannot be exported in this way",
        "Export with a fixed `--size`, without `--quantize`, or as safetensors",
    ),
    "export-not-equal": Advice(
        "An export does not answer as the network does, so it was not kept",
        "Export another format or size, and report it as a bug",
    ),
    "export-accuracy": Advice(
        "A quantised export loses too much accuracy",
        "Export without `--quantize`, or take it all the same with `--force`",
    ),
    "export-foreign": Advice(
        "An ONNX file was not written by this version of `snowmelt export`", "Export the run anew"
    ),
}
